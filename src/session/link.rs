//! What the upstream's thread tells a session, and what that means for it.
//!
//! Owns: which end of an attempt or of a link is the end of the session.
//! Never: waits; what is to go up is written by `flush`, on the same thread.

use super::{EndReason, FirstAttempt, Mode, Phase, Session, State};
use crate::frame::Frame;
use crate::mailbox::Notice;
use crate::memory::{Held, Share};
use crate::upstream::{AfterDown, Down, Handshake, Link, LinkHandler};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an upstream may answer a handshake with 4xx before a session that lives, or that comes back, believes it:
/// a deploy answers 404 for a while.
const DENIED_FOR_GOOD_AFTER: Duration = Duration::from_secs(60);

impl LinkHandler for Session {
    fn handshake(&self) -> Arc<Handshake> {
        Arc::clone(&self.lock().handshake)
    }

    fn incoming(&self) -> Share {
        self.budget.share(Held::Incoming)
    }

    fn up(&self, link: Arc<Link>) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Ended(_)) {
            return;
        }
        state.open(self);
        state.denied_since = None;
        let protocol = link.protocol().unwrap_or_default().to_owned();
        state.tunnel_mut().into_iter().for_each(|tunnel| tunnel.protocol.clone_from(&protocol));
        state.link = Some(link);
        if state.away.take().is_some() {
            let data = format!(r#"{{"type":"connected","session_id":"{}"}}"#, self.id);
            state.announce(Notice { name: Some("upstream"), data: data.into() });
        }
        if let Some((channels, mut out)) = state.effects(self) {
            channels.welcomed(&mut out);
        }
        drop(state);
        self.flush();
    }

    fn text(&self, text: &str, frame: Option<Frame<'_>>) {
        self.stats.received.add(1);
        self.stats.received_bytes.add(text.len() as u64);
        let mut state = self.lock();
        if matches!(state.phase, Phase::Ended(_)) {
            return;
        }
        let skipped = match frame {
            Some(frame) => {
                self.on_cable_frame(&mut state, frame);
                false
            }
            None => !state.carry(text),
        };
        let has_commands = !state.outbox.is_empty();
        drop(state);
        if skipped {
            self.end_skipping();
        }
        if has_commands {
            self.flush();
        }
    }

    fn kept(&self) {
        if self.budget.excess() > 0 {
            self.table.upgrade().iter().for_each(|table| table.keep_within_memory());
        }
    }

    fn down(&self, down: Down, _welcomed_ever: bool) -> AfterDown {
        let mut state = self.lock();
        state.changed = true;
        let inner = &mut *state;
        match (&inner.phase, &mut inner.mode) {
            (Phase::Ended(_), _) => return AfterDown::Stop,
            (Phase::Open, Mode::Tunnel(tunnel)) => {
                tunnel.close(down);
                inner.link = None;
                inner.outbox.clear();
                inner.mailbox.call();
                return AfterDown::Stop;
            }
            _ => {}
        }
        let reason = self.decide(&mut state, down, Instant::now());
        drop(state);
        match (reason, self.table.upgrade()) {
            (None, Some(_)) => AfterDown::Retry,
            (Some(reason), Some(table)) => {
                table.end(self, reason);
                AfterDown::Stop
            }
            (_, None) => AfterDown::Stop,
        }
    }

    fn broken(&self) {
        // There would be no messages any more: its listeners are better off with a new one.
        if let Some(table) = self.table.upgrade() {
            table.end(self, EndReason::Unused);
        }
    }
}

impl Session {
    /// What the end of an attempt, or of the link, means for the session: its end, or another attempt.
    fn decide(&self, state: &mut State, down: Down, now: Instant) -> Option<EndReason> {
        let opening = matches!(state.phase, Phase::Opening);
        let first = self.first_attempt;
        let reason = match down {
            Down::Refused { reason } if opening => {
                let why = format!("the upstream refused this session: {reason}");
                return Some(EndReason::RefusedUpstream(why));
            }
            Down::Refused { reason } => return Some(self.for_good(&reason)),
            Down::Denied { why, .. } if opening && first != FirstAttempt::MayBeDenied => {
                return Some(EndReason::RefusedUpstream(why));
            }
            Down::Denied { status, why } => {
                let since = *state.denied_since.get_or_insert(now);
                if now.duration_since(since) >= DENIED_FOR_GOOD_AFTER {
                    let why = format!("the upstream answered {status} for a minute");
                    return Some(self.for_good(&why));
                }
                why
            }
            Down::Lost { reason, .. } => {
                state.denied_since = None;
                reason
            }
        };
        if opening && first == FirstAttempt::IsTheLast {
            return Some(EndReason::Failed(format!("no upstream: {reason}")));
        }
        state.on_link_lost(self, &reason);
        None
    }

    fn on_cable_frame(&self, state: &mut State, frame: Frame<'_>) {
        let Some((channels, mut out)) = state.effects(self) else { return };
        match frame {
            Frame::Message { identifier, message } => {
                channels.receive(identifier, message.get(), &mut out);
            }
            Frame::Confirm { identifier } => channels.confirm(identifier, &mut out),
            Frame::Reject { identifier } => channels.reject(identifier, &mut out),
            _ => {}
        }
    }
}

impl State {
    /// The first attempt has come to something: the request that asked for it joins now, or none does and it expires.
    fn open(&mut self, session: &Session) {
        if matches!(self.phase, Phase::Opening) {
            self.listeners.live_for(session.first_listener_within);
            self.phase = Phase::Open;
            self.changed = true;
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
        if matches!(self.phase, Phase::Opening) {
            // There is no listener yet: a stream that joins finds `away`.
            self.open(session);
            self.polls.upstream = Some(notice);
        } else if first {
            self.announce(notice);
            if let Some((channels, mut out)) = self.effects(session) {
                channels.lost(&mut out);
            }
        }
    }
}
