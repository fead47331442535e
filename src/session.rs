//! A session: one upstream WebSocket, and everything that is remembered for it between requests.
//!
//! Owns: the session's phase, and its parts: the mailbox, the channels or the tunnel, the outbox, the listeners, the polls.
//! Never: touches a socket, or holds its one lock during I/O.
//! Flow: `link` has what `upstream` brings, which is pushed into the mailbox. `http` calls `run` for each item of a POST, and `flush` writes what they left in the outbox.
//! At the limits: see `outbox`, `channels`, `Rules`, and `mailbox` for the messages.

mod channels;
mod ended;
mod join;
mod link;
mod listeners;
mod lock;
mod open;
mod outbox;
mod poll;
mod repeat;
mod room;
mod shares;
mod stream;
mod table;
#[cfg(test)]
mod testing;
mod tunnel;

use crate::frame::quoted;
use crate::mailbox::{Mailbox, Notice};
use crate::memory::Budget;
use crate::report::info;
use crate::stats::Stats;
use crate::upstream::{Handshake, Link, Upstream};
use channels::Channels;
pub use channels::Request;
use crossbeam_channel::Sender;
use join::Fingerprint;
pub use join::{ClientConnection, Credentials, JoinRequest, Rules, SessionError, Start};
pub use listeners::Kind;
use listeners::{Listeners, NotJoined};
pub use open::Found;
use outbox::Outbox;
use parking_lot::Mutex;
use poll::PollState;
pub use poll::{POLL_QUEUE_DEFAULT, Poll, PollReply, PollStep};
use shares::{Shares, bytes_of};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
pub use stream::{Step, Stream};
pub use table::Table;
pub use tunnel::SendFramesError;
use tunnel::Tunnel;

#[derive(Clone, Debug)]
pub enum EndReason {
    /// The upstream refused the first handshake: 403.
    RefusedUpstream(String),
    /// The first attempt failed, and no stream wanted to wait for another: 502.
    Failed(String),
    /// By the upstream or by DELETE. Listeners are told this event; clients that come back are told why.
    ForGood {
        told: Notice,
        reason: String,
    },
    /// No client came back in time, or it made room for others, or a reloaded page wanted a new one. There is no listener to be told.
    Unused,
    Drained,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The first attempt is under way.
    Opening,
    /// Welcomed, or trying again.
    Open,
    Ended(EndReason),
}

enum Mode {
    /// ActionCable: the bridge manages the channels, and reconnects.
    Managed(Channels),
    /// Frames as they are, over one link.
    Tunnel(Tunnel),
}

/// What a first attempt that fails means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstAttempt {
    /// The end: polls, POSTs and tunnels read a status.
    IsTheLast,
    /// Another attempt, unless the upstream denied it: an EventSource would not come back.
    MayFail,
    /// Another attempt: this EventSource was here before.
    MayBeDenied,
}

/// One session. Shared by the table, its upstream's thread and the requests that use it.
pub struct Session {
    this: Weak<Session>,
    table: Weak<Table>,
    rules: Arc<Rules>,
    stats: Arc<Stats>,
    pub id: String,
    /// The random part of this session's event ids. It appears nowhere else.
    secret: u128,
    path: Box<str>,
    /// Its `Mode`, to be known without the lock.
    is_tunnel: bool,
    opened_with: Fingerprint,
    first_attempt: FirstAttempt,
    /// How long it waits for its first listener once it is open.
    first_listener_within: Duration,
    budget: Arc<Budget>,
    /// What the mailbox keeps, in bytes, and how much of it is not the newest message; to be read without the lock.
    kept: AtomicUsize,
    spare: AtomicUsize,
    upstream: OnceLock<Upstream>,
    /// Guards all that changes. Held for the time of a look-up and a push; never during I/O, never with the table's lock.
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    mode: Mode,
    mailbox: Mailbox,
    link: Option<Arc<Link>>,
    /// What the next attempt carries.
    handshake: Arc<Handshake>,
    /// The credentials in it.
    shown: Fingerprint,
    outbox: Outbox,
    /// While the link is lost: what a stream that joins is told.
    away: Option<Notice>,
    denied_since: Option<Instant>,
    listeners: Listeners,
    polls: PollState,
    /// `repeat` has it on its list.
    is_repeating: bool,
    /// Opened by a GET that has yet to join: others that wait for the session let it go first.
    awaits_opener: bool,
    /// Threads that wait for the phase, the outbox, the listeners or a tunnel's POSTs to change.
    waiters: Vec<Sender<()>>,
    /// One of these changed.
    changed: bool,
    shares: Shares,
}

