//! What is counted for the operator: sums since the start, and a census of what is there now.
//!
//! Never: counts anything by client, path or session.

use super::listener::Kind;
use super::{Phase, Session};
use crate::mailbox::Placed;
use crate::report::warning;
use parking_lot::Mutex;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a crowd at the door is mentioned.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Sums since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages and frames that came from the upstream.
    pub received: Sum,
    pub received_bytes: Sum,
    /// Messages and frames that were handed to listeners, each listener counted.
    pub delivered: Sum,
    /// Of the messages alone, whatever the road adds.
    pub delivered_bytes: Sum,
    /// Messages that a listener missed and was told of.
    pub dropped: Sum,
    /// Streams that went on where they had left.
    pub resumed: Sum,
    /// Listeners that took another's place.
    pub takeovers: Sum,
    /// Sessions that there was no room for.
    pub turned_away: Sum,
    /// When that was last said. Nothing else is done while it is held.
    said: Mutex<Option<Instant>>,
}

impl Tally {
    /// One session that there was no room for: counted, and said once a minute.
    pub(super) fn turn_away(&self, why: &dyn Display) {
        self.turned_away.add(1);
        let now = Instant::now();
        let mut said = self.said.lock();
        if said.is_none_or(|last| now.duration_since(last) >= SAY_AGAIN) {
            *said = Some(now);
            drop(said);
            warning!("event=session-refused error=\"{why}\" in_all={}", self.turned_away.get());
        }
    }
}

/// How long the text of these is.
pub(super) fn bytes<'a>(events: impl Iterator<Item = Placed<'a>>) -> u64 {
    events.map(|(_, event)| event.len() as u64).sum()
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
