//! A session: one upstream WebSocket, and everything that is remembered for it between requests.
//!
//! | file | decides |
//! | --- | --- |
//! | `table` | which session makes room, forgets messages, is over |
//! | `open`, `join` | which request finds or opens a session; what it says, and the reasons for a no |
//! | `listeners`, `stream`, `poll` | whose place a newcomer takes, where it starts, what it is given |
//! | `channels`, `repeat` | what an item of a POST does; what is sent upstream again |
//! | `tunnel` | the same for unchanged WebSocket clients |
//! | `link`, `outbox` | what it means that a link comes or goes; in which order, and when, frames go up |
//! | `ended` | what is remembered of sessions that were ended for good |
//! | `lock`, `shares` | which threads a change wakes; what a session holds of `--max-memory` |
//!
//! Never: touches a socket, or holds its one lock during I/O.
//! Flow: `link` pushes what `upstream` brings to the mailbox; `http` has `run` do each item of a POST, `flush` writes the outbox.

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
mod shares;
mod stream;
mod table;
#[cfg(test)]
mod testing;
mod tunnel;

use crate::frame::quoted;
use crate::mailbox::{Mailbox, Notice};
use crate::report::info;
use crate::upstream::{Handshake, Link, Upstream};
pub use channels::Item;
use channels::{Channels, ItemResult};
use join::Fingerprint;
pub use join::{JoinRequest, Kind, Rules, SessionError, Start};
use listeners::{Listeners, NotJoined};
use lock::Waiting;
pub use open::Found;
use outbox::Outbox;
use parking_lot::Mutex;
use poll::PollState;
pub use poll::{POLL_QUEUE_DEFAULT, Poll, PollReply, PollStep};
use shares::{Shares, bytes_of};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::Instant;
pub use stream::{Step, Stream};
pub use table::Table;
use tunnel::Tunnel;

#[derive(Clone, Debug)]
pub enum EndReason {
    /// The first attempt was refused, or failed and no stream wanted to wait for another: what those are told that wait for it.
    NotOpened(SessionError),
    /// By the upstream, by DELETE, or a tunnel's end. Listeners are told this event; clients that come back are told why.
    ForGood { told: Notice, reason: String },
    /// Its id opens a new one, so its listeners, if it has any, are told nothing. Why is for the log.
    Dropped(&'static str),
    /// The bridge stops.
    Drained,
}

#[derive(Debug)]
enum Phase {
    /// The first attempt is under way.
    Opening,
    /// Welcomed, or trying again.
    Open,
    Ended(EndReason),
}

/// One session. Shared by the table, its upstream's thread and the requests that use it.
pub struct Session {
    this: Weak<Session>,
    /// The table holds it too, until its end.
    table: Arc<Table>,
    pub id: String,
    /// The random part of this session's event ids. It appears nowhere else.
    secret: u128,
    path: Box<str>,
    /// Carries frames as they are, over one link. Else the bridge manages channels, and reconnects.
    is_tunnel: bool,
    opened_with: Fingerprint,
    opened_by: Kind,
    /// By a stream that was here before.
    came_back: bool,
    /// What the mailbox keeps, in bytes, and how much of it is not the newest message; to be read without the lock.
    kept: AtomicUsize,
    spare: AtomicUsize,
    /// Guards all that changes. Taken by the threads of upstreams, by those of requests (also to build a poll's answer, or to copy
    /// the next messages of a stream), the sweeper, `repeats` and a drain; never held during I/O, never with the table's lock.
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// There are none in a tunnel.
    channels: Channels,
    tunnel: Option<Box<Tunnel>>,
    mailbox: Mailbox,
    /// Closes when it is dropped.
    upstream: Option<Upstream>,
    link: Option<Arc<Link>>,
    /// What the next attempt carries.
    handshake: Arc<Handshake>,
    outbox: Outbox,
    /// While the link is lost: what a stream that joins is told.
    away: Option<Notice>,
    denied_since: Option<Instant>,
    listeners: Listeners,
    polls: PollState,
    /// `repeat` has it on its list.
    is_repeating: bool,
    /// The request that opened it has yet to join: no other joins before.
    awaits_opener: bool,
    /// For a change of the phase, the outbox, the listeners or a tunnel's POSTs.
    waiting: Waiting,
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
    pub fn run(&self, item: Item) -> ItemResult {
        let Some(mut state) = self.wait_for_room() else {
            let why = "the upstream takes no commands at the moment, send this item again later";
            return Err((why.to_owned(), None));
        };
        // An unsubscribe takes none, and gives some back.
        let bytes = item.bytes();
        if bytes > 0 && !self.table.budget.fits(bytes) {
            let why = "the bridge has no memory left for this (--max-memory), send it again later";
            return Err((why.to_owned(), None));
        }
        if state.has_ended() {
            return Err(("the session has ended, open a new one with a GET".to_owned(), None));
        }
        let (channels, mut out) = state.effects(self);
        match item {
            Item::Subscribe(identifier) => channels.subscribe(identifier, &mut out),
            Item::Unsubscribe(identifier) => channels.unsubscribe(&identifier, &mut out),
            Item::Send(identifier, data) => channels.send(&identifier, &data, &mut out),
        }
    }

