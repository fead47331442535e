//! One long poll: how it waits for its answer ("Long polls" in `src/api.md`).
//!
//! Owns: the wait, and the signs of life on a connection that waits for long.
//! Never: keeps state between requests; what a poll goes on from is in the session.
//! At the limit: without a forced reply it waits however long. It says every heartbeat that it lives: proxies cut what is
//! silent, and some take the bridge for dead then.

use crate::session::{Poll, PollReply, PollStep};
use std::io;
use std::time::{Duration, Instant};

/// Waits for a message, at most `timeout` (`None`: however long), and returns the answer; `None`: the client has gone.
/// `still_here` is called each `heartbeat` of the wait.
pub fn wait(
    poll: &Poll,
    timeout: Option<Duration>,
    heartbeat: Duration,
    mut still_here: impl FnMut() -> io::Result<()>,
) -> io::Result<Option<PollReply>> {
    let forced_at = timeout.map(|timeout| Instant::now() + timeout);
    let mut alive_at = Instant::now() + heartbeat;
    loop {
        let now = Instant::now();
        let look_at = match poll.look(now, forced_at) {
            PollStep::Answer(reply) => return Ok(Some(reply)),
            PollStep::Left => return Ok(None),
            PollStep::Wait(at) => at,
        };
        if alive_at <= now {
            still_here()?;
            alive_at = now + heartbeat;
        }
        poll.handle.wait(look_at.map_or(alive_at, |at| at.min(alive_at)));
    }
}
