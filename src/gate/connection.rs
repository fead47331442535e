//! One client's connection, on its own thread: request after request until one of the two wants no more.
//!
//! Owns: the deadlines of each stage, and every answer that is the gate's own.
//! Flow: rest, head, checks, body, through `inner` to `http`; then its answer, or the work that it handed back.
//! When anything panics: that client gets a 500 or a close, the log one line, and nobody else notices.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::Shared;
use super::answer::{Manner, Refusal};
use super::bodies::Share;
use super::client::{Client, Said};
use super::head::{self, Framing, Head};
use super::inner::{Failure, Outcome};
use super::reader::{Ended, Reader};
use super::socket::Socket;
use super::table::Seat;
use super::ticket::Later;

pub(super) struct Connection {
    shared: Arc<Shared>,
    socket: Arc<Socket>,
    peer: Option<IpAddr>,
    reader: Reader,
    seat: Seat,
}

/// A whole request.
struct Request {
    head: Arc<Head>,
    body: Vec<u8>,
    /// What its body takes; given back when nothing of the request is held any more.
    share: Share,
}

/// What came of a request: an answer, or work that waits.
enum Answered {
    Said(Said),
    Later(Client, Later),
}

/// Why there is no request, and its head, if that was understood.
type NoRequest = (Option<Arc<Head>>, Ended);

/// Serves one connection to its end.
pub(super) fn run(shared: Arc<Shared>, socket: Arc<Socket>, peer: Option<IpAddr>, seat: Seat) {
    let linger = shared.patience.linger;
    let reader = Reader::new(socket.clone());
    let mut connection = Connection { shared, socket: socket.clone(), peer, reader, seat };
    // A panic is told by the process's hook; here it is the end of this connection and of nothing else.
    let _ = catch_unwind(AssertUnwindSafe(|| connection.serve()));
    socket.finish(Instant::now() + linger);
    // The seat is free only now: the descriptor was not before.
    drop((socket, connection));
}

impl Connection {
    fn serve(&mut self) {
        let patience = self.shared.patience;
        let arrived = Instant::now() + patience.first;
        let mut first = true;
        loop {
            let rest = if first { arrived } else { Instant::now() + patience.idle };
            let request = match self.reader.wait(rest) {
                Ok(true) if first => self.request(arrived),
                Ok(true) => self.request(Instant::now() + patience.head),
                Ok(false) if first => Err((None, late().into())),
                Ok(false) | Err(_) => return,
            };
            // Until its request is whole it rests: one that drips, its body too, makes room for others.
            if !self.seat.rise() {
                return;
            }
            let said = match self.answer(request) {
                Answered::Said(said) => said,
                Answered::Later(mut client, later) => self.wait(&mut client, later),
            };
            if said != Said::Whole {
                return;
            }
            first = false;
            if !self.seat.rest(&self.socket, Instant::now()) {
                return;
            }
        }
    }

    /// Reads one request; its head must be whole by the deadline.
    fn request(&mut self, deadline: Instant) -> Result<Request, NoRequest> {
        let head = Arc::new(self.reader.head(deadline).map_err(|ended| (None, ended))?);
        let mut share = self.shared.bodies.share();
        match self.body(&head, &mut share) {
            Ok(body) => Ok(Request { head, body, share }),
            Err(ended) => Err((Some(head), ended)),
        }
    }

    /// Answers one request, or says why there is none. Not inlined: what waits for hours should not have its frame below it.
    #[inline(never)]
    fn answer(&mut self, request: Result<Request, NoRequest>) -> Answered {
        let Request { head, body, share } = match request {
            Ok(request) => request,
            Err((head, ended)) => {
                let manner = head.as_deref().map_or(Manner::UNKNOWN, Manner::of);
                let said = self.refuse(&mut self.client(manner), head.as_deref(), ended);
                return Answered::Said(said);
            }
        };
        let mut client = self.client(Manner::of(&head));
        Answered::Said(match self.shared.inner.ask(&head, self.peer, &body) {
            Ok(Outcome::Later(later)) => {
                // What waits may wait for hours: nothing of the request is kept for it.
                drop((head, body, share));
                self.reader.release();
                return Answered::Later(client, later);
            }
            Ok(Outcome::Reply(reply)) if reply.is_panic() => {
                self.refuse(&mut client, Some(&head), failed().into())
            }
            Ok(Outcome::Reply(reply)) => {
                let manner = client.manner_now();
                match client.say_whole(manner, &reply.encode(manner)) {
                    Ok(()) => client.said(),
                    Err(_) => Said::Last,
                }
            }
            Err(Failure::Busy) => self.refuse(&mut client, Some(&head), busy().into()),
            Err(Failure::Broken) => self.refuse(&mut client, Some(&head), failed().into()),
        })
    }

    fn body(&mut self, head: &Head, share: &mut Share) -> Result<Vec<u8>, Ended> {
        let max = self.shared.limits.body;
        let framing = head::framing(head, max)?;
        if framing == Framing::Nothing {
            return Ok(Vec::new());
        }
        let patience = &self.shared.patience;
        if head::expects_continue(head) && !self.reader.has_more() {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.socket.write_all(go_on, patience.write).map_err(|_| Ended::Gone)?;
        }
        self.reader.body(framing, max, share, Instant::now() + patience.body)
    }

    /// Runs what `http` handed back, on this thread.
    fn wait(&self, client: &mut Client, later: Later) -> Said {
        let done = catch_unwind(AssertUnwindSafe(|| later(client)));
        match done {
            Ok(Ok(())) | Err(_) if client.said() == Said::Nothing => {
                self.refuse(client, None, failed().into())
            }
            Ok(Ok(())) => client.said(),
            Ok(Err(_)) | Err(_) => Said::Last,
        }
    }

    /// Tells the client why it is not served. The connection ends with it: what comes next on it is unknown.
    fn refuse(&self, client: &mut Client, head: Option<&Head>, ended: Ended) -> Said {
        if let Ended::Refused(refusal) = ended {
            let mut answer = refusal.answer();
            if let Some(head) = head {
                self.shared.serve.decorate(head, &mut answer);
            }
            // A client that is not there any more needs no answer.
            let _ = client.answer_last(&answer);
        }
        Said::Last
    }

    fn client(&self, manner: Manner) -> Client {
        let shared = &self.shared;
        let (watcher, table) = (shared.watcher.clone(), shared.table.clone());
        Client::new(self.socket.clone(), watcher, table, manner, shared.patience.write)
    }
}

fn late() -> Refusal {
    Refusal::new(408, "no request came in time: send one when you connect")
}

fn busy() -> Refusal {
    Refusal::new(503, "all hands are busy: try again in a moment")
}

fn failed() -> Refusal {
    Refusal::new(500, "this request failed inside, the log has a line about it: try again")
}
