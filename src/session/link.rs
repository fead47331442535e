//! What the upstream's thread tells a session, and what that means for it ("The upstream goes away" in `src/api.md`).
//!
//! Owns: which end of an attempt or of a link is the end of the session.
//! Never: waits but for a write: what is to go up is written by `flush`, on the same thread.

use super::{EndReason, Kind, Phase, Session, SessionError, State};
use crate::frame::{Frame, is_ping};
use crate::mailbox::Notice;
use crate::memory::{Held, Share};
use crate::upstream::{AfterDown, Down, Handshake, Link, LinkHandler};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long handshakes may be answered with 4xx before a session that lives or comes back believes it: a deploy says 404 a while.
const DENIED_FOR_GOOD_AFTER: Duration = Duration::from_secs(60);

impl LinkHandler for Session {
    fn handshake(&self) -> Arc<Handshake> {
        Arc::clone(&self.lock().handshake)
    }

    fn incoming(&self) -> Share {
        self.table.budget.share(Held::Incoming)
    }

    fn up(&self, link: Arc<Link>) {
        let mut state = self.lock();
        if state.has_ended() {
            return;
        }
        state.opened(self);
        state.denied_since = None;
        if let Some(tunnel) = &mut state.tunnel {
            tunnel.protocol = link.protocol().unwrap_or_default().to_owned();
        }
        state.link = Some(link);
        if state.away.take().is_some() {
            let data = format!(r#"{{"type":"connected","session_id":"{}"}}"#, self.id);
            state.announce(Notice { name: Some("upstream"), data: data.into() });
        }
        let (channels, mut out) = state.effects(self);
        channels.welcomed(&mut out);
        drop(state);
        self.flush();
    }

    fn text(&self, text: &str, frame: Option<Frame<'_>>) {
        let stats = &self.table.stats;
        stats.received.add(1);
        stats.received_bytes.add(text.len() as u64);
        let mut state = self.lock();
        if state.has_ended() {
            return;
        }
        match frame {
            Some(frame) => self.on_cable_frame(&mut state, frame),
            None if is_ping(text) => state.mailbox.tell(&Notice { name: None, data: text.into() }),
            None => state.mailbox.push(&[text]),
        }
        let has_commands = !state.outbox.is_empty();
        self.end_if_skipped(state);
        if has_commands {
            self.flush();
        }
    }

    fn text_freed(&self) {
        self.table.keep_within_memory();
    }

    fn down(&self, down: Down) -> AfterDown {
        let mut state = self.lock();
        state.waiting.notify_all();
        let inner = &mut *state;
        match (&inner.phase, &mut inner.tunnel) {
            (Phase::Ended(_), _) => return AfterDown::Stop,
            (Phase::Open, Some(tunnel)) => {
                tunnel.upstream_closed(down);
                inner.link = None;
                inner.outbox.clear();
                inner.mailbox.wake_listeners();
                return AfterDown::Stop;
            }
            _ => {}
        }
        let Some(reason) = self.decide(&mut state, down, Instant::now()) else {
            return AfterDown::Retry;
        };
        drop(state);
        self.table.end(self, reason);
        AfterDown::Stop
    }

    fn broken(&self) {
        // There would be no messages any more: its listeners are better off with a new one.
        self.table.end(self, EndReason::Dropped("a fault of the bridge"));
    }
}

impl Session {
    /// What the end of an attempt, or of the link, means for the session: its end, or another attempt.
    fn decide(&self, state: &mut State, down: Down, now: Instant) -> Option<EndReason> {
        let opening = matches!(state.phase, Phase::Opening);
        // Polls, POSTs and tunnels read a status; an EventSource would not come back, and has another attempt.
        let is_last = opening && (self.is_tunnel || self.opened_by == Kind::Poll);
        let reason = match down {
            Down::Refused { reason } if opening => {
                let why = format!("the upstream refused this session: {reason}");
                return Some(EndReason::NotOpened(SessionError::RefusedUpstream(why)));
            }
            Down::Refused { reason } => return Some(self.for_good(1000, &reason)),
            Down::Denied { why, .. } if is_last || opening && !self.came_back => {
                return Some(EndReason::NotOpened(SessionError::RefusedUpstream(why)));
            }
            Down::Denied { status, why } => {
                let since = *state.denied_since.get_or_insert(now);
                if now.duration_since(since) >= DENIED_FOR_GOOD_AFTER {
                    let why = format!("the upstream answered {status} for a minute");
                    return Some(self.for_good(1000, &why));
                }
                why
            }
            Down::Lost { reason, .. } => {
                state.denied_since = None;
                reason
            }
        };
        if is_last {
            let why = SessionError::Failed(format!("no upstream: {reason}"));
            return Some(EndReason::NotOpened(why));
        }
        state.on_link_lost(self, &reason);
        None
    }

    fn on_cable_frame(&self, state: &mut State, frame: Frame<'_>) {
        let (channels, mut out) = state.effects(self);
        match frame {
            Frame::Message { identifier, message } => {
                channels.receive(identifier, message.get(), &mut out);
            }
            Frame::Confirm { identifier } => channels.answered(identifier, true, &mut out),
            Frame::Reject { identifier } => channels.answered(identifier, false, &mut out),
            _ => {}
        }
    }
}

impl State {
    /// The first attempt has come to something: the request that asked for it joins now, or none does and it expires.
    fn opened(&mut self, session: &Session) {
        if matches!(self.phase, Phase::Opening) {
            self.listeners.live_for(session.table.rules.outlives(session.opened_by));
            self.phase = Phase::Open;
            self.waiting.notify_all();
        }
    }

    /// Tells every stream now, and the next poll's reply.
    fn announce(&mut self, notice: Notice) {
        self.mailbox.tell(&notice);
        self.polls.upstream = Some(notice);
    }

    /// The link, or the attempt to get one, is lost; there will be another.
    fn on_link_lost(&mut self, session: &Session, reason: &str) {
        self.link = None;
        self.outbox.clear();
        let first = self.away.is_none();
        let notice = session.lost_notice(reason, true);
        self.away = Some(notice.clone());
        // One that opens only now has no listener yet: a stream that joins finds `away`.
        self.opened(session);
        if first {
            self.announce(notice);
            let (channels, mut out) = self.effects(session);
            channels.lost(&mut out);
        }
    }
}
