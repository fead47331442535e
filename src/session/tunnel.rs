//! Tunnels: sessions that carry a WebSocket's frames as they are, for clients that speak the upstream's protocol
//! themselves (part C of the API).
//!
//! Owns: what a tunnel has beside the mailbox: its subprotocol, its `seq`, its close.
//! Never: reads a frame's meaning, but for ActionCable's ping, which is of use only while somebody listens.
//! At the limit: a tunnel never skips; when a frame would have to be dropped that nobody was given, it closes with 1013.

use super::bell::Locked;
use super::listener::Start;
use super::{Over, Phase, Session, State};
use crate::frame::{is_ping, quoted};
use crate::mailbox::{Notice, Placed};
use crate::upstream::Down;
use std::time::{Duration, Instant};

/// How long a POST waits for the one before it, and a DELETE for the last POST.
const OVERTAKEN_WAIT: Duration = Duration::from_secs(1);

/// RFC 6455, 7.4.1: there was no close frame.
const ABNORMAL: u16 = 1006;

/// What a tunnel has that a managed session has not.
#[derive(Default)]
pub(super) struct Tunnel {
    /// As the upstream chose; empty for none.
    pub(super) protocol: String,
    /// The upstream closed: the `close` event. Its place is the one after the last frame.
    pub(super) close: Option<Notice>,
    /// A poll's reply has told that the tunnel is open.
    pub(super) announced: bool,
    /// The number of the last POST that had one.
    seq: u64,
}

/// Why frames were not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untaken {
    /// This POST is not the next one; that would be number `expected`.
    Skips { expected: u64 },
    /// The tunnel is closed: `close`, as JSON.
    Closed(String),
    /// The upstream does not read.
    Busy,
}

impl Tunnel {
    /// The event with which a stream begins.
    pub(super) fn open(&self, session_id: &str, resumed: bool) -> Notice {
        let protocol = quoted(&self.protocol);
        let data =
            format!(r#"{{"protocol":{protocol},"session_id":"{session_id}","resumed":{resumed}}}"#);
        Notice { name: Some("open"), data: data.into() }
    }

    /// Whether a poll has something to say without a frame: that the tunnel is open, or that it is closed.
    pub(super) fn wants_answer(&self, is_tunnel: bool) -> bool {
        is_tunnel && (!self.announced || self.close.is_some())
    }
}

/// The `close` of a tunnel that would have to skip.
pub(super) fn overflowed() -> Notice {
    close_notice(1013, "the client took too little, frames would have been lost")
}

pub(super) fn close_notice(code: u16, reason: &str) -> Notice {
    let data = format!(r#"{{"code":{code},"reason":{}}}"#, quoted(reason));
    Notice { name: Some("close"), data: data.into() }
}

impl State {
    /// Whether a listener that wants to go on there can, without missing a frame. `fresh`: where one that does not say would.
    pub(super) fn tunnel_resumes(&self, session: &Session, start: &Start, fresh: u64) -> bool {
        let last = self.mailbox.last();
        let place = match start {
            Start::Fresh => fresh,
            Start::Number(place) => *place,
            Start::Event { secret, place } if *secret == session.secret => *place,
            Start::Event { .. } => return false,
        };
        place <= last && self.mailbox.missed(place) == 0
    }

    /// One frame came. Whether it could be kept without losing another that nobody was given.
    pub(super) fn carry(&mut self, frame: &str) -> bool {
        if is_ping(frame) {
            self.mailbox.tell(&Notice { name: None, data: frame.into() });
            return true;
        }
        self.mailbox.push(frame);
        self.skips_nothing()
    }

    /// Whether every frame that was dropped had been given to somebody.
    pub(super) fn skips_nothing(&self) -> bool {
        self.mailbox.missed(self.mailbox.sent().max(self.polled.carried)) == 0
    }
}

impl Session {
    /// Takes the frames of one POST on their way up. `seq`: its number, from 1; one that was taken before is not sent again.
    ///
    /// # Errors
    /// Why none of them was taken.
    pub fn send_frames(&self, seq: Option<u64>, frames: Vec<String>) -> Result<(), Untaken> {
        let mut state = self.wait_for_room().map_err(|_| Untaken::Busy)?;
        if let Some(close) = self.close_of(&state) {
            return Err(Untaken::Closed(close.data.to_string()));
        }
        if let Some(seq) = seq {
            state = self.await_posts(state, seq.saturating_sub(1));
            let expected = state.tunnel.seq + 1;
            if seq < expected {
                return Ok(());
            }
            if seq > expected {
                return Err(Untaken::Skips { expected });
            }
            state.tunnel.seq = seq;
        }
        state.outbox.extend(frames);
        drop(state);
        self.changed.ring();
        self.flush();
        Ok(())
    }

    /// Waits a moment until the POST of this number is done: the last requests of a page travel side by side, and one may
    /// overtake another.
    fn await_posts<'a>(&'a self, state: Locked<'a>, seq: u64) -> Locked<'a> {
        let deadline = Instant::now() + OVERTAKEN_WAIT;
        self.wait_until(state, Some(deadline), |state| {
            state.tunnel.seq >= seq || self.close_of(state).is_some()
        })
    }

    /// Before a DELETE: the frames of the client's last POST go up first.
    pub(super) fn await_last_post(&self, seq: u64) {
        drop(self.await_posts(self.lock(), seq));
        self.flush();
    }

    /// What a tunnel's listeners are told at its end, if it has come.
    fn close_of<'a>(&self, state: &'a State) -> Option<&'a Notice> {
        match &state.phase {
            Phase::Over(Over::Ended { told, .. }) => Some(told),
            _ => state.tunnel.close.as_ref(),
        }
    }

