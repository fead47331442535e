//! What is remembered of sessions that were ended for good, for clients that come back to one of them ("Ending" in `src/api.md`).
//!
//! Owns: their event ids, what they were told at last, and a hash of the credentials that were refused; each for a while.
//! Never: knows a living session, or keeps a cookie.
//! At the limit: as many as there may be sessions; then the oldest is forgotten, and its client opens a new one.

use crate::memory::{Budget, Held, Share};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of one beside its texts, in the three collections that have it.
const OVERHEAD: usize = 200;

pub(super) struct Ended {
    /// A hash of its path.
    pub path: u64,
    /// A hash of the credentials.
    pub refused: u64,
    pub reason: String,
    /// A tunnel's, as JSON.
    pub close: Option<String>,
    pub until: Instant,
}

/// Those that ended last, by the random part of their event ids.
pub(super) struct EndedSessions {
    by_secret: HashMap<u128, Ended>,
    /// The last tunnel of each path.
    tunnels: HashMap<u64, u128>,
    /// In the order of their ends.
    order: VecDeque<u128>,
    max: usize,
    bytes: usize,
    share: Share,
}

impl Ended {
    fn bytes(&self) -> usize {
        OVERHEAD + self.reason.len() + self.close.as_ref().map_or(0, String::len)
    }
}

impl EndedSessions {
    /// Remembers at most `max` of them.
    pub fn new(max: usize, budget: &Arc<Budget>) -> EndedSessions {
        EndedSessions {
            by_secret: HashMap::new(),
            tunnels: HashMap::new(),
            order: VecDeque::new(),
            max,
            bytes: 0,
            share: budget.share(Held::Ended),
        }
    }

    /// Only the first end counts.
    pub fn remember(&mut self, secret: u128, ended: Ended) {
        if self.by_secret.contains_key(&secret) {
            return;
        }
        self.bytes += ended.bytes();
        while self.order.len() >= self.max || !self.share.try_set(self.bytes) {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(oldest);
        }
        if ended.close.is_some() {
            self.tunnels.insert(ended.path, secret);
        }
        self.by_secret.insert(secret, ended);
        self.order.push_back(secret);
    }

    fn forget(&mut self, secret: u128) {
        let Some(ended) = self.by_secret.remove(&secret) else { return };
        self.bytes -= ended.bytes();
        if self.tunnels.get(&ended.path) == Some(&secret) {
            self.tunnels.remove(&ended.path);
        }
    }

    fn find(&self, secret: u128, path: u64, now: Instant) -> Option<&Ended> {
        self.by_secret.get(&secret).filter(|ended| ended.path == path && ended.until > now)
    }

    /// Why the managed session of this event id was ended, unless the client shows other credentials than were refused.
    pub fn reason(&self, secret: u128, path: u64, login: u64, now: Instant) -> Option<&str> {
        let ended = self.find(secret, path, now).filter(|ended| ended.close.is_none())?;
        (ended.refused == login).then_some(&*ended.reason)
    }

    /// The close of the tunnel with this event id; without one, of the last tunnel of this path.
    pub fn close(&self, secret: Option<u128>, path: u64, now: Instant) -> Option<String> {
        let secret = secret.or_else(|| self.tunnels.get(&path).copied())?;
        self.find(secret, path, now)?.close.clone()
    }

    /// Forgets those whose time is over.
    pub fn forget_expired(&mut self, now: Instant) {
        self.by_secret.retain(|_, ended| ended.until > now);
        self.bytes = self.by_secret.values().map(Ended::bytes).sum();
        self.share.set(self.bytes);
        self.tunnels.retain(|_, secret| self.by_secret.contains_key(secret));
        self.order.retain(|secret| self.by_secret.contains_key(secret));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fastest;
    use std::time::Duration;

    const LOOK_UPS: u128 = 2_000;

    /// A hash of the credentials that were shown.
    const LOGIN: u64 = 7;

    fn with(count: u128, now: Instant) -> EndedSessions {
        let mut sessions = EndedSessions::new(1 << 20, &Budget::new(1 << 30));
        for secret in 0..count {
            let (path, refused, reason) = (secret as u64, LOGIN, String::new());
            let until = now + Duration::from_secs(60);
            let close = (secret % 2 == 1).then(String::new);
            sessions.remember(secret, Ended { path, refused, reason, close, until });
        }
        sessions
    }

    fn time_of(sessions: &EndedSessions, now: Instant) -> Duration {
        fastest(|| {
            for secret in 0..LOOK_UPS {
                let path = secret as u64;
                assert_eq!(sessions.reason(secret, path, LOGIN, now).is_some(), secret % 2 == 0);
                assert_eq!(sessions.close(None, path, now).is_some(), secret % 2 == 1);
            }
        })
    }

    #[test]
    fn one_that_is_remembered_twice_is_counted_once() {
        let (budget, now) = (Budget::new(1 << 30), Instant::now());
        let mut sessions = EndedSessions::new(10, &budget);

        for reason in ["x".repeat(10_000), "y".repeat(10_000)] {
            let until = now + Duration::from_secs(60);
            sessions.remember(1, Ended { path: 2, refused: LOGIN, reason, close: None, until });
        }

        let held = budget.held();
        sessions.forget_expired(now);
        assert_eq!(budget.held(), held);
        assert!(sessions.reason(1, 2, LOGIN, now).unwrap().starts_with('x'));
    }

    #[test]
    fn among_a_hundred_times_as_many_one_is_found_as_soon() {
        let now = Instant::now();
        let few = with(LOOK_UPS, now);
        let many = with(100 * LOOK_UPS, now);

        let (among_few, among_many) = (time_of(&few, now), time_of(&many, now));

        assert!(among_many < 20 * among_few, "{among_few:?}, then {among_many:?}");
    }
}
