//! The listeners of one session: who may join, where each goes on, and what it is given next.
//!
//! Owns: the rules of takeover ("One listener or many" of the API), `joined`, the replies of polls.
//! Never: does I/O; a `Stream` or a `Poll` is a place in the mailbox that its own thread reads and gives back by dropping it.
//! At the limit: without `-r` there is one listener, with it any number of streams and one poll.

use super::{Over, Phase, Session, State};
use crate::frame::quoted;
use crate::gate::Hangup;
use crate::mailbox::{Key, Next, Notice, Placed};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a stream that was taken over may take to say so before its socket is cut: it is stuck then.
const TAKEOVER_GRACE: Duration = Duration::from_millis(250);

/// How long a poll that was replaced by another waits before it answers: two pollers that share an id do not chase each
/// other.
const REPLACED_POLL_WAIT: Duration = Duration::from_secs(1);

/// Where a listener wants to go on.
#[derive(Clone, Debug)]
pub enum Start {
    /// It does not say.
    Fresh,
    /// After an event id: the random part and the place.
    Event { secret: String, place: u64 },
    /// After a bare `msg_id`, which proves nothing.
    Number(u64),
}

impl Start {
    /// Reads an event id, as `Session::event_id` writes it.
    pub fn from_event_id(text: &str) -> Option<Start> {
        let (secret, place) = text.split_once('.')?;
        let wellformed = secret.len() == 32
            && secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && !place.is_empty()
            && place.bytes().all(|byte| byte.is_ascii_digit());
        let place = place.parse().ok()?;
        wellformed.then(|| Start::Event { secret: secret.to_owned(), place })
    }
}

/// Whether a listener may stay, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// None yet.
    Here,
    /// Its client has gone.
    Left,
    /// Another listener took its place.
    Replaced,
    /// A poll, by another poll, at this time.
    ReplacedByPoll(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stream,
    Poll,
}

/// One listener, as the session sees it.
pub(super) struct Present {
    key: Key,
    kind: Kind,
    pub(super) fate: Fate,
    /// A poll that is writing its reply: what it carries is not for the next one, unless the write fails.
    answering: bool,
    hangup: Hangup,
    /// Disconnected as soon as the listener's thread has given its place back.
    alive: Receiver<Infallible>,
}

/// The listener that was there before: to be waited for, or cut.
pub struct Former {
    hangup: Hangup,
    alive: Receiver<Infallible>,
}

impl Present {
    fn former(&self) -> Former {
        Former { hangup: self.hangup.clone(), alive: self.alive.clone() }
    }
}

impl Former {
    /// Whether it went away within `grace`. One whose client has left is cut, so that it does.
    pub fn leaves_within(&self, grace: Duration) -> bool {
        if self.hangup.has_left() {
            self.hangup.cut();
        }
        // Nothing is ever sent: the only other outcome is that its thread is through.
        !matches!(self.alive.recv_timeout(grace), Err(crossbeam_channel::RecvTimeoutError::Timeout))
    }

    fn must_leave(&self) {
        if !self.leaves_within(TAKEOVER_GRACE) {
            self.hangup.cut();
        }
    }
}

/// What came of asking to join.
pub enum Join<T> {
    Joined(T),
    /// Somebody is there.
    Taken(Former),
    /// A page was reloaded: the session has to make room for a new one.
    Reload,
    /// The session is no more.
    Over,
}

/// What a listener's thread does next.
pub enum Step {
    /// So many are gone, then these.
    Events {
        missed: u64,
        events: Vec<Placed>,
    },
    Notice {
        place: u64,
        notice: Notice,
    },
    /// Wait.
    Nothing,
    /// Say so, and end.
    Replaced,
    /// The bridge stops: say when to come back, and end.
    Drained,
    /// The session ended: say this, if anything, and end.
    Over(Option<Notice>),
    /// Nobody is there to be told.
    Left,
}

/// A place in the mailbox, given back when it is dropped.
struct Place {
    session: Arc<Session>,
    key: Key,
    woken: Receiver<()>,
    kind: Kind,
    /// Dropped after the place was given back.
    _alive: Sender<Infallible>,
}

