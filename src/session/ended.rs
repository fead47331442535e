//! What is remembered of sessions that were ended for good, for clients that come back to one of them.
//!
//! Owns: their event ids, what they were told at last, and a hash of the credentials that were refused; each for a while.
//! Never: knows a living session, or keeps a cookie.
//! At the limit: as many as there may be sessions; then the oldest is forgotten, and its client opens a new one.

use super::join::Fingerprint;
use crate::memory::{Budget, Held, Share};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of one beside its texts, in the three collections that have it.
const OVERHEAD: usize = 200;

pub(super) struct Ended {
    /// A hash of its path.
    pub path: u64,
    pub refused: Fingerprint,
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

    pub fn remember(&mut self, secret: u128, ended: Ended) {
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
    pub fn reason(
        &self,
        secret: u128,
        path: u64,
        shown: &Fingerprint,
        now: Instant,
    ) -> Option<&str> {
        let ended = self.find(secret, path, now).filter(|ended| ended.close.is_none())?;
        (ended.refused.login() == shown.login()).then_some(&*ended.reason)
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
    use crate::session::Credentials;
    use crate::testing::fastest;
    use std::collections::hash_map::RandomState;
    use std::time::Duration;

    const LOOK_UPS: u128 = 2_000;

    fn fingerprint() -> Fingerprint {
        Fingerprint::of(&Credentials::default(), &RandomState::new())
    }

    fn with(count: u128, shown: Fingerprint, now: Instant) -> EndedSessions {
        let mut sessions = EndedSessions::new(1 << 20, &Budget::new(1 << 30));
        for secret in 0..count {
            let (path, refused, reason) = (secret as u64, shown, String::new());
            let until = now + Duration::from_secs(60);
            let close = (secret % 2 == 1).then(String::new);
            sessions.remember(secret, Ended { path, refused, reason, close, until });
        }
        sessions
    }

    fn time_of(sessions: &EndedSessions, shown: Fingerprint, now: Instant) -> Duration {
        fastest(|| {
            for secret in 0..LOOK_UPS {
                let path = secret as u64;
                assert_eq!(sessions.reason(secret, path, &shown, now).is_some(), secret % 2 == 0);
                assert_eq!(sessions.close(None, path, now).is_some(), secret % 2 == 1);
            }
        })
    }

    #[test]
    fn among_a_hundred_times_as_many_one_is_found_as_soon() {
        let (shown, now) = (fingerprint(), Instant::now());
        let few = with(LOOK_UPS, shown, now);
        let many = with(100 * LOOK_UPS, shown, now);

        let (among_few, among_many) = (time_of(&few, shown, now), time_of(&many, shown, now));

        assert!(among_many < 20 * among_few, "{among_few:?}, then {among_many:?}");
    }
}
