//! What is counted for the operator since the start: one set of counters for the process.
//!
//! Never: counts anything by client, path or session.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Stats {
    /// Messages and frames that came from the upstream.
    pub received: Counter,
    pub received_bytes: Counter,
    /// Messages and frames that were handed to listeners, each listener counted.
    pub delivered: Counter,
    /// Of the messages alone, without what SSE or a poll's answer adds.
    pub delivered_bytes: Counter,
    /// Messages that a listener missed and was told of.
    pub dropped: Counter,
    /// Streams that went on where they had left.
    pub resumed: Counter,
    /// Listeners that took another's place.
    pub takeovers: Counter,
    /// Sessions that there was no room for.
    pub refused_sessions: Counter,
    /// Attempts that made a link to the upstream.
    pub upstream_up: Counter,
    /// Attempts that the upstream denied with a 4xx.
    pub upstream_denied: Counter,
    /// `disconnect`s with `reconnect:false`.
    pub upstream_refused: Counter,
    /// Attempts that failed otherwise.
    pub upstream_failed: Counter,
    /// Links that were lost.
    pub upstream_lost: Counter,
}
