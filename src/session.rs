//! A session: one upstream WebSocket, and everything that is remembered for it between requests.
//!
//! Owns: the session's phase, its channels and what they hold back, the commands on their way up, who listens.
//! Never: touches a socket, or holds its one lock during I/O.
//! Flow: `upstream` calls `up`, `text` and `down` on the session's own thread; what they bring is pushed into the
//! mailbox. `http` calls `run` for each item of a POST, and `flush` writes what they left in the outbox.
//! At the limits: see `OUTBOX_MAX`, `HELD_MAX`, `Rules`, and `mailbox` for the messages.

mod asks;
mod bell;
mod channels;
mod graves;
mod listener;
mod polling;
mod stream;
mod table;
mod tally;
mod tunnel;

pub use asks::{Credentials, Denial, Opener, PollAsk, Rules, StreamAsk};
pub use channels::Request;
pub use listener::Start;
pub use polling::{Poll, PollStep, Reply};
pub use stream::{Step, Stream};
pub use table::{Begun, POLL_QUEUE_DEFAULT, Table};
pub use tally::Tally;
pub use tunnel::Untaken;

use crate::frame::Frame;
use crate::mailbox::{Mailbox, Notice};
use crate::report::{debug, info};
use crate::upstream::{Down, Link, Next, Owner, Upstream};
use bell::{Bell, Locked};
use channels::Channels;
use listener::Present;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tunnel::Tunnel;

/// Commands that wait for the upstream of one session. Whoever adds one more waits until there is room, for at most
/// `OUTBOX_WAIT`; then it is an error of that item.
const OUTBOX_MAX: usize = 256;

/// Longer than a write to the upstream may take before the link is cut, so that it is the link that fails first.
const OUTBOX_WAIT: Duration = Duration::from_secs(12);

/// How long an upstream may answer a handshake with 4xx before a session that lives, or that comes back, believes it:
/// a deploy answers 404 for a while.
const DENIED_FOR_GOOD_AFTER: Duration = Duration::from_secs(60);

/// Why a session is no more.
#[derive(Clone, Debug)]
pub enum Over {
    /// The upstream refused the first handshake: 403.
    Denied(String),
    /// The first attempt failed, and nobody wanted to wait for another: 502.
    Failed(String),
    /// Ended for good, by the upstream or by DELETE. Listeners are told this `upstream` event; who comes back is told why.
    Ended { told: Notice, reason: String },
    /// Nobody came back in time, or a reloaded page wanted a new one. Nobody is there to be told.
    Quiet,
    /// The bridge stops.
    Drained,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The first attempt is under way.
    Opening,
    /// Welcomed, or trying again.
    Open,
    Over(Over),
}

/// One session. Shared by the table, its upstream's thread and the requests that use it.
pub struct Session {
    table: Weak<Table>,
    /// `session_id`.
    pub id: String,
    /// The random part of this session's event ids. It appears nowhere else.
    secret: String,
    path: Box<str>,
    /// A tunnel: it carries frames as they are, manages no channels and does not reconnect.
    tunnel: bool,
    opened_with: Credentials,
    /// Opened by an SSE GET: it goes on trying when the first attempt fails.
    by_stream: bool,
    /// Opened by an EventSource that comes back: a first 4xx is not believed at once.
    came_back: bool,
    /// What the mailbox keeps, in bytes, to be read without the lock.
    kept: AtomicUsize,
    upstream: OnceLock<Upstream>,
    /// Guards all that changes. Held for the time of a look-up and a push; never during I/O, never with the table's lock.
    state: Mutex<State>,
    /// There is something for the listeners. Rung by `Locked`.
    news: Bell,
    /// The phase changed, the outbox has room, or a listener has gone.
    changed: Bell,
}

struct State {
    phase: Phase,
    mailbox: Mailbox,
    channels: Channels,
    tunnel: Tunnel,
    link: Option<Arc<Link>>,
    /// Frames on their way up; bounded by `OUTBOX_MAX`, but for the subscriptions that follow a welcome.
    outbox: VecDeque<String>,
    /// Somebody is writing the outbox; whoever adds to it need not.
    flushing: bool,
    /// While the link is lost: what a stream that joins is told.
    away: Option<Notice>,
    denied_since: Option<Instant>,
    present: Vec<Present>,
    had_stream: bool,
    polled: Polled,
    alive_until: Instant,
}

