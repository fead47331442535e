//! The gate: the clients' sockets, and one clean request at a time to tiny_http.
//!
//! Owns: accept, the cap, all deadlines, the inner hop (`inner`), and the threads of the connections.
//! Never: knows what a path means. What waits is handed back by `http` (`Outcome::Later`) and runs here, on the
//! client's own thread and real socket; that is how a FIN is seen at once and a stuck stream can be cut.
//! Flow: `accept` -> `table` (a slot) -> `connection` (a thread) -> `reader`, `head` -> `inner` -> `http`.
//! When full: the connection that has rested longest is evicted; if none rests, 503 and close.
//!
//! Why a fixed set of inner connections, and no tiny_http in front: bare, it strands connections that arrive
//! together, and dies of one Content-Length or one EMFILE. A kept inner connection for each client strands in the
//! same way; a fresh one for each request costs half as much CPU again and needs descriptors at the worst moment.
//! A set that is opened at start, one connection after the other, has neither trouble, and a client costs one
//! thread and one descriptor. The figures are in `inner`.

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
mod socket;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod ticket;
mod watch;

use crate::report;
pub use address::{Address, ListenSocket, bind};
pub use answer::Answer;
use answer::Refusal;
pub use bodies::Body;
pub use client::{Client, ClientHandle};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
pub use head::Head;
pub use inner::{DESCRIPTORS as INNER_DESCRIPTORS, Inner};
use parking_lot::Mutex;
use refuse::Refuser;
use socket::Socket;
use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use table::Slots;
pub use ticket::{Door, Exchange, Outcome, TICKET, Tickets};

/// Descriptors of one gate beside those of its connections and of `Inner`: the listener, the watcher's epoll, and those of
/// connections that were refused or evicted a moment ago.
pub const DESCRIPTORS: usize = 2 + refuse::REFUSED_MAX + table::LEAVING_MAX;

/// Stack of a client's thread. `http`'s waiting work runs on it, JSON included; of an idle one two pages are
/// touched, whatever the size.
const STACK: usize = 128 * 1024;

/// After an error of `accept`: as a rule descriptors are missing, and come back with the connections that end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Between two log lines about the same trouble.
const LOG_PAUSE: Duration = Duration::from_secs(60);

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
    /// From the connect to a whole first head; then 408.
    first: Duration,
    /// From the first byte of a later head to its last; then 408.
    head: Duration,
    /// For a whole body; then 408.
    body: Duration,
    /// For a client that takes no byte of what is written; then its connection ends.
    write: Duration,
    /// For a client to read the last answer before the close.
    linger: Duration,
    /// For a free inner connection; then 503.
    lend: Duration,
    /// For `http` to answer; it never waits, so that this one means that it hangs.
    inner: Duration,
    /// For the first answer on a new inner connection.
    confirm: Duration,
    /// Before a connection at rest can be evicted.
    evict: Duration,
}

impl Timeouts {
    pub const USUAL: Timeouts = Timeouts {
        first: Duration::from_secs(10),
        head: Duration::from_secs(10),
        body: Duration::from_secs(30),
        write: Duration::from_secs(30),
        linger: Duration::from_secs(1),
        lend: Duration::from_secs(10),
        inner: Duration::from_secs(10),
        confirm: Duration::from_secs(2),
        evict: Duration::from_millis(250),
    };
}

/// What stands behind the gate; `http` implements it, so that the gate need not know tiny_http.
pub trait Serve: Send + Sync + 'static {
    /// Starts a server on this listener with `threads` threads that never wait: each takes a request, and answers it with
    /// what `Tickets::answer` returns for its `TICKET` header. Called again, with another listener, when a connection to the
    /// first server breaks. Returns what stops those threads.
    fn serve(
        &self,
        listener: UnixListener,
        threads: usize,
        tickets: Arc<Tickets>,
    ) -> io::Result<Box<dyn FnOnce() + Send>>;

    /// Adds to an error that the gate words itself what a client needs to read it: CORS headers.
    fn decorate(&self, _door: Door, _head: &Head, _answer: &mut Answer) {}

    /// The answer to a request for which no thread can be started, where a 503 is not the right one.
    fn refusal(&self, _head: &Head) -> Option<Answer> {
        None
    }
}

