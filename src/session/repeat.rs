//! The thread that sends again what the upstream has not answered, for all sessions.
//!
//! Owns: the list of sessions that wait for an answer to a `subscribe`. Most are on it for milliseconds.
//! Never: decides what is due, which `channels` does.
//! A write that blocks holds up the repeats of other sessions, and so does a client that adds frames faster than they are written
//! (see `flush`). It is seldom: where a socket takes no more, another thread is in a write, which leaves this one nothing to do.

use super::{Session, State};
use crossbeam_channel::{Sender, unbounded};
use std::io;
use std::sync::Weak;
use std::thread;
use std::time::Duration;

/// How often the list is gone through while it is not empty.
const PACE: Duration = Duration::from_millis(100);

/// Starts the thread. It is sent each session that has an unanswered command, and ends when the table, which sends, is gone.
#[expect(clippy::disallowed_methods, reason = "there are as many as sessions: each is sent once")]
pub(super) fn start() -> io::Result<Sender<Weak<Session>>> {
    let (waiting, begun) = unbounded::<Weak<Session>>();
    let run = move || {
        while let Ok(first) = begun.recv() {
            let mut list = vec![first];
            while !list.is_empty() {
                thread::park_timeout(PACE);
                list.extend(begun.try_iter());
                list.retain(|one| one.upgrade().is_some_and(|one| one.repeat()));
            }
        }
    };
    thread::Builder::new().name("repeats".to_owned()).spawn(run)?;
    Ok(waiting)
}

impl Session {
    /// Sends what is due. Whether an answer is still missing.
    fn repeat(&self) -> bool {
        let mut state = self.lock();
        let (channels, mut out) = state.effects(self);
        channels.repeat(&mut out);
        let waits = state.channels.await_answers() && !state.has_ended();
        state.is_repeating = waits;
        drop(state);
        self.flush();
        waits
    }

    /// Puts the session on the list if it waits for an answer, has not ended and is not there yet.
    pub(super) fn watch_answers(&self, state: &mut State) {
        if state.channels.await_answers() && !state.is_repeating && !state.has_ended() {
            state.is_repeating = true;
            // Its thread lives as long as the table.
            let _ = self.table.repeats.send(Weak::clone(&self.this));
        }
    }
}
