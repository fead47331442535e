//! One client of the chaos: cut off again and again, it comes back with the last id that it has.
//!
//! Owns: its place (the last id, the last number), and the judgement of every message by it: the next one, byte
//! for byte, or one that lies behind as many as it was told are gone.
//! Leaves when the upstream is through and it has the last message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::feed::{Sent, message};
use super::figures::Figures;
use super::proxy::{After, Cut, End, Proxy};
use super::rng::Rng;
use super::wire::{Inside, Wire};
use super::{KEPT, LATE};
use crate::support::{Json, quote};

/// No request of a client has fewer bytes: a cut within these is one that happens.
const REQUEST_MIN: usize = 80;

const STREAM: &str = "Accept: text/event-stream\r\n";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Streams,
    Polls,
    Both,
}

/// How often connections are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Network {
    /// All of them, most within a few events.
    Rough,
    /// All of them, after some seconds.
    Gentle,
    /// None.
    Steady,
}

pub struct Client {
    pub number: usize,
    pub kind: Kind,
    pub network: Network,
    pub path: String,
    pub session_id: String,
    pub proxy: Proxy,
    pub rng: Rng,
    pub sent: Arc<Sent>,
    pub figures: Arc<Figures>,
    pub place: Place,
}

/// How far a client is.
#[derive(Debug, Default)]
pub struct Place {
    /// The last event id; empty before the first.
    pub id: String,
    pub msg_id: u64,
    /// The number of the upstream's last message.
    message: u64,
    /// Gone since that message, and told.
    missed: u64,
    /// Messages that came.
    came: u64,
    /// The last connection is held: the bridge does not know that it is over.
    held: bool,
    /// When the upstream was seen to be through.
    over: Option<Instant>,
}

impl Client {
    /// Until it has everything. Returns how many messages came, and how many there were.
    pub fn run(mut self) -> (u64, u64) {
        while !self.has_all() && !self.is_late() {
            self.pause();
            let streams =
                self.kind == Kind::Streams || self.kind == Kind::Both && self.rng.percent(50);
            if streams { self.stream() } else { self.polls() }
        }
        let sent = self.sent.count(self.number);
        if self.place.message < sent {
            self.complain_lost(sent - self.place.message, "the last never came");
        }
        (self.place.came, sent)
    }

    fn has_all(&self) -> bool {
        self.sent.is_over() && self.place.message == self.sent.count(self.number)
    }

    /// Whether it does not get what it waits for.
    fn is_late(&mut self) -> bool {
        self.sent.is_over() && {
            let over = *self.place.over.get_or_insert_with(Instant::now);
            over.elapsed() > LATE
        }
    }

    /// Now and then it is away long enough to miss something.
    fn pause(&mut self) {
        if self.rng.percent(3) && !self.sent.is_over() {
            let away = Duration::from_millis(self.rng.below(400) as u64);
            let _ = crossbeam_channel::after(away).recv();
        }
    }

    /// Where and how the next connection is cut; not any more when the upstream is through.
    fn plan(&mut self, stream: bool) -> Option<Cut> {
        if self.sent.is_over() || self.network == Network::Steady {
            return None;
        }
        let rng = &mut self.rng;
        let after = match rng.below(100) {
            10.. if self.network == Network::Gentle => After::Answer(400 + rng.below(100_000)),
            0..5 => After::Request(rng.below(REQUEST_MIN)),
            5..15 => After::Answer(rng.below(400)),
            15..85 => After::Answer(400 + rng.below(4_000)),
            // More than a poll's answer, and less than what is kept: a poll that never gets an answer whole never goes on.
            85.. if !stream => After::Answer(400 + rng.below(100_000)),
            _ => After::Answer(400 + rng.below(40_000)),
        };
        let client = rng.pick(&[End::Fin, End::Reset]);
        let bridge = rng.pick(&[End::Fin, End::Reset, End::Held, End::HeldUnread]);
        Some(Cut { after, client, bridge, stream })
    }

