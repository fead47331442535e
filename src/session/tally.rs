//! What is counted for the operator: sums since the start, and a census of what is there now.
//!
//! Never: counts anything by client, path or session.

use super::listener::Kind;
use super::{Phase, Session};
use std::sync::atomic::{AtomicU64, Ordering};

/// Sums since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages and frames that came from the upstream.
    pub received: Sum,
    /// Messages and frames that were handed to listeners, each listener counted.
    pub delivered: Sum,
    /// Messages that a listener missed and was told of.
    pub dropped: Sum,
    /// Streams that went on where they had left.
    pub resumed: Sum,
    /// Listeners that took another's place.
    pub takeovers: Sum,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Sum(AtomicU64);

impl Sum {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is there now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub opening: u64,
    /// With a link.
    pub connected: u64,
    /// Without one: trying again, or a tunnel that is closed and has last words.
    pub away: u64,
    pub streams: u64,
    pub polls: u64,
    /// Bytes that the mailboxes keep.
    pub kept_bytes: u64,
}

impl Census {
    /// Counts one session.
    pub(super) fn add(&mut self, session: &Session) {
        let state = session.lock();
        match (&state.phase, &state.link) {
            (Phase::Opening, _) => self.opening += 1,
            (_, Some(_)) => self.connected += 1,
            _ => self.away += 1,
        }
        for present in &state.present {
            match present.kind {
                Kind::Stream => self.streams += 1,
                Kind::Poll => self.polls += 1,
            }
        }
        self.kept_bytes += state.mailbox.bytes() as u64;
    }
}
