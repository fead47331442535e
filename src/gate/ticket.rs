//! Tickets: what a request carries beside what goes through tiny_http.
//!
//! Owns: the exchanges that are under way, of which there are never more than inner connections and requests that wait
//! for one. A ticket's name is random: another local process, which may find the inner listener, has none.
//! Never: lets a ticket be redeemed twice.

use super::answer::{Answer, Refusal};
use super::bodies::Body;
use super::client::Client;
use super::head::Head;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The header of an inner request that carries its ticket.
pub const TICKET: &str = "X-Ticket";

/// Which address a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Public,
    /// `--admin`.
    Admin,
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Door::Public => "public",
            Door::Admin => "admin",
        })
    }
}

/// What waits for something: it runs on the client's own thread and on its real socket, after the inner request
/// was answered. An error means that the client has gone; the connection ends with it.
pub type Later = Box<dyn FnOnce(&mut Client) -> io::Result<()> + Send>;

pub enum Outcome {
    Now(Answer),
    Later(Later),
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Outcome {
        Outcome::Now(answer)
    }
}

/// One request as the client sent it.
pub struct Exchange {
    pub door: Door,
    pub head: Arc<Head>,
    /// Decoded. It does not go through tiny_http: it is not read there, and each reader costs a copy.
    pub body: Body,
    /// None for a client that came by a socket file.
    pub peer: Option<IpAddr>,
}

/// How far the exchange of one ticket is.
pub(super) enum Progress {
    Waiting(Exchange),
    Redeemed,
    Later(Later),
}

pub struct Tickets {
    secret: String,
    next: AtomicU64,
    /// Guards the exchanges by their tickets; nothing is done while it is held.
    out: Mutex<HashMap<String, Progress>>,
}

impl Tickets {
    pub(super) fn new() -> io::Result<Tickets> {
        Ok(Tickets { secret: random_name()?, next: AtomicU64::new(1), out: Mutex::default() })
    }

    /// The answer to the inner request with this ticket: `handle`'s; a 204 where it hands back what waits; a 500 where it
    /// panics, which is this request's end and no other's. A ticket that is not ours, or was redeemed before, is a 403.
    pub fn answer(&self, ticket: &str, handle: impl FnOnce(Exchange) -> Outcome) -> Answer {
        let Some(exchange) = self.redeem(ticket) else { return Answer::new(403) };
        match catch_unwind(AssertUnwindSafe(|| handle(exchange))) {
            Ok(Outcome::Now(answer)) => answer,
            Ok(Outcome::Later(work)) => {
                // Where the gate gave up meanwhile, the work is dropped, and not under the lock.
                let mut out = self.out.lock();
                if let Some(progress) = out.get_mut(ticket) {
                    *progress = Progress::Later(work);
                }
                drop(out);
                Answer::new(204)
            }
            Err(_) => failed().answer(),
        }
    }

    fn redeem(&self, ticket: &str) -> Option<Exchange> {
        let mut out = self.out.lock();
        let progress = out.get_mut(ticket).filter(|it| matches!(it, Progress::Waiting(_)))?;
        match std::mem::replace(progress, Progress::Redeemed) {
            Progress::Waiting(exchange) => Some(exchange),
            _ => None,
        }
    }

    pub(super) fn issue(&self, exchange: Exchange) -> String {
        let ticket = format!("{}-{}", self.secret, self.next.fetch_add(1, Ordering::Relaxed));
        self.out.lock().insert(ticket.clone(), Progress::Waiting(exchange));
        ticket
    }

    pub(super) fn is_waiting(&self, ticket: &str) -> bool {
        matches!(self.out.lock().get(ticket), Some(Progress::Waiting(_)))
    }

    pub(super) fn settle(&self, ticket: &str) -> Option<Progress> {
        self.out.lock().remove(ticket)
    }
}

pub(super) fn failed() -> Refusal {
    Refusal::new(500, "this request failed inside, the log has a line about it: try again")
}

/// 128 random bits in hexadecimal.
pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::head;

    fn issued(tickets: &Tickets) -> String {
        let head = Arc::new(head::parse(b"GET / HTTP/1.1\r\n\r\n").unwrap());
        tickets.issue(Exchange { door: Door::Public, head, body: Body::default(), peer: None })
    }

    fn status(tickets: &Tickets, ticket: &str) -> u16 {
        tickets.answer(ticket, |_| Answer::new(200).into()).status
    }

    #[test]
    fn a_ticket_is_redeemed_once() {
        let tickets = Tickets::new().unwrap();
        let ticket = issued(&tickets);

        assert_eq!(status(&tickets, &ticket), 200);
        assert_eq!(status(&tickets, &ticket), 403);
    }

    #[test]
    fn a_ticket_with_another_secret_is_refused() {
        let tickets = Tickets::new().unwrap();
        let ticket = issued(&tickets);

        for guess in ["", "1", "none", &format!("{}-1", "0".repeat(32))] {
            assert_eq!(status(&tickets, guess), 403);
        }
        assert_eq!(status(&tickets, &ticket), 200);
    }

    #[test]
    fn what_waits_is_there_when_the_ticket_is_taken_back() {
        let tickets = Tickets::new().unwrap();
        let ticket = issued(&tickets);

        let answer = tickets.answer(&ticket, |_| Outcome::Later(Box::new(|_| Ok(()))));

        assert_eq!(answer.status, 204);
        assert!(matches!(tickets.settle(&ticket), Some(Progress::Later(_))));
        assert!(tickets.settle(&ticket).is_none());
    }
}
