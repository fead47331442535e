//! How those who wait for something of a session are called, and when: as soon as its lock is free again.
//!
//! Owns: the futex they sleep on.
//! Never: holds what it calls about; who is called looks for himself.

use super::{Session, State};
use parking_lot::MutexGuard;
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Counts calls, and lets threads sleep until the next one.
///
/// To miss none: note `calls`, then look for what there is, then `wait` for another call than those noted.
///
/// A futex of 4 bytes, and nothing else that waits: crossbeam's channel of one place takes 640 bytes and yields the processor
/// before it sleeps; parking_lot's condvar enters each thread that ever slept into a table, 1.2 KB a session.
#[derive(Debug, Default)]
pub(super) struct Bell(AtomicU32);

/// The lowest bit: somebody sleeps. Without it a call is no system call.
const AWAITED: u32 = 1;
const CALL: u32 = 2;

impl Bell {
    /// The calls so far.
    pub(super) fn calls(&self) -> u32 {
        self.0.load(Ordering::Acquire) & !AWAITED
    }

    pub(super) fn ring(&self) {
        let next = |word: u32| Some((word & !AWAITED).wrapping_add(CALL));
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        if before.is_ok_and(|word| word & AWAITED != 0) {
            // It fails for a wrong address only.
            let _ = futex::wake(&self.0, Flags::PRIVATE, i32::MAX as u32);
        }
    }

    /// Waits for another call than those that were `heard`, at most until `deadline`, if there is one. Whether there was a call.
    pub(super) fn wait(&self, heard: u32, deadline: Option<Instant>) -> bool {
        let awaited = heard | AWAITED;
        loop {
            let now = self.0.compare_exchange(heard, awaited, Ordering::AcqRel, Ordering::Acquire);
            if now.is_err_and(|word| word != awaited) {
                return true;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            // Called, interrupted, or called before it slept: the next look tells them apart.
            if futex::wait(&self.0, Flags::PRIVATE, awaited, left.as_ref()) == Err(Errno::TIMEDOUT)
            {
                return self.calls() != heard;
            }
        }
    }
}

/// The session's state, locked. The listeners that something was left for are called when it is free again: one that is called
/// before would only wait for the lock, at the price of a system call and of a change of threads for each message.
pub(super) struct Locked<'a> {
    // Dropped in this order.
    state: MutexGuard<'a, State>,
    call: Call<'a>,
}

struct Call<'a> {
    bell: &'a Bell,
    due: bool,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.call.due = self.state.mailbox.take_call();
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.due {
            self.bell.ring();
        }
    }
}

impl Session {
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked { state: self.state.lock(), call: Call { bell: &self.news, due: false } }
    }

    /// Opens the lock and waits until the session has changed so that `ready` holds, at most until `deadline`, if there is one.
    pub(super) fn wait_until<'a>(
        &'a self,
        mut state: Locked<'a>,
        deadline: Option<Instant>,
        ready: impl Fn(&State) -> bool,
    ) -> Locked<'a> {
        while !ready(&state) {
            let heard = self.changed.calls();
            drop(state);
            let called = self.changed.wait(heard, deadline);
            state = self.lock();
            if !called {
                break;
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(10))
    }

    #[test]
    fn a_call_after_the_look_is_not_missed() {
        let bell = Bell::default();
        let heard = bell.calls();

        bell.ring();

        assert!(bell.wait(heard, soon()));
    }

    #[test]
    fn a_call_before_the_look_wakes_nobody() {
        let bell = Bell::default();
        bell.ring();

        let deadline = Instant::now() + Duration::from_millis(20);
        assert!(!bell.wait(bell.calls(), Some(deadline)));
    }

    #[test]
    fn a_call_wakes_all_who_sleep() {
        let bell = Arc::new(Bell::default());
        let heard = bell.calls();
        let sleepers: Vec<_> = (0..3)
            .map(|number| {
                let bell = Arc::clone(&bell);
                let sleep = move || bell.wait(heard, soon());
                std::thread::Builder::new().name(format!("sleeper-{number}")).spawn(sleep).unwrap()
            })
            .collect();
        // One at least sleeps by then; the others are on their way.
        while bell.0.load(Ordering::Acquire) & AWAITED == 0 {
            std::thread::yield_now();
        }

        bell.ring();

        assert!(sleepers.into_iter().all(|sleeper| sleeper.join().unwrap()));
    }

    #[test]
    fn whoever_notes_looks_and_waits_misses_nothing_of_two_callers() {
        const EACH: u64 = 20_000;
        let shared = Arc::new((Bell::default(), AtomicU64::new(0)));
        let callers: Vec<_> = (0..2)
            .map(|number| {
                let shared = Arc::clone(&shared);
                let call = move || {
                    for _ in 0..EACH {
                        shared.1.fetch_add(1, Ordering::Relaxed);
                        shared.0.ring();
                    }
                };
                std::thread::Builder::new().name(format!("caller-{number}")).spawn(call).unwrap()
            })
            .collect();

        let (bell, count) = &*shared;
        loop {
            let heard = bell.calls();
            if count.load(Ordering::Relaxed) == 2 * EACH {
                break;
            }
            assert!(
                bell.wait(heard, soon()),
                "{} calls and none was heard",
                count.load(Ordering::Relaxed)
            );
        }

        callers.into_iter().for_each(|caller| caller.join().unwrap());
    }
}