impl Place {
    fn wait(&self, deadline: Instant) -> bool {
        self.woken.recv_deadline(deadline).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(table) = self.session.table.upgrade() else { return };
        let outlives = match self.kind {
            Kind::Stream => table.rules.resume_window,
            Kind::Poll => table.rules.session,
        };
        let mut state = self.session.lock();
        state.present.retain(|present| present.key != self.key);
        state.mailbox.detach(self.key);
        state.alive_until = state.alive_until.max(Instant::now() + outlives);
        // A poll that waits for this one's reply looks again.
        state.mailbox.wake_all();
    }
}

/// One SSE stream's place in a session.
pub struct Stream {
    place: Place,
    /// Its own `joined`, and the place it starts from.
    pub joined: (u64, Arc<str>),
    /// Told right after it, while the link is lost.
    pub away: Option<Notice>,
    former: Option<Former>,
}

impl Stream {
    /// The session's id, for `X-Session-Id`.
    pub fn session_id(&self) -> String {
        self.place.session.id.clone()
    }

    /// What to do next; what it returned before counts as written.
    pub fn next(&self) -> Step {
        let mut state = self.place.session.lock();
        match state.fate(self.place.key) {
            Some(Fate::Left) | None => return Step::Left,
            Some(Fate::Here) => {}
            Some(_) => return Step::Replaced,
        }
        match (state.mailbox.next(self.place.key), &state.phase) {
            (Next::Events { missed, events }, _) => Step::Events { missed, events },
            (Next::Notice { place, notice }, _) => Step::Notice { place, notice },
            (Next::Nothing, Phase::Over(over)) => match over {
                Over::Ended { told, .. } => Step::Over(Some(told.clone())),
                Over::Drained => Step::Drained,
                _ => Step::Over(None),
            },
            (Next::Nothing, _) => Step::Nothing,
        }
    }

    /// Waits until there is something, at most until `deadline`. Whether there may be.
    pub fn wait(&self, deadline: Instant) -> bool {
        self.place.wait(deadline)
    }

    /// Makes sure that the listener whose place this is has gone.
    pub fn evict_former(&mut self) {
        if let Some(former) = self.former.take() {
            former.must_leave();
        }
    }

    /// The part of every event id before the place.
    pub fn event_id_prefix(&self) -> String {
        self.place.session.event_id_prefix()
    }

    /// What the gate calls when the client has gone.
    pub fn leaver(&self) -> impl Fn() + Send + Sync + 'static {
        leaver(&self.place)
    }
}

fn leaver(place: &Place) -> impl Fn() + Send + Sync + 'static {
    let (session, key) = (Arc::clone(&place.session), place.key);
    move || session.client_left(key)
}

/// One waiting long poll's place in a session.
pub struct Poll {
    place: Place,
    /// With `after`: the place to go on from. Without: where the last reply ended.
    after: Option<u64>,
    former: Option<Former>,
}

/// What a poll's thread does next.
pub enum PollStep {
    Answer(Reply),
    Wait,
    /// Answer empty at this time; nothing else comes.
    AnswerAt(Instant),
    Left,
}

/// A poll's answer, and what of the session it carries.
pub struct Reply {
    pub json: String,
    carried: u64,
    told: bool,
}

impl Poll {
    /// The session's id, for `X-Session-Id`.
    pub fn session_id(&self) -> String {
        self.place.session.id.clone()
    }

    /// Looks whether there is an answer; `forced` makes an empty one if there is nothing.
    pub fn look(&self, forced: bool) -> PollStep {
        let mut state = self.place.session.lock();
        let over = matches!(state.phase, Phase::Over(_));
        match state.fate(self.place.key) {
            Some(Fate::Left) | None => return PollStep::Left,
            Some(Fate::ReplacedByPoll(at)) if !forced && !over => {
                return PollStep::AnswerAt(at + REPLACED_POLL_WAIT);
            }
            Some(Fate::ReplacedByPoll(_) | Fate::Replaced) => {
                let json = self.reply(&state, 0).json;
                return PollStep::Answer(Reply { json, carried: 0, told: false });
            }
            Some(Fate::Here) => {}
        }
        // What the poll before this one is writing is not for this one, unless that write fails.
        let busy = self.after.is_none() && state.present.iter().any(|present| present.answering);
        let reply = self.reply(&state, if busy { 0 } else { usize::MAX });
        if reply.carried > self.start(&state) || forced || over {
            state.set_answering(self.place.key);
            return PollStep::Answer(reply);
        }
        PollStep::Wait
    }