/// Where the polls of a session are.
struct Polled {
    /// The last place that a reply carried or that was acknowledged.
    carried: u64,
    /// `poll-queue`: how many messages a poll without `after` finds at most.
    queue: usize,
    /// The last `upstream` event, until a reply has carried it.
    upstream: Option<Notice>,
}

impl Session {
    /// What a log may call this session.
    pub fn name(&self) -> &str {
        &self.id[..6]
    }

    fn count(&self, what: impl FnOnce(&Tally)) {
        if let Some(table) = self.table.upgrade() {
            what(table.tally());
        }
    }

    /// Waits until the first attempt has come to something, which `--connect-timeout` bounds.
    fn await_opening(&self) -> Phase {
        let opened = |state: &State| !matches!(state.phase, Phase::Opening);
        self.wait_until(self.lock(), None, opened).phase.clone()
    }

    /// Does one item of a POST. Its commands are in the outbox then: `flush` sends them.
    ///
    /// # Errors
    /// A sentence for the client, and the `chan_id` if there is one.
    pub fn run(&self, request: Request) -> Result<String, (String, Option<String>)> {
        let table = self.table.upgrade();
        let max = table.as_ref().map_or(0, |table| table.rules.channels_max);
        let mut state = self.wait_for_room().map_err(|why| (why, None))?;
        if matches!(state.phase, Phase::Over(_)) {
            return Err(("the session has ended, open a new one with a GET".to_owned(), None));
        }
        let (channels, mut out) = state.effects(&self.id);
        let outcome = match request {
            Request::Subscribe(identifier) => channels.subscribe(identifier, max, &mut out),
            Request::Unsubscribe(identifier) => channels.unsubscribe(&identifier, &mut out),
            Request::Send(identifier, data) => {
                let held_max = table.as_ref().map_or(0, |table| table.rules.bounds.bytes);
                channels.send(&identifier, &data, held_max, &mut out)
            }
        };
        self.note_kept(&state);
        outcome
    }

