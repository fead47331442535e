//! The table of sessions: by path, opened once, ended once.
//!
//! Owns: expiry, what is remembered of sessions that were ended for good, the memory that all of them may keep. Which
//! request may open or use a session is in `open`.
//! Never: holds its lock while it waits, or together with a session's.
//! At the limit: over `--max-memory` the session that keeps most forgets its oldest message.

use super::ended::{Ended, EndedSessions};
use super::join::Rules;
use super::listeners::Kind;
use super::repeat::{self, Repeats};
use super::room::Room;
use super::{EndReason, Phase, Session};
use crate::heap::Ebb;
use crate::memory::Budget;
use crate::stats::Stats;
use crate::upstream::Connector;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
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

/// Bytes of an idle session on the heap, about: only to see when many have gone.
const SESSION_COST: usize = 16 * 1024;

pub struct Table {
    pub rules: Arc<Rules>,
    pub stats: Arc<Stats>,
    pub budget: Arc<Budget>,
    pub(super) connector: Arc<Connector>,
    /// For hashes of credentials and paths.
    pub(super) keys: RandomState,
    pub(super) draining: AtomicBool,
    /// Held for a look-up; never while a session's lock is.
    pub(super) sessions: Mutex<HashMap<Box<str>, Arc<Session>>>,
    pub(super) ended: Mutex<EndedSessions>,
    pub(super) room: Room,
    pub(super) repeats: Repeats,
}

impl Table {
    /// An empty table, and the thread that sweeps it for as long as it lives.
    pub fn start(rules: Rules, connector: Arc<Connector>) -> io::Result<Arc<Table>> {
        let (repeats, begun) = Repeats::new();
        let budget = Budget::new(rules.memory_max);
        let ended = EndedSessions::new(rules.sessions_max, &budget);
        let table = Arc::new(Table {
            repeats,
            stats: Arc::clone(&connector.stats),
            connector,
            budget,
            keys: RandomState::new(),
            draining: AtomicBool::new(false),
            sessions: Mutex::default(),
            ended: Mutex::new(ended),
            room: Room::default(),
            rules: Arc::new(rules),
        });
        repeat::start(Arc::downgrade(&table), begun)?;
        let swept = Arc::downgrade(&table);
        let pace = (table.rules.session.min(table.rules.resume_window) / 4).clamp(SWEEP.0, SWEEP.1);
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
        self.all().iter().for_each(|session| census.add(session));
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
            session.end(EndReason::Drained);
        }
        sessions.iter().map(Arc::downgrade).collect()
    }

    /// Ends a session and takes it out, so that its path is free.
    pub(super) fn end(&self, session: &Session, reason: EndReason) {
        self.remove(session);
        if let EndReason::ForGood { told, reason } = &reason {
            let (lasts, close) = match session.is_tunnel {
                true => (self.rules.resume_window, Some(told.data.to_string())),
                false => (self.rules.session, None),
            };
            let ended = Ended {
                path: self.keys.hash_one(&session.path),
                refused: session.lock().shown,
                reason: reason.clone(),
                close,
                until: Instant::now() + lasts,
            };
            self.ended.lock().remember(session.secret, ended);
        }
        session.end(reason);
    }

    pub(super) fn remove(&self, session: &Session) {
        let mut sessions = self.sessions.lock();
        if sessions.get(&session.path).is_some_and(|found| std::ptr::eq(&**found, session)) {
            sessions.remove(&session.path);
        }
    }

    /// Over `--max-memory` the session that keeps most forgets its oldest messages; where all that are not the newest are too little
    /// to matter, its newest too. A little more than must be, so that not every message has to look for it.
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

fn sweep(table: &Weak<Table>, pace: Duration) {
    let mut ebb = Ebb::default();
    loop {
        thread::park_timeout(pace);
        let Some(table) = table.upgrade() else { return };
        let now = Instant::now();
        for session in table.all() {
            session.lock().mailbox.forget_by_age(now, table.rules.resume_window);
            if session.expire(now) {
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

impl Census {
    fn add(&mut self, session: &Session) {
        let state = session.lock();
        match (&state.phase, &state.link) {
            (Phase::Opening, _) => self.opening += 1,
            (_, Some(_)) => self.connected += 1,
            _ => self.away += 1,
        }
        for listener in state.listeners.iter() {
            match listener.kind {
                Kind::Stream => self.streams += 1,
                Kind::Poll => self.polls += 1,
            }
        }
        self.kept_bytes += state.mailbox.bytes() as u64;
    }
}
