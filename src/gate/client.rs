//! The client's real socket, in the hands of the work that waits.
//!
//! Owns: what was said to the client so far (nothing, a whole answer, the begin of a body).
//! Never: waits for the client longer than a stuck write, or lets a second answer follow the first.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::answer::{Answer, Manner, text};
use super::socket::Socket;
use super::table::Table;
use super::watch::{Watch, Watcher};

/// The client of one request, on its own thread.
pub struct Client {
    pub(super) socket: Arc<Socket>,
    watcher: Arc<Watcher>,
    table: Arc<Table>,
    manner: Manner,
    stuck: Duration,
    said: Said,
}

/// What the client was told so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    /// A whole answer; the connection goes on.
    Whole,
    /// A body that ends with the connection, or an answer that says so.
    Last,
}

impl Client {
    pub(super) fn new(
        socket: Arc<Socket>,
        watcher: Arc<Watcher>,
        table: Arc<Table>,
        manner: Manner,
        stuck: Duration,
    ) -> Client {
        Client { socket, watcher, table, manner, stuck, said: Said::Nothing }
    }

    pub(super) fn said(&self) -> Said {
        self.said
    }

    /// Sends a whole answer. The connection is kept if the client wants it and the gate is not closing.
    pub fn answer(&mut self, answer: Answer) -> io::Result<()> {
        let manner = self.manner_now();
        self.say_whole(manner, &manner.whole(&answer))
    }

    /// Sends an answer after which the connection ends.
    pub(super) fn answer_last(&mut self, answer: &Answer) -> io::Result<()> {
        let manner = self.manner.closing();
        self.say_whole(manner, &manner.whole(answer))
    }

    /// Sends the bytes of a whole answer that was encoded in this manner.
    pub(super) fn say_whole(&mut self, manner: Manner, bytes: &[u8]) -> io::Result<()> {
        self.say(if manner.keep { Said::Whole } else { Said::Last })?;
        self.socket.write_all(bytes, self.stuck)
    }

    /// Sends the head of an answer whose body ends with the connection; the body goes through `write_all`.
    pub fn begin(&mut self, status: u16, headers: &[(&'static str, String)]) -> io::Result<()> {
        self.say(Said::Last)?;
        let bytes = self.manner.closing().head(status, text(headers), None);
        self.socket.write_all(&bytes, self.stuck)
    }

    /// Sends bytes of the body. `TimedOut` when the client takes none of them for 30 s; nobody's time is lost
    /// by that but this thread's. To a HEAD nothing is sent.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.manner.head_only {
            return Ok(());
        }
        self.socket.write_all(bytes, self.stuck)
    }

    /// A handle for other threads. It does not keep the socket open.
    pub fn hangup(&self) -> Hangup {
        Hangup(Arc::downgrade(&self.socket))
    }

    /// While the guard lives, `wake` is called, once, when the client's FIN, RST or an error is seen; at once if
    /// it is there already. It runs on the one thread that watches all clients: wake somebody and return.
    /// One watch at a time: a later one takes the place of an earlier one.
    pub fn on_leave(&self, wake: impl Fn() + Send + Sync + 'static) -> Watch {
        self.watcher.watch(&self.socket, Arc::new(wake))
    }

    pub(super) fn manner_now(&self) -> Manner {
        if self.manner.keep && self.table.is_closing() {
            self.manner.closing()
        } else {
            self.manner
        }
    }

    fn say(&mut self, what: Said) -> io::Result<()> {
        if self.said != Said::Nothing {
            return Err(io::Error::other("the client has its answer already"));
        }
        self.said = what;
        Ok(())
    }
}

/// Sees and ends one client's connection from another thread.
#[derive(Clone)]
pub struct Hangup(Weak<Socket>);

impl Hangup {
    /// Whether the client's FIN or RST is here, or the connection is over. Never waits.
    pub fn has_left(&self) -> bool {
        self.0.upgrade().is_none_or(|socket| socket.has_left())
    }

    /// Ends the connection. A write to it that is stuck ends at once.
    pub fn cut(&self) {
        if let Some(socket) = self.0.upgrade() {
            socket.cut();
        }
    }
}

impl io::Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Client::write_all(self, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