/// Where a part of the session leaves what it wants done: messages for the listeners, commands for the upstream.
struct Effects<'a> {
    session_id: &'a str,
    rules: &'a Rules,
    mailbox: &'a mut Mailbox,
    outbox: &'a mut Outbox,
    link_is_up: bool,
    now: Instant,
}

impl Effects<'_> {
    /// Leaves a command for `flush`. While the link is lost there is nothing to leave: the next welcome brings everything.
    fn command(&mut self, command: String) {
        if self.link_is_up {
            self.outbox.push(command);
        }
    }
}

impl Session {
    /// What a log may call this session.
    pub fn name(&self) -> &str {
        &self.id[..6]
    }

    /// Does one item of a POST. Its commands are in the outbox then: `flush` sends them.
    /// An error is a sentence for the client, and the `chan_id` if there is one.
    pub fn run(&self, request: Request) -> Result<String, (String, Option<String>)> {
        let mut state = self.wait_for_room().map_err(|why| (why, None))?;
        let ended = matches!(state.phase, Phase::Ended(_));
        // What takes nothing gives back, and passes.
        let bytes = request.bytes();
        if bytes > 0 && !self.budget.fits(bytes) {
            let why = "the bridge has no memory left for this (--max-memory), send it again later";
            return Err((why.to_owned(), None));
        }
        let Some((channels, mut out)) = state.effects(self).filter(|_| !ended) else {
            return Err(("the session has ended, open a new one with a GET".to_owned(), None));
        };
        match request {
            Request::Subscribe(identifier) => channels.subscribe(identifier, &mut out),
            Request::Unsubscribe(identifier) => channels.unsubscribe(&identifier, &mut out),
            Request::Send(identifier, data) => channels.send(&identifier, &data, &mut out),
        }
    }

    /// Waits until the first attempt has come to something, which `--connect-timeout` bounds, and the request that `opened` the
    /// session has had its turn.
    fn await_opening(&self, opened: bool) -> Phase {
        let ready = |state: &State| match state.phase {
            Phase::Opening => false,
            Phase::Open => opened || !state.awaits_opener,
            Phase::Ended(_) => true,
        };
        self.wait_until(self.lock(), None, ready).phase.clone()
    }

    /// The credentials of a GET that joined are what the next attempt carries, if it has the session's `Origin`.
    fn renew_credentials(&self, shown: &Credentials, print: &Fingerprint) {
        if self.rules.strict_headers || print.origin != self.opened_with.origin {
            return;
        }
        let mut state = self.lock();
        let before = state.shown;
        state.shown.renew(print, shown);
        if state.shown != before {
            shown.renew(Arc::make_mut(&mut state.handshake));
            let bytes = bytes_of(&state.handshake);
            state.shares.handshake.set(bytes);
            // What was denied was another login.
            state.denied_since = None;
        }
    }

    /// Ends the session: its listeners are told, its upstream is closed, the threads that wait for it go on. Only the first end
    /// counts.
    fn end(&self, reason: EndReason) {
        self.end_if(reason, |_| true);
    }

