//! One client's connection, on its own thread: request after request until one of the two wants no more.
//!
//! Owns: the deadlines of each stage, and every answer that is the gate's own.
//! Flow: rest, head, checks, body, through `inner` to `http`; then its answer, or the work that it handed back.
//! When anything panics: that client gets a 500 or a close, the log one line, and no other client notices.

use super::Shared;
use super::answer::{Answer, error};
use super::bodies::Body;
use super::client::{Client, Sent};
use super::head::{self, Framing, Head};
use super::reader::{ReadEnd, Reader};
use super::slots::Slot;
use super::socket::Socket;
use super::ticket::{Exchange, Later, failed};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Connection {
    shared: Arc<Shared>,
    peer: Option<IpAddr>,
    reader: Reader,
    client: Client,
    /// Dropped last: it is free when the descriptor is.
    slot: Slot,
}

/// One request, or why there is none; and its head, if that was understood.
type Request = (Option<Arc<Head>>, Result<Exchange, ReadEnd>);

pub(super) fn run(shared: Arc<Shared>, socket: Arc<Socket>, peer: Option<IpAddr>, slot: Slot) {
    let reader = Reader::new(Arc::clone(&socket));
    let client = Client::new(Arc::clone(&shared), socket);
    let mut connection = Connection { shared, peer, reader, client, slot };
    connection.serve();
    connection.client.socket.finish(Instant::now() + connection.shared.inner.timeouts.linger);
}

impl Connection {
    fn serve(&mut self) {
        let timeouts = self.shared.inner.timeouts;
        // The first head has its time from the connect.
        let mut first = Some(Instant::now() + timeouts.head);
        loop {
            let idle = self.shared.limits.idle;
            let request = match self.reader.wait(first.unwrap_or_else(|| Instant::now() + idle)) {
                Ok(true) => self.request(first.unwrap_or_else(|| Instant::now() + timeouts.head)),
                Ok(false) if first.is_some() => {
                    let why = "no request came in time: send one when you connect";
                    (None, Err(Some(error(408, why))))
                }
                Ok(false) | Err(_) => return,
            };
            // Until its request is whole, with its body, it rests: one that sends slowly makes room for others.
            if !self.slot.busy() {
                return;
            }
            if let Some(later) = self.answer(request) {
                self.wait(later);
            }
            if self.client.sent != Sent::Whole {
                return;
            }
            first = None;
            if !self.slot.idle(&self.client.socket, Instant::now()) {
                return;
            }
        }
    }

    /// Reads one request; its head must be whole by the deadline.
    fn request(&mut self, deadline: Instant) -> Request {
        let head = match self.reader.head(deadline) {
            Ok(head) => Arc::new(head),
            Err(ended) => return (None, Err(ended)),
        };
        let (body, door, peer) = (self.body(&head), self.shared.door, self.peer);
        let exchange = body.map(|body| Exchange { door, head: Arc::clone(&head), body, peer });
        (Some(head), exchange)
    }

    /// Answers one request, or says why there is none; or returns what waits first. Not inlined: this frame would be below that
    /// for hours.
    #[inline(never)]
    fn answer(&mut self, (head, exchange): Request) -> Option<Later> {
        self.client.begin_request(head.as_deref().map(Head::response_mode).unwrap_or_default());
        match exchange.and_then(|exchange| self.shared.inner.ask(exchange).map_err(Some)) {
            Ok(Ok(later)) => {
                // What waits may wait for hours: nothing of the request is kept for it here.
                self.reader.release();
                return Some(later);
            }
            // A client that is not there any more needs no answer.
            Ok(Err(answer)) => drop(self.client.answer(answer)),
            Err(Some(answer)) => self.refuse(head.as_deref(), answer),
            Err(None) => {}
        }
        None
    }

    fn body(&mut self, head: &Head) -> Result<Body, ReadEnd> {
        let max = self.shared.limits.body;
        let framing = head::framing(head, max)?;
        let mut body = Body::begin(&self.shared.inner.budget);
        let timeouts = &self.shared.inner.timeouts;
        // One that sent some of its body already does not wait.
        let waits = head::expects_continue(head) && self.reader.unused().is_empty();
        if framing != Framing::Length(0) && waits {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.client.socket.write([go_on], timeouts.write).map_err(|_| None)?;
        }
        let deadline = Instant::now() + timeouts.body;
        match framing {
            Framing::Length(length) => self.reader.take(length, &mut body, deadline)?,
            Framing::Chunked => self.reader.chunks(&mut body, max, deadline)?,
        }
        Ok(body)
    }

    /// Runs what `http` handed back, on this thread.
    fn wait(&mut self, later: Later) {
        match catch_unwind(AssertUnwindSafe(|| later(&mut self.client))) {
            Ok(Ok(())) | Err(_) if self.client.sent == Sent::Nothing => self.refuse(None, failed()),
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => self.client.sent = Sent::Last,
        }
    }

    /// Tells the client why it is not served. The connection ends with it: what comes next on it is unknown.
    fn refuse(&mut self, head: Option<&Head>, mut answer: Answer) {
        if let Some(head) = head {
            self.shared.inner.serve.decorate(self.shared.door, head, &mut answer);
        }
        // A client that is not there any more needs no answer.
        let _ = self.client.answer_last(answer);
    }
}
