//! Tunnels: sessions that carry a WebSocket's frames as they are, for clients that speak the upstream's protocol
//! themselves ("Unchanged WebSocket clients" of the API).
//!
//! Owns: what a tunnel has beside the mailbox: its subprotocol, the number of its last POST, its close.
//! Never: reads a frame's meaning, but for ActionCable's ping, which is of use only while a stream is open.
//! At the limit: a tunnel never skips; when a frame would have to be dropped that no listener was given, it closes with 1013.

use super::join::Start;
use super::lock::Locked;
use super::{EndReason, Mode, Phase, Session, State};
use crate::frame::{is_ping, quoted};
use crate::mailbox::{Notice, Placed};
use crate::upstream::Down;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How long a POST waits for the one before it, and a DELETE for the last POST.
const OVERTAKEN_WAIT: Duration = Duration::from_secs(1);

/// RFC 6455, 7.4.1: there was no close frame.
const ABNORMAL: u16 = 1006;

#[derive(Default)]
pub(super) struct Tunnel {
    /// As the upstream chose; empty for none.
    pub protocol: String,
    /// The upstream closed: the `close` event. Its place is the one after the last frame.
    pub close: Option<Notice>,
    /// A poll's reply has told that the tunnel is open.
    pub announced: bool,
    /// The number of the last POST that had one.
    posts: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendFramesError {
    /// This POST is not the next one; that would be number `expected`.
    Skips { expected: u64 },
    /// The tunnel is closed: `close`, as JSON, where that is known.
    Closed(Option<String>),
    /// The upstream does not read.
    Busy,
}

impl Tunnel {
    /// The event with which a stream begins.
    pub fn open(&self, session_id: &str, resumed: bool) -> Notice {
        let protocol = quoted(&self.protocol);
        let data =
            format!(r#"{{"protocol":{protocol},"session_id":"{session_id}","resumed":{resumed}}}"#);
        Notice { name: Some("open"), data: data.into() }
    }

    /// Whether a poll has something to say without a frame: that the tunnel is open, or that it is closed.
    pub fn wants_answer(&self) -> bool {
        !self.announced || self.close.is_some()
    }

    /// The upstream of an open tunnel is gone.
    pub fn close(&mut self, down: Down) {
        let (code, reason) = match down {
            Down::Lost { close: Some((code, reason)), .. } => (code, reason),
            Down::Lost { reason, .. } | Down::Refused { reason } => (ABNORMAL, reason),
            Down::Denied { why, .. } => (ABNORMAL, why),
        };
        self.close = Some(close_notice(code, &reason));
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
    pub(super) fn tunnel(&self) -> Option<&Tunnel> {
        match &self.mode {
            Mode::Tunnel(tunnel) => Some(tunnel),
            Mode::Managed(_) => None,
        }
    }

    pub(super) fn tunnel_mut(&mut self) -> Option<&mut Tunnel> {
        match &mut self.mode {
            Mode::Tunnel(tunnel) => Some(tunnel),
            Mode::Managed(_) => None,
        }
    }

    fn posts(&self) -> u64 {
        self.tunnel().map_or(0, |tunnel| tunnel.posts)
    }

    /// Whether a listener that wants to go on there cannot without missing a frame, in a tunnel. `fresh`: where one that does
    /// not say would.
    pub(super) fn would_skip(&self, session: &Session, start: Start, fresh: u64) -> bool {
        let place = match start {
            Start::Fresh => Some(fresh),
            Start::Number(place) => Some(place),
            Start::Event { secret, place } => (secret == session.secret).then_some(place),
        };
        let resumes = |place| place <= self.mailbox.last() && self.mailbox.missed(place) == 0;
        self.tunnel().is_some() && !place.is_some_and(resumes)
    }

    /// One frame came. Whether it could be kept without losing another that no listener was given.
    pub(super) fn carry(&mut self, frame: &str) -> bool {
        if is_ping(frame) {
            self.mailbox.tell(&Notice { name: None, data: frame.into() });
            return true;
        }
        self.mailbox.push(&[frame]);
        !self.has_skipped()
    }

    /// Whether this is a tunnel that has dropped a frame which no listener had been given.
    pub(super) fn has_skipped(&self) -> bool {
        let given = self.mailbox.delivered().max(self.polls.acked);
        self.tunnel().is_some() && self.mailbox.missed(given) > 0
    }

    /// What a tunnel's listeners are told at its end, if it has come.
    fn close(&self) -> Option<&Notice> {
        match &self.phase {
            Phase::Ended(EndReason::ForGood { told, .. }) => Some(told),
            _ => self.tunnel()?.close.as_ref(),
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Ended(_)) || self.close().is_some()
    }
}

impl Session {
    /// Takes the frames of one POST on their way up. `seq`: its number, from 1; one that was taken before is not sent again.
    pub fn send_frames(
        &self,
        seq: Option<u64>,
        frames: Vec<String>,
    ) -> Result<(), SendFramesError> {
        let mut state = self.wait_for_room().map_err(|_| SendFramesError::Busy)?;
        if let Some(seq) = seq {
            state = self.await_posts(state, seq.saturating_sub(1));
        }
        if state.is_closed() {
            let close = state.close().map(|close| close.data.to_string());
            return Err(SendFramesError::Closed(close));
        }
        if let Some(seq) = seq {
            let expected = state.posts() + 1;
            if seq < expected {
                return Ok(());
            }
            if seq > expected {
                return Err(SendFramesError::Skips { expected });
            }
            state.tunnel_mut().into_iter().for_each(|tunnel| tunnel.posts = seq);
        }
        state.outbox.extend(frames);
        state.changed = true;
        drop(state);
        self.flush();
        Ok(())
    }

    /// Waits a moment until the POST of this number is done: the last requests of a page travel side by side, and one may
    /// overtake another.
    fn await_posts<'a>(&'a self, state: Locked<'a>, seq: u64) -> Locked<'a> {
        let deadline = Instant::now() + OVERTAKEN_WAIT;
        self.wait_until(state, Some(deadline), |state| state.posts() >= seq || state.is_closed())
    }

    /// Before a DELETE: the frames of the client's last POST go up first.
    pub(super) fn await_last_post(&self, seq: u64) {
        drop(self.await_posts(self.lock(), seq));
        self.flush();
    }

    /// A poll's answer. The close, which comes after the last frame, has a place of its own, to be acknowledged.
    pub(super) fn tunnel_reply(
        &self,
        state: &State,
        tunnel: &Tunnel,
        events: &[Placed<'_>],
        carried: u64,
    ) -> String {
        let all = carried == state.mailbox.last();
        let close = state.close().filter(|_| all);
        let protocol = quoted(&tunnel.protocol);
        let mut json =
            format!(r#"{{"protocol":{protocol},"session_id":"{}","messages":["#, self.id);
        for (at, (_, frame)) in events.iter().enumerate() {
            json.push_str(if at > 0 { "," } else { "" });
            json.push_str(&quoted(frame));
        }
        // Writing to a String does not fail.
        let _ = write!(
            json,
            r#"],"msg_id":"{carried}","last_event_id":"{}{}","dropped":0,"close":{}}}"#,
            self.event_id_prefix(),
            carried + u64::from(close.is_some()),
            close.map_or("null", |notice| &notice.data),
        );
        json
    }

    /// What a listener that cannot go on from `start` is told of the end, if it has come; one that has the close already
    /// acknowledges it, and the session is over.
    pub(super) fn last_words(&self, start: Start) -> Option<String> {
        let state = self.lock();
        let close = state.close().cloned();
        let acknowledged = matches!(start, Start::Event { secret, place }
            if secret == self.secret && place > state.mailbox.last());
        drop(state);
        if acknowledged {
            self.end_closed();
        }
        close.map(|notice| notice.data.to_string())
    }

    /// The tunnel's close was told: the session is over, and a client that comes back is told once more.
    pub(super) fn end_closed(&self) {
        let told = self.lock().tunnel().and_then(|tunnel| tunnel.close.clone());
        if let (Some(told), Some(table)) = (told, self.table.upgrade()) {
            table.end(
                self,
                EndReason::ForGood { told, reason: "closed by the upstream".to_owned() },
            );
        }
    }
}