    fn wait_for_room(&self) -> Result<Locked<'_>, String> {
        let deadline = Instant::now() + OUTBOX_WAIT;
        let has_room = |state: &State| state.outbox.len() < OUTBOX_MAX;
        loop {
            let may_go_on = |state: &State| has_room(state) || !state.flushing;
            let state = self.wait_until(self.lock(), Some(deadline), may_go_on);
            if has_room(&state) {
                return Ok(state);
            }
            if state.flushing {
                return Err(
                    "the upstream takes no commands at the moment, send this item again later"
                        .to_owned(),
                );
            }
            drop(state);
            self.flush();
        }
    }

    /// Writes what is in the outbox, in order, unless somebody is at it. May wait for the upstream as long as one write may
    /// take.
    pub fn flush(&self) {
        let mut state = self.lock();
        if state.flushing || state.outbox.is_empty() {
            return;
        }
        state.flushing = true;
        while let Some((link, frame)) = state.next_frame() {
            drop(state);
            // When it fails the link is cut, and its own thread says that it is lost.
            if let Err(error) = link.send(&frame) {
                debug!("event=upstream-write-failed session={} error=\"{error}\"", self.name());
            }
            state = self.lock();
            self.changed.ring();
        }
        state.flushing = false;
    }

    /// Ends the session: its listeners are told, its upstream is closed, whoever waits for it goes on. Only the first end
    /// counts.
    fn end(&self, over: Over) {
        self.end_if(over, |_| true);
    }

    fn end_if(&self, over: Over, condition: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Over(_)) || !condition(&state) {
            return false;
        }
        info!("event=session-ended session={} reason={:?}", self.name(), over.reason());
        state.phase = Phase::Over(over);
        state.link = None;
        state.outbox.clear();
        state.mailbox.call();
        drop(state);
        self.changed.ring();
        self.close_upstream();
        true
    }

    /// The first attempt has come to something: whoever asked for it joins now, or nobody does and it expires.
    fn open(&self, state: &mut State) {
        if matches!(state.phase, Phase::Opening) {
            let lasts = self.table.upgrade().map_or(Duration::ZERO, |table| {
                if self.by_stream { table.rules.resume_window } else { table.rules.session }
            });
            state.alive_until = state.alive_until.max(Instant::now() + lasts);
            state.phase = Phase::Open;
        }
    }

    fn close_upstream(&self) {
        if let Some(upstream) = self.upstream.get() {
            upstream.close(1000, "");
        }
    }

    /// `Over::Ended` with the event that tells it.
    fn ended(&self, reason: &str) -> Over {
        let told = if self.tunnel {
            tunnel::close_notice(1000, reason)
        } else {
            self.lost_notice(reason, false)
        };
        Over::Ended { told, reason: reason.to_owned() }
    }

    fn lost_notice(&self, reason: &str, reconnect: bool) -> Notice {
        let reason = crate::frame::quoted(reason);
        let id = &self.id;
        let data = format!(
            r#"{{"type":"disconnected","session_id":"{id}","reason":{reason},"reconnect":{reconnect}}}"#
        );
        Notice { name: Some("upstream"), data: data.into() }
    }

    fn note_kept(&self, state: &State) {
        self.kept.store(state.mailbox.bytes(), Ordering::Relaxed);
    }

    /// Ends the session if nobody listens and nobody can come back any more.
    fn expire(&self, now: Instant) -> bool {
        self.end_if(Over::Quiet, |state| {
            state.present.is_empty()
                && !matches!(state.phase, Phase::Opening)
                && state.alive_until <= now
        })
    }

    fn forget_by_age(&self, now: Instant, window: Duration) {
        let mut state = self.lock();
        state.mailbox.forget_by_age(now, window);
        self.note_kept(&state);
    }

    /// Forgets the oldest messages until `enough` says so or one is left.
    fn shed(&self, enough: impl Fn() -> bool) {
        let mut state = self.lock();
        while !enough() && state.mailbox.forget_oldest() {}
        state.mailbox.call();
        self.note_kept(&state);
        let skips = self.tunnel && !state.skips_nothing();
        drop(state);
        if skips {
            self.end_skipping();
        }
    }

    /// What the end of an attempt, or of the link, means for the session.
    fn judge(&self, state: &mut State, down: Down, now: Instant) -> Option<Over> {
        let opening = matches!(state.phase, Phase::Opening);
        let reason = match down {
            Down::Refused { reason } if opening => {
                return Some(Over::Denied(format!("the upstream refused this session: {reason}")));
            }
            Down::Refused { reason } => return Some(self.ended(&reason)),
            Down::Denied { why, .. } if opening && (!self.came_back || self.tunnel) => {
                return Some(Over::Denied(why));
            }
            Down::Denied { status, why } => {
                let since = *state.denied_since.get_or_insert(now);
                if now.duration_since(since) >= DENIED_FOR_GOOD_AFTER {
                    return Some(
                        self.ended(&format!("the upstream answered {status} for a minute")),
                    );
                }
                why
            }
            Down::Lost { reason, .. } => {
                state.denied_since = None;
                reason
            }
        };
        if opening && (!self.by_stream || self.tunnel) {
            return Some(Over::Failed(format!("no upstream: {reason}")));
        }
        state.lose(self, &reason);
        None
    }
}

impl Owner for Session {
    fn up(&self, link: Arc<Link>) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Over(_)) {
            return;
        }
        self.open(&mut state);
        state.denied_since = None;
        state.tunnel.protocol = link.protocol().unwrap_or_default().to_owned();
        state.link = Some(link);
        if state.away.take().is_some() {
            let data = format!(r#"{{"type":"connected","session_id":"{}"}}"#, self.id);
            state.announce(Notice { name: Some("upstream"), data: data.into() });
        }
        let (channels, mut out) = state.effects(&self.id);
        channels.welcomed(&mut out);
        drop(state);
        self.changed.ring();
        self.flush();
    }

    fn text(&self, text: &str, frame: Option<Frame<'_>>) {
        self.count(|tally| {
            tally.received.add(1);
            tally.received_bytes.add(text.len() as u64);
        });
        match frame {
            Some(frame) => self.understand(frame),
            None => self.carry(text),
        }
        if let Some(table) = self.table.upgrade() {
            table.keep_within_memory();
        }
    }

    fn down(&self, down: Down, _welcomed_ever: bool) -> Next {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Over(_)) {
            return Next::Stop;
        }
        if self.tunnel && matches!(state.phase, Phase::Open) {
            self.close_tunnel(&mut state, down);
            return Next::Stop;
        }
        let over = self.judge(&mut state, down, Instant::now());
        self.note_kept(&state);
        drop(state);
        self.changed.ring();
        match (over, self.table.upgrade()) {
            (None, Some(_)) => Next::Retry,
            (Some(over), Some(table)) => {
                table.end(self, over);
                Next::Stop
            }
            (_, None) => Next::Stop,
        }
    }

    fn broken(&self) {
        // Nobody would bring it messages any more: whoever listens is better off with a new one.
        if let Some(table) = self.table.upgrade() {
            table.end(self, Over::Quiet);
        }
    }
}