    /// One stream until it is cut.
    fn stream(&mut self) {
        let (target, headers) = self.ask_for_stream();
        let (cut, behind, mut wire) = self.dial(&target, &headers);
        let inside = match wire.head() {
            Ok(head) if head.status == 403 => return self.refused(&headers),
            Ok(head) if head.status == 503 => Inside::Busy,
            Ok(head) if head.status == 200 => self.follow(&mut wire, behind),
            Ok(head) => return self.wrong(format!("a stream was answered {}", head.status)),
            Err(inside) => inside,
        };
        self.count_cut(cut, inside);
    }

    /// With `Last-Event-ID`, or `after`; by a bare number only when nobody is there.
    fn ask_for_stream(&mut self) -> (String, String) {
        let accept = STREAM;
        let (path, id) = (&self.path, &self.place.id);
        match self.rng.below(10) {
            0 | 1 => (format!("{path}?after={id}"), accept.to_owned()),
            2 if !self.place.held => {
                (format!("{path}?after={}", self.place.msg_id), accept.to_owned())
            }
            _ => (path.clone(), format!("{accept}Last-Event-ID: {id}\r\n")),
        }
    }

    fn dial(&mut self, target: &str, headers: &str) -> (Option<Cut>, bool, Wire) {
        let cut = self.plan(headers.contains(STREAM));
        let behind = self.sent.count(self.number) > self.place.message;
        let mut wire = Wire::new(self.proxy.dial(cut));
        self.figures.connections.one();
        wire.ask(target, headers);
        (cut, behind, wire)
    }

    fn follow(&mut self, wire: &mut Wire, behind: bool) -> Inside {
        let joined = match wire.event() {
            Ok(event) => event,
            Err(inside) => return inside,
        };
        let json = Json::parse(&joined.data);
        let known = json.kind() == "joined" && json.flag("resumed") && self.is_own(&json);
        if !known {
            self.wrong(format!("no resume: {}", joined.data));
        }
        self.miss(json.number("dropped"));
        self.place.id = joined.id;
        self.count_resume(behind);
        while !self.has_all() && !self.is_late() {
            let event = match wire.event() {
                Ok(event) => event,
                Err(inside) => return inside,
            };
            let json = Json::parse(&event.data);
            match event.name.as_str() {
                "" => self.take(&json),
                "dropped" => self.miss(json.number("dropped")),
                "heartbeat" | "upstream" => {}
                _ => self.wrong(format!("unexpected: {event:?}")),
            }
            self.place.id = event.id;
        }
        Inside::Nothing
    }

    /// Some polls on one connection until it is cut.
    fn polls(&mut self) {
        let (target, headers) = self.ask_for_poll();
        let (cut, behind, mut wire) = self.dial(&target, &headers);
        let mut inside = self.poll(&mut wire, &target, Some(behind));
        for _ in 0..self.rng.below(8) {
            if inside.is_some() || self.has_all() {
                break;
            }
            let (target, headers) = self.ask_for_poll();
            wire.ask(&target, &headers);
            inside = self.poll(&mut wire, &target, None);
        }
        if let Some(inside) = inside {
            self.count_cut(cut, inside);
        }
    }

    /// A stream gives way only to who knows an event id.
    fn ask_for_poll(&mut self) -> (String, String) {
        let by_number = match self.kind {
            Kind::Both => !self.place.held && self.rng.percent(20),
            _ => self.rng.percent(50),
        };
        let after = match by_number || self.place.id.is_empty() {
            true => self.place.msg_id.to_string(),
            false => self.place.id.clone(),
        };
        let timeout = self.rng.pick(&[0, 1, 2]);
        let target = format!("{}?after={after}&timeout={timeout}", self.path);
        (target, "Accept: application/json\r\n".to_owned())
    }

    /// One answer; or inside of what it was cut.
    fn poll(&mut self, wire: &mut Wire, target: &str, resumed: Option<bool>) -> Option<Inside> {
        let head = match wire.head() {
            Ok(head) => head,
            Err(inside) => return Some(inside),
        };
        let body = match wire.body(&head) {
            Ok(body) => body,
            Err(inside) => return Some(inside),
        };
        match head.status {
            200 => {}
            403 => {
                self.refused(target);
                return None;
            }
            503 => return Some(Inside::Busy),
            status => {
                self.wrong(format!("a poll was answered {status}: {body}"));
                return None;
            }
        }
        let json = Json::parse(&body);
        if !self.is_own(&json) {
            self.wrong(format!("another session: {body}"));
        }
        if let Some(behind) = resumed {
            self.count_resume(behind);
        }
        self.miss(json.number("dropped"));
        for message in json.list("messages") {
            self.take(&message);
        }
        self.place.id = json.text("last_event_id");
        None
    }