    /// A poll's answer. The close, which comes after the last frame, has a place of its own, to be acknowledged.
    pub(super) fn tunnel_reply(
        &self,
        state: &State,
        events: &[Placed<'_>],
        carried: u64,
    ) -> String {
        let all = carried == state.mailbox.last();
        let close = self.close_of(state).filter(|_| all);
        let frames: Vec<String> = events.iter().map(|(_, frame)| quoted(frame)).collect();
        format!(
            r#"{{"protocol":{},"session_id":"{}","messages":[{}],"msg_id":"{carried}","last_event_id":"{}{}","dropped":0,"close":{}}}"#,
            quoted(&state.tunnel.protocol),
            self.id,
            frames.join(","),
            self.event_id_prefix(),
            carried + u64::from(close.is_some()),
            close.map_or("null", |notice| &notice.data),
        )
    }

    /// The upstream of an open tunnel is gone: what was not given yet still is, then the close.
    pub(super) fn close_tunnel(&self, state: &mut State, down: Down) {
        let (code, reason) = match down {
            Down::Lost { close: Some((code, reason)), .. } => (code, reason),
            Down::Lost { reason, .. } | Down::Refused { reason } => (ABNORMAL, reason),
            Down::Denied { why, .. } => (ABNORMAL, why),
        };
        state.link = None;
        state.outbox.clear();
        state.tunnel.close = Some(close_notice(code, &reason));
        state.mailbox.call();
    }

    /// What a listener that cannot go on from `start` is told of the end, if it has come; one that has the close already
    /// acknowledges it, and the session is over.
    pub(super) fn last_words(&self, start: &Start) -> Option<String> {
        let state = self.lock();
        let close = self.close_of(&state).cloned();
        let acknowledged = matches!(start, Start::Event { secret, place }
            if *secret == self.secret && *place > state.mailbox.last());
        drop(state);
        if acknowledged {
            self.bury_tunnel();
        }
        close.map(|notice| notice.data.to_string())
    }

    /// The close was told: the session is over, and who comes back is told once more.
    pub(super) fn bury_tunnel(&self) {
        let told = self.lock().tunnel.close.clone();
        if let (Some(told), Some(table)) = (told, self.table.upgrade()) {
            table.end(self, Over::Ended { told, reason: "closed by the upstream".to_owned() });
        }
    }
}