    fn end_if(&self, reason: EndReason, condition: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Ended(_)) || !condition(&state) {
            return false;
        }
        let said = reason.for_the_log().to_owned();
        state.phase = Phase::Ended(reason);
        state.link = None;
        state.outbox.clear();
        state.mailbox.call();
        state.changed = true;
        drop(state);
        info!("event=session-ended session={} reason={said:?}", self.name());
        self.close_upstream();
        true
    }

    fn close_upstream(&self) {
        if let Some(upstream) = self.upstream.get() {
            upstream.close(1000, "");
        }
    }

    /// `EndReason::ForGood` with the event that tells it.
    fn for_good(&self, reason: &str) -> EndReason {
        let told = if self.is_tunnel {
            tunnel::close_notice(1000, reason)
        } else {
            self.lost_notice(reason, false)
        };
        EndReason::ForGood { told, reason: reason.to_owned() }
    }

    fn lost_notice(&self, reason: &str, reconnect: bool) -> Notice {
        let (id, reason) = (&self.id, quoted(reason));
        let data = format!(
            r#"{{"type":"disconnected","session_id":"{id}","reason":{reason},"reconnect":{reconnect}}}"#
        );
        Notice { name: Some("upstream"), data: data.into() }
    }

    /// Ends the session if it has no listener and none can come back any more.
    fn expire(&self, now: Instant) -> bool {
        self.end_if(EndReason::Unused, |state| {
            state.listeners.is_empty()
                && !matches!(state.phase, Phase::Opening)
                && state.listeners.alive_until <= now
        })
    }

    /// A tunnel never skips: one that lost a frame is closed.
    fn end_skipping(&self) {
        if let Some(table) = self.table.upgrade() {
            let reason = "frames would have been lost".to_owned();
            table.end(self, EndReason::ForGood { told: tunnel::overflowed(), reason });
        }
    }
}

impl State {
    /// The channels of a managed session, and where they leave what they want done.
    fn effects<'a>(&'a mut self, of: &'a Session) -> Option<(&'a mut Channels, Effects<'a>)> {
        let Mode::Managed(channels) = &mut self.mode else { return None };
        let (session_id, rules) = (&*of.id, &*of.rules);
        let (mailbox, outbox) = (&mut self.mailbox, &mut self.outbox);
        let (link_is_up, now) = (self.link.is_some(), Instant::now());
        Some((channels, Effects { session_id, rules, mailbox, outbox, link_is_up, now }))
    }

    /// Subscribes the channels in the URL of a GET, as a POST would, if it `opened` the session or joins without resuming.
    /// An error is a sentence for the client; nothing is changed then.
    fn subscribe_from_url(
        &mut self,
        session: &Session,
        request: &JoinRequest,
        opened: bool,
        resumed: bool,
    ) -> Result<(), NotJoined> {
        if request.channels.is_empty() || resumed && !opened {
            return Ok(());
        }
        let Some((channels, mut out)) = self.effects(session) else { return Ok(()) };
        let rejected_too = opened || request.kind == Kind::Stream;
        let done = channels.subscribe_all(&request.channels, rejected_too, &mut out);
        done.map_err(|why| NotJoined::Refused(SessionError::Channels(why)))
    }
}

impl EndReason {
    /// Never a sentence that may hold what a client sent.
    fn for_the_log(&self) -> &str {
        match self {
            EndReason::RefusedUpstream(_) => "denied",
            EndReason::Failed(_) => "failed",
            EndReason::ForGood { reason, .. } => reason,
            EndReason::Unused => "no client came back",
            EndReason::Drained => "the bridge stops",
        }
    }
}

/// 128 random bits: what cannot be guessed.
fn random() -> u128 {
    let mut bytes = [0; 16];
    // The kernel's generator does not fail on Linux once it is seeded, and an id that can be guessed is worse than an end.
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    u128::from_ne_bytes(bytes)
}

/// The same in hexadecimal.
fn random_id() -> String {
    format!("{:032x}", random())
}
