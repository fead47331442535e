//! What the tests stand on: an upstream that follows a script, our binary, a client that hides nothing.
//!
//! Nothing here sleeps. Everything waits on a socket or a process, and only a failing test waits long.

mod auto;
mod bridge;
mod cgroup;
mod framed;
mod http;
mod json;
mod place;
mod session;
mod stream;
mod upstream;

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use auto::Auto;
pub use bridge::{BINARY, Bridge, Vitals, run};
pub use cgroup::{Memory, Pids};
pub use http::{Asked, Poll, Request, Response};
pub use json::{Json, quote};
pub use place::Place;
pub use session::{back, opened, polled, sent};
pub use stream::{Event, Stream};
pub use upstream::{FakeUpstream, Handshake, Link};

/// How long anything may take before its test fails.
pub const PATIENCE: Duration = Duration::from_secs(5);

pub const CHAT: &str = r#"{"channel":"ChatChannel"}"#;
pub const ROOM: &str = r#"{"channel":"RoomChannel","room":1}"#;

/// The items of a POST.
pub fn subscribe(identifier: &str) -> String {
    format!(r#"{{"identifier":{identifier},"subscribe":true}}"#)
}

pub fn unsubscribe(identifier: &str) -> String {
    format!(r#"{{"identifier":{identifier},"unsubscribe":true}}"#)
}

pub fn send(identifier: &str, data: &str) -> String {
    format!(r#"{{"identifier":{identifier},"send":{data}}}"#)
}

/// Looks every 10 ms until it is so. What another process holds (its descriptors, its exit) tells nobody when
/// it changes, so there is nothing to block on.
pub fn wait_until(patience: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come to be so within {patience:?}");
        let _ = crossbeam_channel::after(Duration::from_millis(10)).recv();
    }
}

/// Whether there is something to read, to accept or to see the end of, within this time.
pub fn readable(socket: impl AsFd, patience: Duration) -> bool {
    let mut watched = [PollFd::new(&socket, PollFlags::IN)];
    let timeout = Timespec::try_from(patience).unwrap();
    poll(&mut watched, Some(&timeout)).unwrap() > 0
}

/// Says that a test did not run, past the harness, which keeps what a test that passes has to say.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED {why}");
}