/// An open gate. Dropping it closes it.
pub struct Gate {
    address: Address,
    shared: Arc<Shared>,
    /// Dropping these two tells the accept loop to end.
    open: Mutex<Option<(Arc<ListenSocket>, Sender<()>)>>,
}

/// What all connections of one gate have in common.
struct Shared {
    limits: Limits,
    table: Arc<Slots>,
    inner: Arc<Inner>,
    door: Door,
}

impl Gate {
    /// Starts to serve; when it returns, it serves. More than one gate may be open in a process.
    pub fn open(
        door: Door,
        listener: ListenSocket,
        limits: Limits,
        inner: &Arc<Inner>,
    ) -> io::Result<Gate> {
        let address = listener.address()?;
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared {
            limits,
            table: Slots::new(limits.connections, inner.timeouts.evict),
            inner: inner.clone(),
            door,
        });
        let (open, closed) = crossbeam_channel::bounded(0);
        let accept = Accept {
            listener: listener.clone(),
            closed,
            refuser: Refuser::start(inner, door)?,
            shared: shared.clone(),
            logged: HashMap::new(),
        };
        thread::Builder::new().name("gate-accept".to_owned()).spawn(move || accept.run())?;
        Ok(Gate { address, shared, open: Mutex::new(Some((listener, open))) })
    }

    /// What was bound, port 0 resolved.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts no more. Connections at rest end at once, the others after the answer that is under way.
    pub fn close(&self) {
        let open = self.open.lock().take();
        if let Some((listener, open)) = open {
            drop(open);
            listener.shut();
            self.shared.table.close();
        }
    }

    pub fn connections(&self) -> usize {
        self.shared.table.open()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.close();
    }
}

struct Accept {
    listener: Arc<ListenSocket>,
    closed: Receiver<()>,
    refuser: Refuser,
    shared: Arc<Shared>,
    /// When each kind of trouble was last logged.
    logged: HashMap<&'static str, Instant>,
}

impl Accept {
    fn run(mut self) {
        loop {
            match self.listener.accept() {
                Ok((fd, peer)) => self.admit(fd, peer),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if self.closed.recv_timeout(ACCEPT_PAUSE) == Err(RecvTimeoutError::Disconnected)
                    {
                        return;
                    }
                    self.complain("accept-failed", &error);
                    self.shared.table.evict(Instant::now());
                }
            }
        }
    }

    /// Gives the client a slot and a thread, or tells it that there is none.
    fn admit(&mut self, fd: OwnedFd, peer: Option<IpAddr>) {
        let socket = Arc::new(Socket::new(fd));
        let Some(slot) = self.shared.table.admit(&socket, Instant::now()) else {
            self.complain("connection-refused", &"as many are open as --max-connections allows");
            return self.refuser.refuse(socket, &full());
        };
        let (shared, its) = (self.shared.clone(), socket.clone());
        let thread = thread::Builder::new().name("client".to_owned()).stack_size(STACK);
        if let Err(error) = thread.spawn(move || connection::run(shared, its, peer, slot)) {
            self.complain("thread-failed", &error);
            self.refuser.refuse_politely(socket, full());
        }
    }

    fn complain(&mut self, event: &'static str, error: &dyn Display) {
        if self.logged.get(event).is_none_or(|at| at.elapsed() >= LOG_PAUSE) {
            self.logged.insert(event, Instant::now());
            report::warning!("event={event} error={:?}", error.to_string());
        }
    }
}

fn full() -> Refusal {
    Refusal::new(503, "there are as many connections as there may be: try again in a moment")
}
