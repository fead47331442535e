//! Room for one session more, at `--max-sessions`.
//!
//! Owns: which session makes room for a newcomer, and how often it is said that none did.
//! Never: ends a session that has a listener, or had one a moment ago; waits for a session's lock.
//! At the limit: where no session can make room, the newcomer is refused.

use super::join::{JoinRequest, SessionError};
use super::open::Found;
use super::table::Table;
use super::{EndReason, Phase, Session, State, tunnel};
use crate::report::warning;
use parking_lot::Mutex;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A session without a listener for longer makes room: its client is not on its way back, or can wait no longer than others.
const IDLE_FOR: Duration = Duration::from_secs(5);

/// Between two searches that find none, where a session that was busy may be one.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often it is said that there is no room for a session.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What is known of the room there is. Nothing else is done while one of these is held.
#[derive(Default)]
pub(super) struct Room {
    /// Until then no session can make room: a crowd of newcomers must not search through all sessions each time.
    none_until: Mutex<Option<Instant>>,
    /// When a refusal was last said.
    said: Mutex<Option<Instant>>,
}

impl State {
    /// Since when it has no listener, and whether it ever had one; `None`: it has one, or it is opening.
    fn idle_since(&self) -> Option<(bool, Instant)> {
        let idle = matches!(self.phase, Phase::Open) && self.listeners.is_empty();
        idle.then_some((self.listeners.had_any, self.listeners.empty_since))
    }
}

impl Table {
    /// Opens a session; where there is no room for it, another makes room.
    pub(super) fn open_with_room(
        self: &Arc<Self>,
        request: &JoinRequest,
    ) -> Result<Found, SessionError> {
        let mut opened = self.open(request)?;
        if opened.is_none() && self.make_room(Instant::now()) {
            opened = self.open(request)?;
        }
        opened.ok_or_else(|| {
            self.count_refusal(&"as many are open as --max-sessions and --max-memory allow");
            SessionError::Full
        })
    }

    /// Ends the session that has been without a listener for longest, those first that never had one. Whether there was one.
    fn make_room(&self, now: Instant) -> bool {
        if self.room.none_until.lock().is_some_and(|until| now < until) {
            return false;
        }
        let mut next = now + IDLE_FOR;
        let mut longest: Option<((bool, Instant), Arc<Session>)> = None;
        for session in self.all() {
            let Some(state) = session.state.try_lock() else {
                next = next.min(now + LOOK_AGAIN);
                continue;
            };
            let Some(idle) = state.idle_since() else { continue };
            drop(state);
            next = next.min(idle.1 + IDLE_FOR);
            if idle.1 + IDLE_FOR <= now && longest.as_ref().is_none_or(|(least, _)| idle < *least) {
                longest = Some((idle, session));
            }
        }
        let Some((_, session)) = longest else {
            *self.room.none_until.lock() = Some(next);
            return false;
        };
        let reason = session.makes_room();
        let ended = session.end_if(reason.clone(), |state| state.idle_since().is_some());
        if ended {
            self.end(&session, reason);
        }
        ended
    }

    /// One session that there was no room for: counted, and said once a minute.
    pub(super) fn count_refusal(&self, why: &dyn Display) {
        self.stats.refused_sessions.add(1);
        let now = Instant::now();
        let mut said = self.room.said.lock();
        if said.is_none_or(|last| now.duration_since(last) >= SAY_AGAIN) {
            *said = Some(now);
            drop(said);
            let in_all = self.stats.refused_sessions.get();
            warning!("event=session-refused error=\"{why}\" in_all={in_all}");
        }
    }
}

impl Session {
    /// A managed session's id opens a new one; a tunnel's client is told that it cannot go on.
    fn makes_room(&self) -> EndReason {
        if !self.is_tunnel {
            return EndReason::Unused;
        }
        let reason = "others needed the room (--max-sessions)";
        EndReason::ForGood { told: tunnel::close_notice(1013, reason), reason: reason.to_owned() }
    }
}
