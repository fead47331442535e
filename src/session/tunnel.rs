//! Tunnels: sessions that carry a WebSocket's frames as they are, for clients that speak the upstream's protocol
//! themselves ("Tunnels" in `src/api.md`).
//!
//! Owns: what a tunnel has beside the mailbox: its subprotocol, the number of its last POST, its close.
//! Never: reads a frame's meaning; `link` knows ActionCable's ping, which is of use only while a stream is open.
//! At the limit: a tunnel never skips; when a frame would have to be dropped that no listener was given, it closes with 1013.

use super::join::{SessionError, Start};
use super::listeners::NotJoined;
use super::lock::Locked;
use super::{EndReason, Phase, Session, State};
use crate::frame::quoted;
use crate::mailbox::{Notice, Placed};
use crate::upstream::Down;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How long a POST waits for the one before it, and a DELETE for the last POST.
const OVERTAKEN_WAIT: Duration = Duration::from_secs(1);

/// RFC 6455, 7.4.1: there was no close frame.
const ABNORMAL: u16 = 1006;

/// Why a tunnel is closed that would have to skip, with 1013.
pub(super) const OVERFLOWED: &str = "the client took too little, frames would have been lost";

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

impl Tunnel {
    /// The event with which a stream begins.
    pub fn open_notice(&self, id: &str, resumed: bool) -> Notice {
        let protocol = quoted(&self.protocol);
        let data = format!(r#"{{"protocol":{protocol},"session_id":"{id}","resumed":{resumed}}}"#);
        Notice { name: Some("open"), data: data.into() }
    }

    /// Whether a poll has something to say without a frame: that the tunnel is open, or that it is closed.
    pub fn wants_answer(&self) -> bool {
        !self.announced || self.close.is_some()
    }

    /// The upstream of an open tunnel is gone.
    pub fn upstream_closed(&mut self, down: Down) {
        let (code, reason) = match down {
            Down::Lost { close: Some((code, reason)), .. } => (code, reason),
            Down::Lost { reason, .. } | Down::Refused { reason } => (ABNORMAL, reason),
            Down::Denied { why, .. } => (ABNORMAL, why),
        };
        self.close = Some(close_notice(code, &reason));
    }
}

pub(super) fn close_notice(code: u16, reason: &str) -> Notice {
    let data = format!(r#"{{"code":{code},"reason":{}}}"#, quoted(reason));
    Notice { name: Some("close"), data: data.into() }
}

impl State {
    fn posts(&self) -> u64 {
        self.tunnel.as_ref().map_or(0, |tunnel| tunnel.posts)
    }

    /// Whether this is a tunnel in which a listener cannot start there without missing a frame: its client speaks a protocol that
    /// breaks with one frame lost. `fresh`: where one that does not say starts.
    pub(super) fn would_skip(&self, session: &Session, start: Start, fresh: u64) -> bool {
        let place = match start {
            Start::Fresh => Some(fresh),
            Start::Number(place) => Some(place),
            Start::Event { secret, place } => (secret == session.secret).then_some(place),
        };
        let resumes = |place| place <= self.mailbox.last() && self.mailbox.missed(place) == 0;
        self.tunnel.is_some() && !place.is_some_and(resumes)
    }

    /// What a tunnel's listeners are told at its end, if it has come.
    fn close_notice(&self) -> Option<&Notice> {
        match &self.phase {
            Phase::Ended(EndReason::ForGood { told, .. }) => Some(told),
            _ => self.tunnel.as_ref()?.close.as_ref(),
        }
    }

    fn is_closed(&self) -> bool {
        self.has_ended() || self.close_notice().is_some()
    }
}

impl Session {
    /// Takes the frames of one POST on their way up. `seq`: its number, from 1; one that was taken before is not sent again.
    pub fn send_frames(&self, seq: Option<u64>, frames: Vec<String>) -> Result<(), SessionError> {
        let mut state = self.wait_for_room().ok_or(SessionError::Busy)?;
        if let Some(seq) = seq {
            state = self.await_posts(state, seq.saturating_sub(1));
        }
        if state.is_closed() {
            let close = state.close_notice().map(|close| close.data.to_string());
            return Err(SessionError::Gone(close));
        }
        if let (Some(seq), Some(tunnel)) = (seq, &mut state.tunnel) {
            let expected = tunnel.posts + 1;
            if seq < expected {
                return Ok(());
            }
            if seq > expected {
                return Err(SessionError::Skips { expected });
            }
            tunnel.posts = seq;
        }
        state.outbox.extend(frames);
        state.waiting.notify_all();
        drop(state);
        self.flush();
        Ok(())
    }

    /// Waits a moment until the POST of this number is done: the last requests of a page travel side by side, and may overtake.
    pub(super) fn await_posts<'a>(&'a self, state: Locked<'a>, seq: u64) -> Locked<'a> {
        let deadline = Instant::now() + OVERTAKEN_WAIT;
        self.wait_until(state, Some(deadline), |state| state.posts() >= seq || state.is_closed())
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
        let close = state.close_notice().filter(|_| all);
        let (id, protocol) = (&self.id, quoted(&tunnel.protocol));
        let mut json = format!(r#"{{"protocol":{protocol},"session_id":"{id}","messages":["#);
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

    /// A tunnel never skips. What a listener that cannot go on from `start` is told of the end, if it has come; one that has the
    /// close already acknowledges it, and the session is over.
    pub(super) fn gone(&self, state: Locked<'_>, start: Start) -> NotJoined {
        let close = state.close_notice().map(|notice| notice.data.to_string());
        let acknowledged = matches!(start, Start::Event { secret, place }
            if secret == self.secret && place > state.mailbox.last());
        drop(state);
        if acknowledged {
            self.end_closed();
        }
        NotJoined::Refused(SessionError::Gone(close))
    }

    /// Ends a tunnel that has dropped a frame which no listener had been given: it never skips.
    pub(super) fn end_if_skipped(&self, state: Locked<'_>) {
        let given = state.mailbox.delivered().max(state.polls.acked);
        let has_skipped = self.is_tunnel && state.mailbox.missed(given) > 0;
        drop(state);
        if has_skipped {
            self.table.end(self, self.for_good(1013, OVERFLOWED));
        }
    }

    /// The tunnel's close was told: the session is over, and a client that comes back is told once more.
    pub fn end_closed(&self) {
        let told = self.lock().tunnel.as_ref().and_then(|tunnel| tunnel.close.clone());
        if let Some(told) = told {
            let reason = "closed by the upstream".to_owned();
            self.table.end(self, EndReason::ForGood { told, reason });
        }
    }
}
