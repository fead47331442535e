//! Tells a waiting request that its client has left: one epoll and one thread for the whole process.
//!
//! Owns: the watches that are out, each for one socket, once.
//! Never: reads from a socket, or goes on blind: an epoll that fails ends the process, which the service manager starts
//! again. Only FIN, RST and errors wake; a pipelined request does not.
//! When the kernel takes no more watches: the one asked for is never called, and a debug line says so. That its client has gone is
//! then known by the next write that fails.

use super::socket::Socket;
use crate::report;
use parking_lot::Mutex;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Hung-up clients told in one round of the thread.
const ROUND: usize = 64;

/// Small: it runs what `on_disconnect` was given, which wakes a thread and returns.
const STACK: usize = 64 * 1024;

type OnLeave = Box<dyn FnOnce() + Send>;

pub(super) struct Watcher {
    epoll: OwnedFd,
    next: AtomicU64,
    /// Guards what to call for which number; nothing is called while it is held.
    wakes: Mutex<HashMap<u64, OnLeave>>,
}

/// The process has one, started with the first `Inner` and never ended.
static SHARED: Mutex<Option<&Watcher>> = Mutex::new(None);

impl Watcher {
    pub(super) fn shared() -> io::Result<&'static Watcher> {
        let mut shared = SHARED.lock();
        if let Some(watcher) = *shared {
            return Ok(watcher);
        }
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let watcher = Watcher { epoll, next: AtomicU64::new(0), wakes: Mutex::default() };
        let watcher: &'static Watcher = Box::leak(Box::new(watcher));
        let run = || {
            let error = watcher.run();
            report::warning!("event=watcher-failed error={:?}", error.to_string());
            std::process::exit(1);
        };
        thread::Builder::new().name("gate-watch".to_owned()).stack_size(STACK).spawn(run)?;
        *shared = Some(watcher);
        Ok(watcher)
    }

    /// Calls `wake` once when the client leaves, from the watcher's thread; at once if it has left already.
    pub(super) fn watch(&'static self, socket: &Arc<Socket>, wake: OnLeave) -> Watch {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.wakes.lock().insert(number, wake);
        let data = EventData::new_u64(number);
        let flags = EventFlags::RDHUP | EventFlags::ONESHOT;
        let mut added = epoll::add(&self.epoll, &socket.0, data, flags);
        if added == Err(Errno::EXIST) {
            // The kernel knows a socket once. What an earlier watch left there is still armed, or has fired.
            added = epoll::modify(&self.epoll, &socket.0, data, flags);
        }
        if let Err(error) = added {
            report::debug!("event=watch-failed error={:?}", error.to_string());
        }
        Watch { watcher: self, number }
    }

    fn run(&self) -> Errno {
        let mut events = Vec::with_capacity(ROUND);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return error,
            }
            for event in events.drain(..) {
                let number = event.data.u64();
                let wake = self.wakes.lock().remove(&number);
                if let Some(wake) = wake {
                    // A panic is told by the process's hook; the others are watched on.
                    let _ = catch_unwind(AssertUnwindSafe(wake));
                }
            }
        }
    }
}

/// While it lives, its socket is watched. The call may be under way when it is dropped.
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    watcher: &'static Watcher,
    number: u64,
}

impl Drop for Watch {
    /// The kernel goes on watching the socket, once at most, and nothing is called then.
    fn drop(&mut self) {
        self.watcher.wakes.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoll_that_fails_is_told_and_not_survived_in_silence() {
        let (no_epoll, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let watcher =
            Watcher { epoll: no_epoll.into(), next: AtomicU64::new(0), wakes: Mutex::default() };

        assert_eq!(watcher.run(), Errno::INVAL);
    }
}
