//! The table of sessions: by path, opened once, ended once ("Ending" and "Limits" in `src/api.md`).
//!
//! Owns: expiry, what is remembered of sessions that were ended for good, the memory of the process (`--max-memory`), and which
//! session makes room for a newcomer. Which request may open or use one is in `open`.
//! Never: holds its lock while it waits, or together with a session's; makes room by one that had a listener a moment ago.
//! At the limits: over `--max-memory` the session that keeps most forgets its oldest message. At `--max-sessions`, where none
//! can make room, the newcomer is refused.

use super::ended::{Ended, EndedSessions};
use super::join::{Fingerprint, Kind, Rules};
use super::repeat;
use super::{EndReason, Phase, Session, State};
use crate::heap::Ebb;
use crate::memory::Budget;
use crate::report::{self, warning};
use crate::stats::Stats;
use crate::upstream::Connector;
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt::Display;
use std::hash::BuildHasher;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// The sweeper's pace: a quarter of the shortest lifetime, within these.
const SWEEP: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Sessions that forget messages at a time for one that came; the next one goes on.
const FORGET_ROUNDS: usize = 64;

/// A session without a listener for longer makes room: its client is not on its way back, or can wait no longer than others.
const IDLE_FOR: Duration = Duration::from_secs(5);

/// Between two searches for room, where the first finds none: a crowd of newcomers must not search through all sessions each time.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Bytes of an idle session on the heap, about: only to see when many have gone.
const SESSION_COST: usize = 16 * 1024;

pub struct Table {
    pub rules: Rules,
    pub stats: Arc<Stats>,
    pub budget: Arc<Budget>,
    pub(super) connector: Arc<Connector>,
    /// For hashes of credentials and paths.
    pub(super) keys: RandomState,
    pub(super) draining: AtomicBool,
    /// Held for a look-up; never while a session's lock is.
    pub(super) sessions: Mutex<HashMap<Box<str>, Arc<Session>>>,
    pub(super) ended: Mutex<EndedSessions>,
    no_room_until: Mutex<Option<Instant>>,
    /// To the thread `repeats`: sessions with a command that has no answer.
    pub(super) repeats: Sender<Weak<Session>>,
}

impl Table {
    /// An empty table, and the thread that sweeps it for as long as it lives.
    pub fn start(rules: Rules, connector: Arc<Connector>) -> io::Result<Arc<Table>> {
        let budget = Budget::new(rules.memory_max);
        let ended = EndedSessions::new(rules.sessions_max, &budget);
        let table = Arc::new(Table {
            repeats: repeat::start()?,
            stats: Arc::clone(&connector.stats),
            connector,
            budget,
            keys: RandomState::new(),
            draining: AtomicBool::new(false),
            sessions: Mutex::default(),
            ended: Mutex::new(ended),
            no_room_until: Mutex::default(),
            rules,
        });
        let swept = Arc::downgrade(&table);
        let shortest = table.rules.poll_window.min(table.rules.resume_window);
        let pace = (shortest / 4).clamp(SWEEP.0, SWEEP.1);
        let run = move || sweep(&swept, pace);
        thread::Builder::new().name("sweeper".to_owned()).spawn(run)?;
        Ok(table)
    }

    pub fn is_tunnel(&self, path: &str) -> bool {
        self.sessions.lock().get(path).is_some_and(|session| session.is_tunnel)
    }

