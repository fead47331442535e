//! Tickets: what a request carries beside what goes through tiny_http.
//!
//! Owns: the exchanges that are under way, of which there are never more than inner connections and requests that wait
//! for one. A ticket's name is random: another local process, which may find the inner listener, has none.
//! Never: lets a ticket be redeemed twice.

use super::answer::{Answer, error};
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

/// What becomes of a request: what waits, or else its answer.
pub type Outcome = Result<Later, Answer>;

/// One request as the client sent it.
pub struct Exchange {
    pub door: Door,
    pub head: Arc<Head>,
    /// Decoded. It does not go through tiny_http: it is not read there, and each reader costs a copy.
    pub body: Body,
    /// None for a client that came by a socket file.
    pub peer: Option<IpAddr>,
}

/// Where the gate finds what waits. Where it gave up meanwhile, the work goes with this.
pub(super) type Place = Arc<Mutex<Option<Later>>>;

pub struct Tickets {
    secret: String,
    next: AtomicU64,
    /// Guards the exchanges by their tickets, until `http` takes them; nothing is done while it is held.
    out: Mutex<HashMap<String, (Exchange, Place)>>,
}

impl Tickets {
    pub(super) fn new() -> io::Result<Tickets> {
        Ok(Tickets { secret: random_name()?, next: AtomicU64::new(1), out: Mutex::default() })
    }

    /// The answer to the inner request with this ticket: `handle`'s; a 204 where it hands back what waits; a 500 where it
    /// panics, which is this request's end and no other's. A ticket that is not ours, or was redeemed before, is a 403.
    pub fn answer(&self, ticket: &str, handle: impl FnOnce(Exchange) -> Outcome) -> Answer {
        let redeemed = self.out.lock().remove(ticket);
        let Some((exchange, place)) = redeemed else { return Answer::new(403) };
        match catch_unwind(AssertUnwindSafe(|| handle(exchange))) {
            Ok(Err(answer)) => answer,
            Ok(Ok(work)) => {
                *place.lock() = Some(work);
                Answer::new(204)
            }
            Err(_) => failed(),
        }
    }

    pub(super) fn issue(&self, exchange: Exchange) -> (String, Place) {
        let ticket = format!("{}-{}", self.secret, self.next.fetch_add(1, Ordering::Relaxed));
        let place = Place::default();
        self.out.lock().insert(ticket.clone(), (exchange, Arc::clone(&place)));
        (ticket, place)
    }

    /// Whether `http` has not taken it.
    pub(super) fn is_waiting(&self, ticket: &str) -> bool {
        self.out.lock().contains_key(ticket)
    }

    /// Takes it back. Whether `http` had not taken it.
    pub(super) fn withdraw(&self, ticket: &str) -> bool {
        self.out.lock().remove(ticket).is_some()
    }
}

pub(super) fn failed() -> Answer {
    error(500, "this request failed inside, the log has a line about it: try again")
}

/// 128 random bits in hexadecimal.
pub(super) fn random_name() -> io::Result<String> {
    let random = || getrandom::u64().map_err(io::Error::other);
    Ok(format!("{:016x}{:016x}", random()?, random()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::head;
    use crate::memory::Budget;

    fn issued(tickets: &Tickets) -> (String, Place) {
        let head = Arc::new(head::parse(b"GET / HTTP/1.1\r\n\r\n").unwrap());
        let body = Body::begin(&Budget::new(1 << 20));
        tickets.issue(Exchange { door: Door::Public, head, body, peer: None })
    }

    fn status(tickets: &Tickets, ticket: &str) -> u16 {
        tickets.answer(ticket, |_| Err(Answer::new(200))).status
    }

    #[test]
    fn a_ticket_is_redeemed_once() {
        let tickets = Tickets::new().unwrap();
        let (ticket, _) = issued(&tickets);

        assert_eq!(status(&tickets, &ticket), 200);
        assert_eq!(status(&tickets, &ticket), 403);
    }

    #[test]
    fn a_ticket_with_another_secret_is_refused() {
        let tickets = Tickets::new().unwrap();
        let (ticket, _) = issued(&tickets);

        for guess in ["", "1", "none", &format!("{}-1", "0".repeat(32))] {
            assert_eq!(status(&tickets, guess), 403);
        }
        assert_eq!(status(&tickets, &ticket), 200);
    }

    #[test]
    fn what_waits_is_there_when_the_ticket_is_taken_back() {
        let tickets = Tickets::new().unwrap();
        let (ticket, place) = issued(&tickets);

        let answer = tickets.answer(&ticket, |_| Ok(Box::new(|_| Ok(()))));

        assert_eq!(answer.status, 204);
        assert!(!tickets.withdraw(&ticket));
        assert!(place.lock().take().is_some());
    }
}
