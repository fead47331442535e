//! One client's connection, on its own thread: request after request until one of the two wants no more.
//!
//! Owns: the deadlines of each stage, and every answer that is the gate's own.
//! Flow: rest, head, checks, body, through `inner` to `http`; then its answer, or the work that it handed back.
//! When anything panics: that client gets a 500 or a close, the log one line, and no other client notices.

use super::Shared;
use super::answer::{Refusal, ResponseMode};
use super::bodies::Body;
use super::client::{Client, Sent};
use super::head::{self, Framing, Head};
use super::inner::{Failure, InnerAnswer};
use super::reader::{ReadEnd, Reader};
use super::socket::Socket;
use super::table::Slot;
use super::ticket::{Exchange, Later, failed};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Connection {
    shared: Arc<Shared>,
    socket: Arc<Socket>,
    peer: Option<IpAddr>,
    reader: Reader,
    slot: Slot,
}

/// What came of a request: an answer, or work that waits.
enum Answered {
    Sent(Sent),
    Later(Client, Later),
}

/// Why there is no request, and its head, if that was understood.
type NoRequest = (Option<Arc<Head>>, ReadEnd);

pub(super) fn run(shared: Arc<Shared>, socket: Arc<Socket>, peer: Option<IpAddr>, slot: Slot) {
    let linger = shared.inner.timeouts.linger;
    let reader = Reader::new(socket.clone());
    let mut connection = Connection { shared, socket: socket.clone(), peer, reader, slot };
    // A panic is told by the process's hook; here it is the end of this connection and of nothing else.
    let _ = catch_unwind(AssertUnwindSafe(|| connection.serve()));
    socket.finish(Instant::now() + linger);
    // The slot is free only now: the descriptor was not before.
    drop((socket, connection));
}

impl Connection {
    fn serve(&mut self) {
        let timeouts = self.shared.inner.timeouts;
        let arrived = Instant::now() + timeouts.first;
        let mut first = true;
        loop {
            let rest = if first { arrived } else { Instant::now() + self.shared.limits.idle };
            let request = match self.reader.wait(rest) {
                Ok(true) if first => self.request(arrived),
                Ok(true) => self.request(Instant::now() + timeouts.head),
                Ok(false) if first => Err((None, late().into())),
                Ok(false) | Err(_) => return,
            };
            // Until its request is whole it rests: one that drips, its body too, makes room for others.
            if !self.slot.busy() {
                return;
            }
            let sent = match self.answer(request) {
                Answered::Sent(sent) => sent,
                Answered::Later(mut client, later) => self.wait(&mut client, later),
            };
            if sent != Sent::Whole {
                return;
            }
            first = false;
            if !self.slot.idle(&self.socket, Instant::now()) {
                return;
            }
        }
    }

    /// Reads one request; its head must be whole by the deadline.
    fn request(&mut self, deadline: Instant) -> Result<Exchange, NoRequest> {
        let head = Arc::new(self.reader.head(deadline).map_err(|ended| (None, ended))?);
        match self.body(&head) {
            Ok(body) => Ok(Exchange { door: self.shared.door, head, body, peer: self.peer }),
            Err(ended) => Err((Some(head), ended)),
        }
    }

    /// Answers one request, or says why there is none. Not inlined: what waits for hours should not have its frame below it.
    #[inline(never)]
    fn answer(&mut self, request: Result<Exchange, NoRequest>) -> Answered {
        let exchange = match request {
            Ok(exchange) => exchange,
            Err((head, ended)) => {
                let mode = head.as_deref().map_or(ResponseMode::UNKNOWN, ResponseMode::of);
                let sent = self.refuse(&mut self.client(mode), head.as_deref(), ended);
                return Answered::Sent(sent);
            }
        };
        let head = Arc::clone(&exchange.head);
        let mut client = self.client(ResponseMode::of(&head));
        Answered::Sent(match self.shared.inner.ask(exchange) {
            Ok(InnerAnswer::Later(later)) => {
                // What waits may wait for hours: nothing of the request is kept for it here.
                drop(head);
                self.reader.release();
                return Answered::Later(client, later);
            }
            Ok(InnerAnswer::Reply(reply)) => match client.relay(&reply) {
                Ok(()) => client.sent,
                Err(_) => Sent::Last,
            },
            Err(Failure::Busy) => self.refuse(&mut client, Some(&head), busy().into()),
            Err(Failure::Broken) => self.refuse(&mut client, Some(&head), failed().into()),
        })
    }

    fn body(&mut self, head: &Head) -> Result<Body, ReadEnd> {
        let max = self.shared.limits.body;
        let framing = head::framing(head, max)?;
        let mut body = Body::begin(&self.shared.inner.budget);
        let timeouts = &self.shared.inner.timeouts;
        if framing != Framing::Nothing && head::expects_continue(head) && !self.reader.has_more() {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.socket.write_all(go_on, timeouts.write).map_err(|_| ReadEnd::Gone)?;
        }
        self.reader.body(framing, max, &mut body, Instant::now() + timeouts.body)?;
        Ok(body)
    }

    /// Runs what `http` handed back, on this thread.
    fn wait(&self, client: &mut Client, later: Later) -> Sent {
        let done = catch_unwind(AssertUnwindSafe(|| later(client)));
        match done {
            Ok(Ok(())) | Err(_) if client.sent == Sent::Nothing => {
                self.refuse(client, None, failed().into())
            }
            Ok(Ok(())) => client.sent,
            Ok(Err(_)) | Err(_) => Sent::Last,
        }
    }

    /// Tells the client why it is not served. The connection ends with it: what comes next on it is unknown.
    fn refuse(&self, client: &mut Client, head: Option<&Head>, ended: ReadEnd) -> Sent {
        if let ReadEnd::Refused(refusal) = ended {
            let mut answer = refusal.answer();
            if let Some(head) = head {
                self.shared.inner.serve.decorate(self.shared.door, head, &mut answer);
            }
            // A client that is not there any more needs no answer.
            let _ = client.answer_last(answer);
        }
        Sent::Last
    }

    fn client(&self, mode: ResponseMode) -> Client {
        Client::new(self.shared.clone(), self.socket.clone(), mode)
    }
}

fn late() -> Refusal {
    Refusal::new(408, "no request came in time: send one when you connect")
}

fn busy() -> Refusal {
    Refusal::new(503, "all hands are busy: try again in a moment")
}