    /// Waits for the end of the first attempt (`--connect-timeout` bounds it) and, unless this is the opener, for the opener to join.
    fn await_opening(&self, is_opener: bool) -> Result<(), EndReason> {
        let ready = |state: &State| match state.phase {
            Phase::Opening => false,
            Phase::Open => is_opener || !state.awaits_opener,
            Phase::Ended(_) => true,
        };
        let state = self.wait_until(self.lock(), None, ready);
        match &state.phase {
            Phase::Ended(reason) => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    /// The credentials of a GET that joined are what the next attempt carries, if it has the session's `Origin`.
    fn renew_credentials(&self, newer: &Handshake) {
        let print = |handshake: &Handshake| Fingerprint::of(handshake, &self.table.keys);
        let is_known = *newer == *self.lock().handshake;
        let is_strict = self.table.rules.strict_headers;
        if is_known || is_strict || print(newer).origin != self.opened_with.origin {
            return;
        }
        let mut state = self.lock();
        let mut renewed = Handshake::clone(&state.handshake);
        join::renew(&mut renewed, newer);
        if print(&renewed).login != print(&state.handshake).login {
            state.shares.handshake.set(bytes_of(&renewed));
            state.handshake = Arc::new(renewed);
            // What was denied was another login.
            state.denied_since = None;
        }
    }

    /// If the condition holds: tells the listeners, closes the upstream, wakes what waits. Whether this was the first end.
    fn end_if(&self, reason: EndReason, condition: impl Fn(&State) -> bool) -> bool {
        let mut state = self.lock();
        if state.has_ended() || !condition(&state) {
            return false;
        }
        let said = reason.for_the_log().to_owned();
        state.phase = Phase::Ended(reason);
        state.link = None;
        state.outbox.clear();
        state.mailbox.wake_listeners();
        state.waiting.notify_all();
        let upstream = state.upstream.take();
        drop(state);
        info!("event=session-ended session={} reason={said:?}", self.name());
        drop(upstream);
        true
    }

    /// `EndReason::ForGood` with the event that tells it; in a tunnel with this code.
    fn for_good(&self, code: u16, reason: &str) -> EndReason {
        let told = match self.is_tunnel {
            true => tunnel::close_notice(code, reason),
            false => self.lost_notice(reason, false),
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
}

impl State {
    fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// The channels, and where they leave what they want done.
    fn effects<'a>(&'a mut self, of: &'a Session) -> (&'a mut Channels, Effects<'a>) {
        let (session_id, rules) = (&*of.id, &of.table.rules);
        let (mailbox, outbox) = (&mut self.mailbox, &mut self.outbox);
        let (link_is_up, now) = (self.link.is_some(), Instant::now());
        (&mut self.channels, Effects { session_id, rules, mailbox, outbox, link_is_up, now })
    }

    /// Subscribes the channels in a GET's URL, as a POST would, if it opened the session or joins without resuming.
    /// An error is a sentence for the client; nothing is changed then.
    fn subscribe_from_url(
        &mut self,
        session: &Session,
        request: &JoinRequest,
        resumed: bool,
    ) -> Result<(), NotJoined> {
        let opened = self.awaits_opener;
        if request.channels.is_empty() || session.is_tunnel || resumed && !opened {
            return Ok(());
        }
        let (channels, mut out) = self.effects(session);
        let rejected_too = opened || request.kind == Kind::Stream;
        let done = channels.subscribe_all(&request.channels, rejected_too, &mut out);
        done.map_err(|why| NotJoined::Refused(SessionError::Channels(why)))
    }
}

impl EndReason {
    /// Never a sentence that may hold what a client sent.
    fn for_the_log(&self) -> &str {
        match self {
            EndReason::NotOpened(SessionError::RefusedUpstream(_)) => "denied",
            EndReason::NotOpened(_) => "failed",
            EndReason::ForGood { reason, .. } => reason,
            EndReason::Dropped(why) => why,
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