impl Session {
    /// A tunnel's frame.
    fn carry(&self, text: &str) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Over(_)) {
            return;
        }
        let kept = state.carry(text);
        self.note_kept(&state);
        drop(state);
        if !kept {
            self.end_skipping();
        }
    }

    /// A tunnel never skips: one that lost a frame is closed.
    fn end_skipping(&self) {
        if let Some(table) = self.table.upgrade() {
            let reason = "frames would have been lost".to_owned();
            table.end(self, Over::Ended { told: tunnel::overflowed(), reason });
        }
    }

    /// A cable's frame.
    fn understand(&self, frame: Frame<'_>) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Over(_)) {
            return;
        }
        let (channels, mut out) = state.effects(&self.id);
        match frame {
            Frame::Message { identifier, message } => {
                channels.receive(identifier, message.get(), &mut out);
            }
            Frame::Confirm { identifier } => channels.confirm(identifier, &mut out),
            Frame::Reject { identifier } => channels.reject(identifier, &mut out),
            _ => return,
        }
        self.note_kept(&state);
        let more = !state.outbox.is_empty();
        drop(state);
        if more {
            self.flush();
        }
    }
}

/// Where a part of the session leaves what it wants done: messages for the listeners, commands for the upstream.
struct Effects<'a> {
    session_id: &'a str,
    mailbox: &'a mut Mailbox,
    outbox: &'a mut VecDeque<String>,
    link_is_up: bool,
}

impl Effects<'_> {
    /// Leaves a command for `flush`. While the link is lost there is nothing to leave: the next welcome brings everything.
    fn command(&mut self, command: String) {
        if self.link_is_up {
            self.outbox.push_back(command);
        }
    }
}

impl State {
    fn effects<'a>(&'a mut self, session_id: &'a str) -> (&'a mut Channels, Effects<'a>) {
        let (mailbox, outbox) = (&mut self.mailbox, &mut self.outbox);
        let out = Effects { session_id, mailbox, outbox, link_is_up: self.link.is_some() };
        (&mut self.channels, out)
    }

    fn next_frame(&mut self) -> Option<(Arc<Link>, String)> {
        let link = self.link.clone()?;
        Some((link, self.outbox.pop_front()?))
    }

    /// Tells every stream now, and the next poll's reply.
    fn announce(&mut self, notice: Notice) {
        self.mailbox.tell(&notice);
        self.polled.upstream = Some(notice);
    }

    /// The link, or the attempt to get one, is lost; there will be another.
    fn lose(&mut self, session: &Session, reason: &str) {
        self.link = None;
        self.outbox.clear();
        let first = self.away.is_none();
        let notice = session.lost_notice(reason, true);
        self.away = Some(notice.clone());
        if matches!(self.phase, Phase::Opening) {
            // Nobody has joined yet: a stream that does finds `away`.
            session.open(self);
            self.polled.upstream = Some(notice);
        } else if first {
            self.announce(notice);
            let (channels, mut out) = self.effects(&session.id);
            channels.lost(&mut out);
        }
    }
}

impl Over {
    /// For the log: never a sentence that may hold what a client sent.
    fn reason(&self) -> &str {
        match self {
            Over::Denied(_) => "denied",
            Over::Failed(_) => "failed",
            Over::Ended { reason, .. } => reason,
            Over::Quiet => "nobody came back",
            Over::Drained => "the bridge stops",
        }
    }
}

/// 128 random bits in hexadecimal: what nobody can guess.
fn random_id() -> String {
    let mut bytes = [0; 16];
    // The kernel's generator does not fail on Linux once it is seeded, and an id that can be guessed is worse than an end.
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