    /// The answer that this poll gives when its time is up; `None`: its client has gone.
    pub fn forced(&self) -> Option<Reply> {
        match self.look(true) {
            PollStep::Answer(reply) => Some(reply),
            _ => None,
        }
    }

    /// Waits until there is something to look at, at most until `deadline`.
    pub fn wait(&self, deadline: Instant) {
        self.place.wait(deadline);
    }

    /// The reply was written: what it carried is not for the next one.
    pub fn written(self, reply: &Reply) {
        let mut state = self.place.session.lock();
        state.polled.carried = state.polled.carried.max(reply.carried);
        if reply.told {
            state.polled.upstream = None;
        }
        if self.after.is_none() {
            state.mailbox.set_sent(reply.carried);
        }
    }

    /// Makes sure that a stream whose place this is has gone.
    pub fn evict_former(&mut self) {
        if let Some(former) = self.former.take() {
            former.must_leave();
        }
    }

    /// What the gate calls when the client has gone.
    pub fn leaver(&self) -> impl Fn() + Send + Sync + 'static {
        leaver(&self.place)
    }

    /// The last place that this poll's client has, or that is gone.
    fn start(&self, state: &State) -> u64 {
        let cursor = self.after.unwrap_or(state.polled.carried);
        let kept = match self.after {
            Some(_) => u64::MAX,
            None => state.polled.queue as u64,
        };
        cursor
            .max(state.mailbox.last().saturating_sub(kept))
            .max(cursor + state.mailbox.missed(cursor))
    }

    fn reply(&self, state: &State, events_max: usize) -> Reply {
        let session = &self.place.session;
        let start = self.start(state);
        let dropped = start - self.after.unwrap_or(state.polled.carried);
        let events: Vec<Placed> = state.mailbox.after(start).take(events_max).collect();
        let carried = events.last().map_or(start, |(place, _)| *place);
        let upstream = match &state.phase {
            Phase::Over(Over::Ended { told, .. }) => Some(told),
            _ => state.polled.upstream.as_ref(),
        };
        let session_id = format!(r#""session_id":"{}","#, session.id);
        let messages: Vec<String> =
            events.iter().map(|(_, event)| event.replacen(&session_id, "", 1)).collect();
        let mut json = format!(
            r#"{{"messages":[{}],{session_id}"dropped":{dropped},"queue_length":{},"channels":{},"last_event_id":"{}{carried}","upstream":{}}}"#,
            messages.join(","),
            state.mailbox.last() - carried,
            state.channels.ids_json(),
            session.event_id_prefix(),
            upstream.map_or("null", |notice| &notice.data),
        );
        // For those who read it in a terminal.
        json.push('\n');
        Reply { json, carried, told: upstream.is_some() }
    }
}

impl Session {
    /// Every event id is this and a place.
    pub(super) fn event_id_prefix(&self) -> String {
        format!("{}.", self.secret)
    }

    fn client_left(&self, key: Key) {
        self.lock().sentence(key, Fate::Left);
    }

    /// The place that `start` names, if it is one of this session.
    fn own_place(&self, start: &Start, last: u64) -> Option<u64> {
        match start {
            Start::Event { secret, place } if *secret == self.secret => Some((*place).min(last)),
            _ => None,
        }
    }

