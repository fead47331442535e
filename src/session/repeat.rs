//! The thread that sends again what the upstream has not answered, for all sessions.
//!
//! Owns: the list of sessions that wait for an answer to a `subscribe`. Most are on it for milliseconds.
//! Never: decides what is due, which `channels` does.
//! A write that blocks would hold up the repeats of other sessions, for as long as one write may take. It hardly can: a `subscribe`
//! is short, and where a socket takes no more another thread is in the middle of a write, which leaves this one nothing to do.

use super::{Phase, Session, Table};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::io;
use std::sync::Weak;
use std::thread;
use std::time::Duration;

/// How often the list is gone through while it is not empty.
const PACE: Duration = Duration::from_millis(100);

/// Sessions with an unanswered command, each once.
pub(super) struct Repeats {
    /// Held for a push or a swap, never together with another lock.
    waiting: Mutex<Vec<Weak<Session>>>,
    /// The list is not empty any more.
    begun: Sender<()>,
}

impl Repeats {
    /// The list, and what its thread is woken with.
    pub fn new() -> (Repeats, Receiver<()>) {
        let (begun, woken) = bounded(1);
        (Repeats { waiting: Mutex::default(), begun }, woken)
    }

    fn add(&self, session: Weak<Session>) {
        self.waiting.lock().push(session);
        // Full: the thread is about to look.
        let _ = self.begun.try_send(());
    }
}

/// Starts the thread; it ends when the table is gone.
pub(super) fn start(table: Weak<Table>, woken: Receiver<()>) -> io::Result<()> {
    let run = move || {
        while woken.recv().is_ok() {
            while table.upgrade().is_some_and(|table| repeat_all(&table)) {
                thread::park_timeout(PACE);
            }
        }
    };
    thread::Builder::new().name("repeats".to_owned()).spawn(run).map(drop)
}

/// Whether any session is left on the list.
fn repeat_all(table: &Table) -> bool {
    let waiting = std::mem::take(&mut *table.repeats.waiting.lock());
    let still: Vec<_> =
        waiting.into_iter().filter(|one| one.upgrade().is_some_and(|one| one.repeat())).collect();
    let mut waiting = table.repeats.waiting.lock();
    waiting.extend(still);
    !waiting.is_empty()
}

impl Session {
    /// Sends what is due. Whether an answer is still missing.
    fn repeat(&self) -> bool {
        let mut state = self.lock();
        let ended = matches!(state.phase, Phase::Ended(_));
        let waits = state.effects(self).is_some_and(|(channels, mut out)| {
            channels.repeat(&mut out);
            channels.await_answers() && !ended
        });
        state.is_repeating = waits;
        drop(state);
        self.flush();
        waits
    }

    /// Puts the session on the list if it waits for an answer and is not there yet.
    pub(super) fn watch_answers(&self) {
        let mut state = self.lock();
        let is_new = !state.is_repeating
            && state.effects(self).is_some_and(|(channels, _)| channels.await_answers());
        state.is_repeating |= is_new;
        drop(state);
        if let Some(table) = self.table.upgrade().filter(|_| is_new) {
            table.repeats.add(Weak::clone(&self.this));
        }
    }
}
