//! The gate: the clients' sockets, and one clean request at a time to tiny_http.
//!
//! Owns: accept, the cap, all deadlines, the inner hop (`inner`), and the threads of the connections.
//! Never: knows what a path means. What waits is handed back by `http` (`Later`) and runs here, on the
//! client's own thread and real socket; that is how a FIN is seen at once and a stuck stream can be cut.
//! Flow: `accept` -> `slots` (a slot) -> `connection` (a thread) -> `reader`, `head` -> `inner` -> `http`.
//! When full: the connection that has rested longest is evicted; if none rests, 503 and close.
//!
//! Why a fixed set of inner connections, and no tiny_http in front: of connections that arrive together it leaves some
//! without a thread for as long as others are open, and one Content-Length or one EMFILE ends it. An inner connection for
//! each client would arrive with others too; one for each request costs half as much CPU again and needs descriptors when
//! they are rarest. A set is opened at start, one connection after the other. The figures are in `inner`.

mod address;
mod answer;
mod bodies;
mod client;
mod connection;
mod head;
mod inner;
mod reader;
mod refuse;
mod reply;
mod slots;
mod socket;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod ticket;
mod watch;

use crate::report;
pub use address::{Address, ListenSocket, bind};
pub use answer::{Answer, busy, error};
pub use client::Client;
pub use head::Head;
pub use inner::{DESCRIPTORS as INNER_DESCRIPTORS, Inner};
use refuse::Refuser;
use slots::Slots;
use socket::Socket;
use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
pub use ticket::{Door, Exchange, Later, TICKET, Tickets};

/// Descriptors beside its connections' and `Inner`'s: the listener, the watcher's epoll, connections refused or evicted just now.
pub const DESCRIPTORS: usize = 2 + refuse::REFUSED_MAX + slots::LEAVING_MAX;

/// Stack of a client's thread: `http`'s waiting work runs on it, JSON included. An idle one touches two pages, whatever the size.
const STACK: usize = 128 * 1024;

/// After an error of `accept`: as a rule descriptors are missing, and come back with the connections that end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the gate lets in. Heads have a fixed limit of 16 KiB and 10 s.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at a time; over it the one that has rested longest goes, or the new one gets a 503.
    pub connections: usize,
    /// Bytes of a request's body, decoded; over it 413.
    pub body: usize,
    /// Between an answer and the next request; then a close.
    pub idle: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To a whole head, from the connect, and later from its first byte; then 408.
    head: Duration,
    /// For a whole body; then 408.
    body: Duration,
    /// For a client that takes no byte of what is written; then its connection ends.
    write: Duration,
    /// For a client to read the last answer before the close.
    linger: Duration,
    /// For a free inner connection, then 503; and for `http` to answer on it, which waits for locks alone: it hangs then.
    inner: Duration,
    /// Before a connection at rest can be evicted.
    evict: Duration,
}

impl Timeouts {
    pub const USUAL: Timeouts = Timeouts {
        head: Duration::from_secs(10),
        body: Duration::from_secs(30),
        write: Duration::from_secs(30),
        linger: Duration::from_secs(1),
        inner: Duration::from_secs(10),
        evict: Duration::from_millis(250),
    };
}

/// What stands behind the gate; `http` implements it, so that the gate need not know tiny_http.
pub trait Serve: Send + Sync + 'static {
    /// Starts a server on this listener with `threads` threads that wait for locks alone: each takes a request, and answers it
    /// with what `Tickets::answer` returns for its `TICKET` header. Called again, with another listener, when a connection to the
    /// first server breaks. Returns what stops those threads.
    fn serve(
        self: Arc<Self>,
        listener: UnixListener,
        threads: usize,
        tickets: Arc<Tickets>,
    ) -> io::Result<Box<dyn Fn() + Send + Sync>>;

    /// Makes an error that the gate words itself one that its client understands: CORS headers, and for an EventSource no 503.
    fn decorate(&self, door: Door, head: &Head, answer: &mut Answer);
}

/// An open gate. Dropping it closes it.
pub struct Gate(Arc<Shared>);

/// What all threads of one gate have in common.
struct Shared {
    listener: ListenSocket,
    limits: Limits,
    slots: Arc<Slots>,
    inner: Arc<Inner>,
    door: Door,
    refuser: Refuser,
}

impl Gate {
    /// Starts to serve; when it returns, it serves. More than one gate may be open in a process.
    pub fn open(
        door: Door,
        listener: ListenSocket,
        limits: Limits,
        inner: &Arc<Inner>,
    ) -> io::Result<Gate> {
        let shared = Arc::new(Shared {
            listener,
            limits,
            slots: Slots::new(limits.connections, inner.timeouts.evict),
            inner: inner.clone(),
            door,
            refuser: Refuser::start(inner, door)?,
        });
        let its = Arc::clone(&shared);
        thread::Builder::new().name("gate-accept".to_owned()).spawn(move || its.accept())?;
        Ok(Gate(shared))
    }

    /// What was bound, port 0 resolved.
    pub fn address(&self) -> &Address {
        &self.0.listener.address
    }

    /// Accepts no more. Connections at rest end at once, the others after the answer that is under way.
    pub fn close(&self) {
        if self.0.slots.close() {
            self.0.listener.shut();
        }
    }

    pub fn connections(&self) -> usize {
        self.0.slots.count()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn accept(self: &Arc<Self>) {
        loop {
            let accepted = self.listener.accept();
            if self.slots.is_closing() {
                return;
            }
            match accepted {
                Ok((fd, peer)) => self.admit(fd, peer),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    thread::park_timeout(ACCEPT_PAUSE);
                    complain("accept-failed", &error);
                    self.slots.evict(Instant::now());
                }
            }
        }
    }

    /// Gives the client a slot and a thread, or tells it that there is none.
    fn admit(self: &Arc<Self>, fd: OwnedFd, peer: Option<IpAddr>) {
        let socket = Arc::new(Socket(fd));
        let Some(slot) = self.slots.admit(&socket, Instant::now()) else {
            complain("connection-refused", &"as many are open as --max-connections allows");
            return self.refuser.refuse(socket);
        };
        let (shared, its) = (Arc::clone(self), Arc::clone(&socket));
        let thread = thread::Builder::new().name("client".to_owned()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || connection::run(shared, its, peer, slot)) {
            complain("thread-failed", &error);
            self.refuser.refuse_politely(socket);
        }
    }
}

fn complain(event: &'static str, error: &dyn Display) {
    if report::is_due(event) {
        report::warning!("event={event} error={:?}", error.to_string());
    }
}