    fn is_own(&self, json: &Json) -> bool {
        json.text("session_id") == self.session_id
    }

    /// A message that has a `msg_id`.
    fn take(&mut self, json: &Json) {
        let msg_id: u64 = json.text("msg_id").parse().unwrap();
        let due = self.place.msg_id + 1;
        if msg_id < due {
            self.figures.complain(
                &self.figures.duplicated,
                1,
                self.say(format!("{msg_id} again, {due} was due")),
            );
        } else if msg_id > due {
            self.complain_lost(msg_id - due, &format!("{msg_id} came, {due} was due"));
        }
        self.place.msg_id = msg_id;
        if json.kind() == "received" {
            self.take_message(json.raw("message"));
        }
    }

    /// The upstream's own numbers say the same, and the bytes are as they were sent.
    fn take_message(&mut self, text: &str) {
        let number = Json::parse(text).number("n");
        let due = self.place.message + 1;
        if number < due || number > due + self.place.missed {
            self.wrong(format!(
                "message {number} came, {due} was due, {} missed",
                self.place.missed
            ));
        }
        if text != message(self.number, number) {
            self.wrong(format!("message {number} came as {text}"));
        }
        (self.place.message, self.place.missed) = (number, 0);
        self.place.came += 1;
        self.figures.messages.one();
    }

    /// So many are gone. That is right only if the bridge had to let go of them.
    fn miss(&mut self, dropped: u64) {
        if dropped == 0 {
            return;
        }
        self.place.msg_id += dropped;
        self.place.missed += dropped;
        self.figures.dropped.add(dropped);
        // Beside the messages, a restart tells two things about the channel.
        let beside = 1 + 2 * (self.figures.restarts.get() + 1);
        let newest = self.sent.count(self.number) + beside;
        if self.place.msg_id + KEPT as u64 > newest {
            self.wrong(format!("dropped up to {}, and at most {newest} came", self.place.msg_id));
        }
    }

    fn count_resume(&mut self, behind: bool) {
        self.figures.resumes.one();
        if behind {
            self.figures.backlogs.one();
        }
        if std::mem::take(&mut self.place.held) {
            self.figures.takeovers.one();
        }
    }

    fn count_cut(&mut self, cut: Option<Cut>, inside: Inside) {
        // Before its request was whole it was at rest, and others may have needed the room: a client of HTTP asks again.
        let evicted = cut.is_none() && inside == Inside::Head && !self.has_all();
        if inside == Inside::Busy || evicted {
            return self.figures.busy.one();
        }
        let Some(cut) = cut else {
            if !self.has_all() {
                self.wrong(format!("the bridge ended a connection, {inside:?}"));
            }
            return;
        };
        self.place.held |= cut.leaves_listener();
        let figures = &self.figures;
        let count = match (inside, cut.after) {
            (Inside::Head, After::Request(_)) => &figures.cuts_in_requests,
            (Inside::Head, _) => &figures.cuts_in_heads,
            (Inside::Event, _) => &figures.cuts_in_events,
            (Inside::Json, _) => &figures.cuts_in_json,
            (Inside::Nothing | Inside::Busy, _) => &figures.cuts_between_events,
        };
        count.one();
    }

    /// Only who has no event id may be told that somebody is there.
    fn refused(&mut self, asked: &str) {
        if asked.contains(&*self.place.id) && !self.place.id.is_empty() {
            self.wrong("an event id was refused".to_owned());
        }
        self.figures.refused.one();
    }

    fn complain_lost(&self, how_many: u64, what: &str) {
        self.figures.complain(&self.figures.lost, how_many, self.say(what.to_owned()));
    }

    fn wrong(&self, what: String) {
        self.figures.complain(&self.figures.wrong, 1, self.say(what));
    }

    fn say(&self, what: String) -> String {
        format!("{} {:?}: {}", self.path, self.kind, quote(&what))
    }
}
