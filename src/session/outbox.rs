//! The frames of one session on their way up.
//!
//! Owns: their order, and that one thread at a time writes them.
//! Never: holds the session's lock while it writes.
//! At the limits: see `FRAMES_MAX` and `WAIT`.

use super::lock::Locked;
use super::{Session, State};
use crate::report::debug;
use crate::upstream::Link;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Frames that wait for the upstream of one session, and with them at most `--max-queue-bytes`, the last frame whatever its
/// size. A request with one more waits until there is room, for at most `WAIT`; then it is an error of that item.
const FRAMES_MAX: usize = 256;

/// Longer than a write to the upstream may take before the link is cut, so that it is the link that fails first.
const WAIT: Duration = Duration::from_secs(12);

/// Frames for the upstream, in order. What exceeds the limits is what follows a welcome or an answer, or comes with one request.
#[derive(Default)]
pub(super) struct Outbox {
    frames: VecDeque<String>,
    bytes: usize,
    /// A thread is writing; what is added meanwhile it writes too.
    flushing: bool,
}

impl Outbox {
    pub fn extend(&mut self, frames: Vec<String>) {
        frames.into_iter().for_each(|frame| self.push(frame));
    }

    pub fn push(&mut self, frame: String) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    pub fn clear(&mut self) {
        self.frames = VecDeque::new();
        self.bytes = 0;
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn has_room(&self, bytes_max: usize) -> bool {
        self.frames.len() < FRAMES_MAX && self.bytes < bytes_max
    }

    fn pop(&mut self) -> Option<String> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        if self.frames.is_empty() {
            // It stands empty for most of a session's life.
            self.frames = VecDeque::new();
        }
        Some(frame)
    }
}

/// Lets others write again when a write panics.
struct Flushing<'a>(&'a Session);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().outbox.flushing = false;
        }
    }
}

impl State {
    fn next_frame(&mut self) -> Option<(Arc<Link>, String)> {
        let next = self.link.clone().and_then(|link| Some((link, self.outbox.pop()?)));
        if next.is_none() {
            self.outbox.flushing = false;
        }
        next
    }
}

impl Session {
    /// Locks the session when its outbox has room; `None`: it has none for too long.
    pub(super) fn wait_for_room(&self) -> Option<Locked<'_>> {
        let deadline = Instant::now() + WAIT;
        let has_room = |state: &State| state.outbox.has_room(self.table.rules.bounds.bytes);
        loop {
            let may_go_on = |state: &State| has_room(state) || !state.outbox.flushing;
            let state = self.wait_until(self.lock(), Some(deadline), may_go_on);
            if has_room(&state) {
                return Some(state);
            }
            if state.outbox.flushing {
                return None;
            }
            drop(state);
            self.flush();
        }
    }

    /// Waits until everything is written, or can no longer be.
    pub(super) fn await_flush(&self, state: Locked<'_>) {
        let writes = |state: &State| state.outbox.flushing || !state.outbox.is_empty();
        let done = |state: &State| state.link.is_none() || !writes(state);
        drop(self.wait_until(state, Some(Instant::now() + WAIT), done));
    }

    /// Writes the outbox in order, what is added meanwhile too, unless another thread is at it. A write may wait for the upstream.
    pub fn flush(&self) {
        let mut state = self.lock();
        self.watch_answers(&mut state);
        if state.outbox.flushing || state.outbox.is_empty() {
            return;
        }
        state.outbox.flushing = true;
        let _flushing = Flushing(self);
        while let Some((link, frame)) = state.next_frame() {
            drop(state);
            // When it fails the link is cut, and its own thread says that it is lost.
            if let Err(error) = link.send(&frame) {
                debug!("event=upstream-write-failed session={} error=\"{error}\"", self.name());
            }
            state = self.lock();
            state.waiting.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::session;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn there_is_room_below_256_frames() {
        let mut outbox = Outbox::default();
        (1..256).for_each(|_| outbox.push("frame".to_owned()));
        assert!(outbox.has_room(usize::MAX));

        outbox.push("frame".to_owned());

        assert!(!outbox.has_room(usize::MAX));
        assert!(outbox.pop().is_some() && outbox.has_room(usize::MAX));
    }

    #[test]
    fn there_is_room_below_so_many_bytes_for_one_frame_of_any_size() {
        let mut outbox = Outbox::default();
        outbox.push("x".repeat(9));
        assert!(outbox.has_room(10));

        outbox.push("x".repeat(100));

        assert!(!outbox.has_room(10) && outbox.bytes() == 109);
        assert!(outbox.pop().is_some() && !outbox.has_room(10));
        assert!(outbox.pop().is_some() && outbox.has_room(10));
    }

    #[test]
    fn after_a_write_that_panics_another_thread_may_write() {
        let session = session();
        session.lock().outbox.flushing = true;

        let write = AssertUnwindSafe(|| {
            let _flushing = Flushing(&session);
            panic!("a test asked for it");
        });
        assert!(catch_unwind(write).is_err());

        assert!(!session.lock().outbox.flushing);
    }
}
