//! The client's real socket, in the hands of the work that waits.
//!
//! Owns: what was sent to the client so far (nothing, a whole answer, the begin of a body), and how a body is framed.
//! Never: waits for the client longer than a stuck write, or lets a second answer follow the first.
//! A body of unknown length is chunked, a write a chunk: without framing a client cannot tell a cut from an end, and some
//! collect small pieces before they hand them over (RFC 9112, 6.3). HTTP/1.0 has the end of the connection for it.

use super::Shared;
use super::answer::{Answer, ResponseMode, has_body, header_lines};
use super::reply::Reply;
use super::socket::Socket;
use super::watch::Watch;
use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};

/// The client of one request, on its own thread.
pub struct Client {
    shared: Arc<Shared>,
    pub(super) socket: Arc<Socket>,
    mode: ResponseMode,
    pub(super) sent: Sent,
    closes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Nothing,
    /// The head of an answer and perhaps some of its body.
    Begun,
    /// A whole answer; the connection goes on.
    Whole,
    /// A whole answer, and the connection ends.
    Last,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, socket: Arc<Socket>, mode: ResponseMode) -> Client {
        Client { shared, socket, mode, sent: Sent::Nothing, closes: false }
    }

    /// Sends a whole answer. The connection is kept if the client wants it and the gate is not closing.
    pub fn answer(&mut self, answer: Answer) -> io::Result<()> {
        let headers = header_lines(&answer.headers);
        self.send_whole(answer.status, &headers, answer.body.len(), &answer.body)
    }

    /// Sends an answer after which the connection ends.
    pub(super) fn answer_last(&mut self, answer: Answer) -> io::Result<()> {
        self.mode = self.mode.closing();
        self.answer(answer)
    }

    /// The connection ends with the body that begins now. No header says so: there are clients (undici) that then take a
    /// cut for the end of the body, chunked or not.
    pub fn close_after(&mut self) {
        self.closes = true;
    }

    /// Sends what `http` answered through tiny_http.
    pub(super) fn relay(&mut self, reply: &Reply) -> io::Result<()> {
        self.send_whole(reply.status, &reply.headers, reply.length, &reply.body)
    }

    fn send_whole(
        &mut self,
        status: u16,
        headers: &str,
        length: usize,
        body: &[u8],
    ) -> io::Result<()> {
        let mode = self.begin_answer()?;
        self.sent = if mode.keep { Sent::Whole } else { Sent::Last };
        let head = mode.head(status, headers, Some(length));
        let body = if mode.head_only || !has_body(status) { &[] } else { body };
        self.send([&head, body])
    }

    /// Gives up when the client takes nothing of it for `Timeouts::write`; no time is lost by that but this thread's.
    fn send<const N: usize>(&self, pieces: [&[u8]; N]) -> io::Result<()> {
        let stuck = self.shared.inner.timeouts.write;
        self.socket.write_pieces(&mut pieces.map(IoSlice::new), stuck)
    }

    /// Sends the head of an answer whose body comes in pieces, through `write_all`, and ends with `end`.
    pub fn begin(&mut self, status: u16, headers: &[(&'static str, String)]) -> io::Result<()> {
        let mode = self.begin_answer()?;
        // What ends with the connection cannot promise to keep it.
        self.mode = if mode.http10 { mode.closing() } else { mode };
        self.sent = Sent::Begun;
        let bytes = self.mode.head(status, &header_lines(headers), None);
        self.send([&bytes])
    }

    /// Sends bytes of the body. `TimedOut` when the client takes none of them for 30 s; nobody's time is lost
    /// by that but this thread's. To a HEAD nothing is sent.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.mode.head_only || bytes.is_empty() {
            return Ok(());
        }
        if self.mode.http10 {
            return self.send([bytes]);
        }
        let size = format!("{:x}\r\n", bytes.len());
        self.send([size.as_bytes(), bytes, b"\r\n"])
    }

    /// The body is whole. One that is not, because its client shall come back, ends with the connection and without this.
    pub fn end(&mut self) -> io::Result<()> {
        self.sent = if self.mode.keep && !self.closes { Sent::Whole } else { Sent::Last };
        if self.mode.head_only || self.mode.http10 {
            return Ok(());
        }
        self.send([b"0\r\n\r\n"])
    }

    /// A handle for other threads. It does not keep the socket open.
    pub fn handle(&self) -> ClientHandle {
        ClientHandle(Arc::downgrade(&self.socket))
    }

    /// While the guard lives, `wake` is called, once, when the client's FIN, RST or an error is seen; at once if
    /// it is there already; a `cut` counts too. It runs on the one thread that watches all clients: it takes no lock that is
    /// held for long, wakes a thread and returns. One watch at a time: a later one takes the place of an earlier one.
    pub fn on_disconnect(&self, wake: impl Fn() + Send + Sync + 'static) -> Watch {
        self.shared.inner.watcher.watch(&self.socket, Arc::new(wake))
    }

    /// How the one answer to this request is sent.
    fn begin_answer(&self) -> io::Result<ResponseMode> {
        if self.sent != Sent::Nothing {
            return Err(io::Error::other("the client has its answer already"));
        }
        let keep = self.mode.keep && !self.shared.table.is_closing();
        Ok(ResponseMode { keep, ..self.mode })
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

/// Sees and ends one client's connection from another thread.
#[derive(Clone)]
pub struct ClientHandle(Weak<Socket>);

impl ClientHandle {
    /// Whether the client's FIN or RST is here, or the connection is over. Never waits.
    pub fn has_left(&self) -> bool {
        self.0.upgrade().is_none_or(|socket| socket.has_left())
    }

    /// Ends the connection. A write to it that is stuck ends at once, and what its client has not taken is gone.
    pub fn cut(&self) {
        if let Some(socket) = self.0.upgrade() {
            socket.reset();
        }
    }
}

#[cfg(test)]
mod tests;
