//! Time, and waiting for it.
//!
//! Owns: the one epoch that all stamps of this process count from.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Between two looks at something that another thread or process does.
const LOOK: Duration = Duration::from_millis(1);

/// Nanoseconds since this process first asked.
pub fn now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_nanos()).expect("the benchmark is over within 584 years")
}

/// Waits, without a processor. Nothing has to wake this process early, so a `poll` of nothing does.
pub fn pause(length: Duration) {
    let length = Timespec::try_from(length).expect("a pause is short");
    // EINTR is a pause that was shorter, which no caller minds.
    let _ = poll(&mut [], Some(&length));
}

/// The same for the rest of a time that counts from the epoch, in nanoseconds.
pub fn pause_until(at: u64) {
    let left = at.saturating_sub(now());
    if left > 0 {
        pause(Duration::from_nanos(left));
    }
}

/// Waits for `done`, and gives up loudly.
pub fn wait_for(what: &str, patience: Duration, done: impl FnMut() -> bool) {
    assert!(came_true(patience, done), "{what}: not within {patience:?}");
}

/// Whether `done` came true in time.
pub fn came_true(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        pause(LOOK);
    }
    true
}
