//! How long something takes, for tests that compare two inputs of one size.

use std::time::{Duration, Instant};

/// The fastest of some rounds: other work on the machine makes one slower, never faster.
pub fn fastest(work: impl Fn()) -> Duration {
    let round = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..20).map(round).min().unwrap_or_default()
}
