//! The inner hop: a fixed set of kept connections to tiny_http, each lent for one request and its answer.
//!
//! Owns: the set, which all gates share, the order in which it is opened, and its replacement when one of it breaks.
//! Never: opens a connection for a client, or sends tiny_http a byte that a client could have chosen freely.
//! When all are lent: the next request waits, at most twice `Timeouts::inner`, then it is a 503. `http` waits for locks alone, so
//! that is microseconds as a rule.
//!
//! Measured in release, a POST of 100 bytes and its echo on a kept connection, two cores shared with the client and
//! other work: p50 18 us, p99 96 to 124, CPU 21 to 24. Bare tiny_http, its threads kept: p50 12 to 15 us, CPU 11 to 26.
//! 16 clients at once: p50 0.5 to 0.6 ms, CPU 48 to 66 us. A set opens in 1 to 2 ms. An idle client that was served
//! once costs 15.6 KB of RSS (1,000 of them), 12 of it stack.

use super::answer::{Answer, busy};
use super::reply;
use super::ticket::{Exchange, Outcome, TICKET, Tickets, failed, random_name};
use super::watch::Watcher;
use super::{Serve, Timeouts};
use crate::channel::receive;
use crate::memory::Budget;
use crate::report;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::io::{self, ErrorKind, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Inner connections, and threads of `http` that answer them. Four keep two cores busy with work that hardly waits.
const HOPS: usize = 4;

/// Our end, tiny_http's end and its clone of that; the listener and its clone while the set is opened.
pub const DESCRIPTORS: usize = 3 * HOPS + 2;

/// After a set could not be built, requests are refused for this long before the next attempt.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);

/// The way to `http` and back, one for the process.
pub struct Inner {
    pub(super) serve: Arc<dyn Serve>,
    /// The memory that bodies are held from.
    pub(super) budget: Arc<Budget>,
    pub(super) timeouts: Timeouts,
    pub(super) watcher: &'static Watcher,
    tickets: Arc<Tickets>,
    /// Guards which set is in use; where there is none, when one may be built. It is built under it: a thread that waits for
    /// the lock needs that set.
    current: Mutex<Result<Arc<Set>, Instant>>,
}

/// One server of `http` and the connections to it. It is stopped when the last request that uses it is through.
struct Set {
    stop: Box<dyn Fn() + Send + Sync>,
    /// The connections that are not lent. None in the place of one that broke: the set is given up.
    free: (Sender<Option<UnixStream>>, Receiver<Option<UnixStream>>),
}

impl Drop for Set {
    fn drop(&mut self) {
        (self.stop)();
    }
}

impl Inner {
    pub fn open(
        serve: Arc<dyn Serve>,
        budget: Arc<Budget>,
        timeouts: Timeouts,
    ) -> io::Result<Arc<Inner>> {
        let tickets = Arc::new(Tickets::new()?);
        let (watcher, current) = (Watcher::shared()?, Mutex::new(Err(Instant::now())));
        let inner = Inner { serve, budget, timeouts, watcher, tickets, current };
        *inner.current.lock() = Ok(inner.build()?);
        Ok(Arc::new(inner))
    }

    /// Sends one request through `http` and waits for what becomes of it. One that `http` never saw, because its
    /// connection broke, is sent once more through a new set.
    pub(super) fn ask(&self, exchange: Exchange) -> Result<Outcome, Answer> {
        let head = Arc::clone(&exchange.head);
        let (ticket, place) = self.tickets.issue(exchange);
        // The answer to a HEAD tells the length of the body that the gate then leaves out.
        let method = if head.method == "HEAD" { "GET" } else { &head.method };
        // Nothing in it can steer tiny_http but what it must know.
        let request = format!("{method} {} HTTP/1.1\r\n{TICKET}: {ticket}\r\n\r\n", head.target);
        let mut replied = self.send(request.as_bytes());
        if replied.is_err() && self.tickets.is_waiting(&ticket) {
            replied = self.send(request.as_bytes());
        }
        let was_seen = !self.tickets.withdraw(&ticket);
        match replied {
            Ok(answer) => Ok(place.lock().take().ok_or(answer)),
            Err(_) if was_seen => Err(failed()),
            Err(_) => Err(busy("all hands are busy: try again in a moment")),
        }
    }

    fn send(&self, request: &[u8]) -> io::Result<Answer> {
        let deadline = Instant::now() + self.timeouts.inner;
        loop {
            let set = self.set()?;
            let Some(mut line) = receive(&set.free.1, deadline).ok_or(ErrorKind::TimedOut)? else {
                // Another request found the set broken; there is a new one, or will be.
                set.give_back(None);
                continue;
            };
            let replied = line.write_all(request).and_then(|()| reply::read(&line));
            match &replied {
                Ok(_) => set.give_back(Some(line)),
                Err(error) => self.give_up(&set, error),
            }
            return replied;
        }
    }

    /// The set in use; a new one where the last was given up.
    fn set(&self) -> io::Result<Arc<Set>> {
        let mut current = self.current.lock();
        match &*current {
            Ok(set) => return Ok(Arc::clone(set)),
            Err(at) if Instant::now() < *at => return Err(io::ErrorKind::NotConnected.into()),
            Err(_) => {}
        }
        let built = self.build();
        match &built {
            Ok(_) => report::warning!("event=inner-rebuilt"),
            Err(error) => report::warning!("event=inner-not-rebuilt error={:?}", error.to_string()),
        }
        *current = built.as_ref().map(Arc::clone).map_err(|_| Instant::now() + REBUILD_PAUSE);
        built
    }

    /// Gives up the whole set: its listening socket is shut, so that one connection cannot be replaced.
    fn give_up(&self, set: &Arc<Set>, error: &io::Error) {
        let mut current = self.current.lock();
        if current.as_ref().is_ok_and(|current| Arc::ptr_eq(current, set)) {
            *current = Err(Instant::now());
            report::warning!("event=inner-broken error={:?}", error.to_string());
        }
        drop(current);
        // Closed before the next set is opened, for the sake of the descriptors.
        while set.free.1.try_recv().is_ok() {}
        set.give_back(None);
    }

    /// Opens a set under a new name: the connections one after the other, each confirmed by a request before the
    /// next (of several at once tiny_http may leave one without a thread), then no other connection can come in.
    fn build(&self) -> io::Result<Arc<Set>> {
        let address = SocketAddr::from_abstract_name(random_name()?)?;
        let listener = UnixListener::bind_addr(&address)?;
        let ours = listener.try_clone()?;
        let served = Arc::clone(&self.serve).serve(listener, HOPS, Arc::clone(&self.tickets));
        let set = served.and_then(|stop| {
            let set = Arc::new(Set { stop, free: bounded(HOPS) });
            (0..HOPS)
                .try_for_each(|_| self.connect(&address).map(|line| set.give_back(Some(line))))?;
            Ok(set)
        });
        // So that an abandoned set's accept thread ends too.
        let _ = rustix::net::shutdown(&ours, rustix::net::Shutdown::Both);
        set
    }

    fn connect(&self, address: &SocketAddr) -> io::Result<UnixStream> {
        let stream = UnixStream::connect_addr(address)?;
        stream.set_write_timeout(Some(self.timeouts.inner))?;
        stream.set_read_timeout(Some(self.timeouts.inner))?;
        // No ticket goes with it; `http` refuses it, and that is the answer that is waited for.
        (&stream).write_all(b"GET / HTTP/1.1\r\nX-Ticket: none\r\n\r\n")?;
        reply::read(&stream)?;
        Ok(stream)
    }
}

impl Set {
    /// Never waits: there is room for each connection of the set.
    fn give_back(&self, line: Option<UnixStream>) {
        let _ = self.free.0.try_send(line);
    }
}