    pub fn len(&self) -> usize {
        self.sessions.lock().len()
    }

    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for session in self.all() {
            let state = session.lock();
            match (&state.phase, &state.link) {
                (Phase::Opening, _) => census.opening += 1,
                (_, Some(_)) => census.connected += 1,
                _ => census.away += 1,
            }
            for listener in state.listeners.list.iter() {
                match listener.kind {
                    Kind::Stream => census.streams += 1,
                    Kind::Poll => census.polls += 1,
                }
            }
            census.kept_bytes += state.mailbox.bytes() as u64;
        }
        census
    }

    pub fn names(&self) -> Vec<String> {
        self.all().iter().map(|session| session.name().to_owned()).collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().values().cloned().collect()
    }

    /// Opens no more sessions and ends all that there are. They are through when nothing holds them any more.
    pub fn drain(&self) -> Vec<Weak<Session>> {
        self.draining.store(true, Ordering::Relaxed);
        let sessions: Vec<_> = self.sessions.lock().drain().map(|(_, session)| session).collect();
        for session in &sessions {
            session.end_if(EndReason::Drained, |_| true);
        }
        sessions.iter().map(Arc::downgrade).collect()
    }

    /// Ends a session and takes it out, so that its path is free.
    pub(super) fn end(&self, session: &Session, reason: EndReason) {
        if let EndReason::ForGood { told, reason } = &reason {
            let (lasts, close) = match session.is_tunnel {
                true => (self.rules.resume_window, Some(told.data.to_string())),
                false => (self.rules.poll_window, None),
            };
            let ended = Ended {
                path: self.keys.hash_one(&session.path),
                refused: Fingerprint::of(&session.lock().handshake, &self.keys).login,
                reason: reason.clone(),
                close,
                until: Instant::now() + lasts,
            };
            self.ended.lock().remember(session.secret, ended);
        }
        self.remove(session);
        session.end_if(reason, |_| true);
    }

    /// Ends the session that has been without a listener for longest, those first that never had one. Whether there was one.
    pub(super) fn make_room(&self, now: Instant) -> bool {
        if self.no_room_until.lock().is_some_and(|until| now < until) {
            return false;
        }
        // One that is locked is in use.
        let idle_since = |session: &Session| session.state.try_lock()?.idle_since();
        let idle = self.all().into_iter().filter_map(|one| Some((idle_since(&one)?, one)));
        let long_idle = idle.filter(|((_, since), _)| *since + IDLE_FOR <= now);
        let Some((_, session)) = long_idle.min_by_key(|(idle, _)| *idle) else {
            *self.no_room_until.lock() = Some(now + LOOK_AGAIN);
            return false;
        };
        // A managed session's id opens a new one; a tunnel's client is told that it cannot go on.
        let reason = match session.is_tunnel {
            true => session.for_good(1013, "others needed the room (--max-sessions)"),
            false => EndReason::Dropped("it made room for others"),
        };
        let ended = session.end_if(reason.clone(), |state| state.idle_since().is_some());
        if ended {
            self.end(&session, reason);
        }
        ended
    }

    /// One session that there was no room for: counted, and said once a minute.
    pub(super) fn count_refusal(&self, why: &dyn Display) {
        self.stats.refused_sessions.add(1);
        if report::is_due("session-refused") {
            let in_all = self.stats.refused_sessions.get();
            warning!("event=session-refused error=\"{why}\" in_all={in_all}");
        }
    }

    pub(super) fn remove(&self, session: &Session) {
        let mut sessions = self.sessions.lock();
        if sessions.get(&session.path).is_some_and(|found| std::ptr::eq(&**found, session)) {
            sessions.remove(&session.path);
        }
    }

    /// Over `--max-memory` the session with most beside its newest message forgets its oldest ones; where that is too little to
    /// matter, the one that keeps most its newest too. Each forgets a little more than it must: else every message searches.
    pub(super) fn keep_within_memory(&self) {
        let stock = self.budget.max() / 64;
        for _ in 0..FORGET_ROUNDS {
            let excess = self.budget.excess();
            if excess == 0 {
                return;
            }
            let sessions = self.all();
            let most = |of: fn(&Session) -> &AtomicUsize, least: usize| {
                let bytes = |session: &&Arc<Session>| of(session).load(Ordering::Relaxed);
                sessions.iter().max_by_key(bytes).filter(|session| bytes(session) > least)
            };
            let spare = most(|session| &session.spare, excess / FORGET_ROUNDS);
            match (spare, most(|session| &session.kept, 0)) {
                (Some(biggest), _) => biggest.forget(excess + stock, false),
                (None, Some(biggest)) => biggest.forget(excess + stock, true),
                (None, None) => return,
            }
        }
    }
}

impl State {
    /// Since when it has no listener, and whether it ever had one; `None`: it has one, or its first one is about to join.
    fn idle_since(&self) -> Option<(bool, Instant)> {
        let open = matches!(self.phase, Phase::Open) && !self.awaits_opener;
        let idle = open && self.listeners.list.is_empty();
        idle.then_some((self.listeners.had_any, self.listeners.empty_since))
    }
}

fn sweep(table: &Weak<Table>, pace: Duration) {
    let mut ebb = Ebb::default();
    loop {
        thread::park_timeout(pace);
        let Some(table) = table.upgrade() else { return };
        let now = Instant::now();
        for session in table.all() {
            session.lock().mailbox.forget_by_age(now, table.rules.resume_window);
            // No client can come back to it any more.
            let over = |one: &State| one.idle_since().is_some() && one.listeners.alive_until <= now;
            if session.end_if(EndReason::Dropped("no client came back"), over) {
                table.remove(&session);
            }
        }
        table.keep_within_memory();
        table.ended.lock().forget_expired(now);
        ebb.give_back(table.budget.held() + table.len() * SESSION_COST, now);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub opening: u64,
    /// With a link.
    pub connected: u64,
    /// Without one: trying again, or a tunnel that is closed and whose client has not been told all.
    pub away: u64,
    pub streams: u64,
    pub polls: u64,
    pub kept_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::session;

    #[test]
    fn a_session_that_its_opener_has_not_joined_yet_is_not_idle() {
        let session = session();
        let mut state = session.lock();
        state.phase = Phase::Open;
        assert_eq!(state.idle_since(), None);

        state.awaits_opener = false;

        assert!(state.idle_since().is_some());
    }
}