    /// Joins a stream.
    pub(super) fn join_stream(
        self: &Arc<Self>,
        start: &Start,
        reuse: bool,
        hangup: Hangup,
    ) -> Join<Stream> {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Over(_)) {
            return Join::Over;
        }
        let last = state.mailbox.last();
        let proven = self.own_place(start, last);
        let mut former = None;
        if !reuse && let Some(present) = state.first_present() {
            if proven.is_none() {
                return Join::Taken(present.former());
            }
            former = Some(present.former());
            let key = present.key;
            state.sentence(key, Fate::Replaced);
        }
        let resumed = match start {
            Start::Number(place) if state.first_present().is_none() => Some(*place),
            _ => proven,
        };
        if !reuse && resumed.is_none() && state.had_stream {
            return Join::Reload;
        }
        Join::Joined(self.add_stream(&mut state, resumed, hangup, former))
    }

    fn add_stream(
        self: &Arc<Self>,
        state: &mut State,
        resumed: Option<u64>,
        hangup: Hangup,
        former: Option<Former>,
    ) -> Stream {
        // A number too high is of another session: start with the oldest, as for 0.
        let known = resumed.is_some_and(|place| place <= state.mailbox.last());
        let cursor = match resumed {
            Some(place) if known => place,
            Some(_) => 0,
            None => state.mailbox.sent(),
        };
        let dropped = state.mailbox.missed(cursor);
        let joined: Arc<str> = format!(
            r#"{{"type":"joined","id":{},"session_id":"{}","resumed":{known},"dropped":{dropped},"channels":{}}}"#,
            quoted(&self.path),
            self.id,
            state.channels.states_json()
        )
        .into();
        state.mailbox.tell(&Notice { name: None, data: Arc::clone(&joined) });
        let away = state.away.clone();
        state.had_stream = true;
        let place = self.add(state, Kind::Stream, cursor + dropped, hangup);
        Stream { place, joined: (cursor + dropped, joined), away, former }
    }

    /// Joins a poll; `queue` is its `poll-queue`, if it says one.
    pub(super) fn join_poll(
        self: &Arc<Self>,
        start: &Start,
        queue: Option<usize>,
        reuse: bool,
        hangup: Hangup,
    ) -> Join<Poll> {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Over(_)) {
            return Join::Over;
        }
        let last = state.mailbox.last();
        let proven = self.own_place(start, last);
        let mut former = None;
        let in_the_way = |present: &&Present| {
            present.fate == Fate::Here && (present.kind == Kind::Poll || !reuse)
        };
        let other = state.present.iter().find(in_the_way);
        if let Some(present) = other {
            let (key, kind) = (present.key, present.kind);
            let fate = match kind {
                Kind::Poll => Fate::ReplacedByPoll(Instant::now()),
                Kind::Stream if proven.is_some() => Fate::Replaced,
                Kind::Stream => return Join::Taken(present.former()),
            };
            former = (kind == Kind::Stream).then(|| present.former());
            state.sentence(key, fate);
        }
        if let Some(queue) = queue {
            state.polled.queue = queue;
        }
        let acknowledged = match start {
            Start::Number(place) if *place <= last => Some(*place),
            _ => proven,
        };
        if let Some(place) = acknowledged {
            state.acknowledge(place);
            self.note_kept(&state);
        }
        let after = match start {
            Start::Fresh => None,
            _ => Some(acknowledged.unwrap_or(0)),
        };
        let cursor = acknowledged.unwrap_or(state.polled.carried);
        let place = self.add(&mut state, Kind::Poll, cursor, hangup);
        Join::Joined(Poll { place, after, former })
    }

    fn add(self: &Arc<Self>, state: &mut State, kind: Kind, cursor: u64, hangup: Hangup) -> Place {
        let (key, woken) = state.mailbox.attach(cursor);
        let (alive_sender, alive) = bounded(0);
        state.present.push(Present {
            key,
            kind,
            fate: Fate::Here,
            answering: false,
            hangup,
            alive,
        });
        Place { session: Arc::clone(self), key, woken, kind, _alive: alive_sender }
    }
}

impl State {
    fn fate(&self, key: Key) -> Option<Fate> {
        self.present.iter().find(|present| present.key == key).map(|present| present.fate)
    }

    /// Only the first fate counts, but for a client that has gone: there is nobody to be told of another.
    fn sentence(&mut self, key: Key, fate: Fate) {
        let condemned = self.present.iter_mut().find(|present| present.key == key);
        if let Some(present) = condemned
            && (present.fate == Fate::Here || fate == Fate::Left)
        {
            present.fate = fate;
            self.mailbox.wake(key);
        }
    }

    fn first_present(&self) -> Option<&Present> {
        self.present.iter().find(|present| present.fate == Fate::Here)
    }

    fn set_answering(&mut self, key: Key) {
        if let Some(present) = self.present.iter_mut().find(|present| present.key == key) {
            present.answering = true;
        }
    }

    /// A poll's client has everything up to `place`. Where only polls listen it is forgotten at once; a stream may still
    /// have to come back for it.
    fn acknowledge(&mut self, place: u64) {
        self.polled.carried = self.polled.carried.max(place);
        self.mailbox.set_sent(place);
        if !self.had_stream {
            self.mailbox.forget_through(place);
        }
    }
}
