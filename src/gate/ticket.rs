//! Tickets: how `http` finds what did not go through tiny_http with a request.
//!
//! Owns: the secret that tells our own inner requests from those of another local process, and the exchanges
//! that wait to be redeemed, of which there are never more than inner connections.
//! Never: lets a ticket be redeemed twice.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::client::Client;
use super::head::Head;

/// The header of an inner request that carries its ticket.
pub const TICKET: &str = "X-Ticket";

/// What waits for something: it runs on the client's own thread and on its real socket, after the inner request
/// was answered. An error means that the client has gone; the connection ends with it.
pub type Later = Box<dyn FnOnce(&mut Client) -> io::Result<()> + Send>;

/// What one request carries beside what went through tiny_http.
pub struct Exchange {
    /// The head as the client sent it.
    pub head: Arc<Head>,
    /// None for a client that came by a socket file.
    pub peer: Option<IpAddr>,
    slot: Slot,
}

/// Where `Exchange::later` leaves the work for the client's thread.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Later>>>);

impl Exchange {
    pub(super) fn new(head: Arc<Head>, peer: Option<IpAddr>) -> (Exchange, Slot) {
        let slot = Slot::default();
        (Exchange { head, peer, slot: slot.clone() }, slot)
    }

    /// Hands over what waits. Call it before the inner request is answered, and answer that one with an empty
    /// 204; any other answer is sent to the client instead, and the work is dropped.
    pub fn later(self, work: Later) {
        *self.slot.0.lock() = Some(work);
    }
}

impl Slot {
    pub(super) fn take(&self) -> Option<Later> {
        self.0.lock().take()
    }
}

/// The tickets that are out. `http` redeems each once.
pub struct Tickets {
    secret: String,
    next: AtomicU64,
    /// Guards who waits for what; nothing is done while it is held.
    out: Mutex<Vec<(u64, Exchange)>>,
}

impl Tickets {
    pub(super) fn new() -> io::Result<Tickets> {
        let secret = random_name()?;
        Ok(Tickets { secret, next: AtomicU64::new(1), out: Mutex::default() })
    }

    /// The exchange that this header value stands for. None: the request is not ours, or was redeemed before;
    /// answer it with a 403 and read no body.
    pub fn redeem(&self, header_value: &str) -> Option<Exchange> {
        let (secret, number) = header_value.split_once('-')?;
        if !same(secret.as_bytes(), self.secret.as_bytes()) {
            return None;
        }
        self.take(number.parse().ok()?)
    }

    /// The number and the header value of a new ticket.
    pub(super) fn issue(&self, exchange: Exchange) -> (u64, String) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.out.lock().push((number, exchange));
        (number, format!("{}-{number}", self.secret))
    }

    /// Takes a ticket back. None: it was redeemed.
    pub(super) fn take(&self, number: u64) -> Option<Exchange> {
        let mut out = self.out.lock();
        let at = out.iter().position(|(n, _)| *n == number)?;
        Some(out.swap_remove(at).1)
    }
}

/// 128 random bits in hexadecimal.
pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares in a time that does not tell how much of a guess was right.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::head;

    fn exchange() -> Exchange {
        let head = head::parse(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        Exchange::new(Arc::new(head), None).0
    }

    #[test]
    fn a_ticket_is_redeemed_once() {
        let tickets = Tickets::new().unwrap();
        let (_, value) = tickets.issue(exchange());

        assert!(tickets.redeem(&value).is_some());
        assert!(tickets.redeem(&value).is_none());
    }

    #[test]
    fn a_ticket_with_another_secret_is_refused() {
        let tickets = Tickets::new().unwrap();
        let (number, value) = tickets.issue(exchange());

        let guess = format!("{}-{number}", "0".repeat(32));
        assert!(tickets.redeem(&guess).is_none());
        assert!(tickets.redeem(&number.to_string()).is_none());
        assert!(tickets.redeem("").is_none());
        assert!(tickets.redeem(&value).is_some());
    }
}
