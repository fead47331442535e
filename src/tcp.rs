//! What the sockets of both sides have in common: a peer that has vanished is noticed, and a wait has a deadline.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Longest path of a socket file: 108 bytes with the NUL, `sun_path` in unix(7).
pub const SOCKET_PATH_MAX: usize = 107;

/// A peer that vanished without a FIN is noticed after 30 s + 3 * 10 s of silence, or when it has not
/// acknowledged what was written for `USER_TIMEOUT`.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_COUNT: u32 = 3;

/// Milliseconds; over the 30 s of a stuck write to a client, which therefore speaks first.
pub const USER_TIMEOUT: u32 = 40_000;

/// Of a socket that is about to connect or to listen: connections inherit them.
pub fn set_options(fd: &OwnedFd) -> rustix::io::Result<()> {
    sockopt::set_tcp_nodelay(fd, true)?;
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(fd, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(fd, KEEPALIVE_COUNT)?;
    sockopt::set_tcp_user_timeout(fd, USER_TIMEOUT)
}

/// The connection of a listener's client, to be seen and ended from another thread. It is not kept open for that.
pub trait ListenerClient: Send + Sync {
    /// Whether the client's FIN or RST is here, or the connection is over. Never waits.
    fn has_left(&self) -> bool;

    /// Ends it. A write to it that is stuck ends at once, and what its client has not taken is gone.
    fn cut(&self);
}

/// Waits until the socket is ready for `what`, or over. False: the deadline came first.
pub fn wait(fd: impl AsFd, what: PollFlags, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&fd, what)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
