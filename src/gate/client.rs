//! The client's real socket, in the hands of the work that waits.
//!
//! Owns: what was sent to the client so far (nothing, a whole answer, the begin of a body), and how a body is framed.
//! Never: waits for the client longer than a stuck write, or lets a second answer follow the first.
//! A body of unknown length is chunked, a write a chunk: without framing a client cannot tell a cut from an end, and some
//! collect small pieces before they hand them over (RFC 9112, 6.3). HTTP/1.0 has the end of the connection for it.

use super::Shared;
use super::answer::{Answer, ResponseMode};
use super::socket::Socket;
use super::watch::Watch;
use crate::tcp::ListenerClient;
use std::io;
use std::sync::{Arc, Weak};

/// The client of one connection, on its own thread.
pub struct Client {
    shared: Arc<Shared>,
    pub(super) socket: Arc<Socket>,
    /// How its request is answered, and how far that is.
    mode: ResponseMode,
    pub(super) sent: Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    /// Something of an answer with which the connection ends.
    Last,
    /// A whole answer; the connection goes on.
    Whole,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, socket: Arc<Socket>) -> Client {
        Client { shared, socket, mode: ResponseMode::default(), sent: Sent::Nothing }
    }

    /// It sent a request, which is to be answered so.
    pub(super) fn begin_request(&mut self, mode: ResponseMode) {
        (self.mode, self.sent) = (mode, Sent::Nothing);
    }

    /// Sends a whole answer. The connection is kept if the client wants it and the gate is not closing.
    pub fn answer(&mut self, answer: Answer) -> io::Result<()> {
        self.begin_answer()?;
        self.mode.send(&answer, &self.socket, self.shared.inner.timeouts.write)?;
        self.finish_answer();
        Ok(())
    }

    /// Sends an answer after which the connection ends.
    pub(super) fn answer_last(&mut self, answer: Answer) -> io::Result<()> {
        self.mode.keep = false;
        self.answer(answer)
    }

    /// Gives up when the client takes nothing of it for `Timeouts::write`. No other thread waits for this one.
    fn send<const N: usize>(&self, pieces: [&[u8]; N]) -> io::Result<()> {
        self.socket.write(pieces, self.shared.inner.timeouts.write)
    }

    /// Sends the head of an answer, with these header lines. Its body comes in pieces, each of them written, and ends with `end`.
    pub fn begin(&mut self, status: u16, headers: &str) -> io::Result<()> {
        self.begin_answer()?;
        // What ends with the connection cannot promise to keep it.
        self.mode.keep &= !self.mode.http10;
        let bytes = self.mode.head(status, headers, None);
        self.send([&bytes])
    }

    /// The body is whole. One that is not, because its client shall come back, ends with the connection and without this.
    pub fn end(&mut self) -> io::Result<()> {
        self.end_last()?;
        self.finish_answer();
        Ok(())
    }

    /// The body is whole, and the connection ends with it. No header said so: there are clients (undici) that then take a cut
    /// for the end of the body, chunked or not.
    pub fn end_last(&mut self) -> io::Result<()> {
        if self.mode.head_only || self.mode.http10 {
            return Ok(());
        }
        self.send([b"0\r\n\r\n"])
    }

    /// A handle for other threads.
    pub fn handle(&self) -> Arc<dyn ListenerClient> {
        Arc::new(Arc::downgrade(&self.socket))
    }

    /// While the guard lives, `wake` is called, once, when the client's FIN, RST or an error is seen; at once if
    /// it is there already; a `cut` counts too. It runs on the one thread that watches all clients: it takes no lock that is
    /// held for long, wakes a thread and returns. One watch at a time: a later one takes the place of an earlier one.
    pub fn on_disconnect(&self, wake: impl FnOnce() + Send + 'static) -> Watch {
        self.shared.inner.watcher.watch(&self.socket, Box::new(wake))
    }

    fn begin_answer(&mut self) -> io::Result<()> {
        if self.sent != Sent::Nothing {
            return Err(io::Error::other("the client has its answer already"));
        }
        self.sent = Sent::Last;
        self.mode.keep &= !self.shared.slots.is_closing();
        Ok(())
    }

    /// The answer is whole.
    fn finish_answer(&mut self) {
        if self.mode.keep {
            self.sent = Sent::Whole;
        }
    }
}

impl io::Write for Client {
    /// Sends bytes of the body, all of them; to a HEAD none. `TimedOut` when the client takes none for `Timeouts::write`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.mode.head_only || bytes.is_empty() {
            return Ok(bytes.len());
        }
        if self.mode.http10 {
            self.send([bytes])?;
        } else {
            let size = format!("{:x}\r\n", bytes.len());
            self.send([size.as_bytes(), bytes, b"\r\n"])?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ListenerClient for Weak<Socket> {
    fn has_left(&self) -> bool {
        self.upgrade().is_none_or(|socket| socket.has_left())
    }

    fn cut(&self) {
        if let Some(socket) = self.upgrade() {
            socket.reset();
        }
    }
}

#[cfg(test)]
mod tests;
