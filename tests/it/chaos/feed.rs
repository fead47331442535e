//! The upstream's side of the chaos: numbered messages for each client, in bursts, and now and then a restart.
//!
//! Owns: every session's link, on one thread. A bridge that stopped reading one of them would stop them all, and
//! then this fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::tick;

use super::figures::Figures;
use super::rng::Rng;
use crate::support::{CHAT, Link};

/// Links that get something at each step.
const LINKS_A_STEP: usize = 5;

/// More messages than the bridge keeps: who is away meanwhile is told that some are gone.
pub const FLOOD: usize = super::KEPT + 50;

/// Waits for the next link, and welcomes it.
pub type Arrivals = Box<dyn FnMut() -> Link + Send>;

/// How much is sent.
pub struct Flow {
    /// Between two steps.
    pub pace: Duration,
    /// Whether there are floods, of which something is dropped.
    pub floods: bool,
}

/// What the clients may know of the upstream.
pub struct Sent {
    counts: Vec<AtomicU64>,
    stopped: AtomicBool,
}

impl Sent {
    pub fn new(clients: usize) -> Sent {
        let counts = (0..clients).map(|_| AtomicU64::new(0)).collect();
        Sent { counts, stopped: AtomicBool::new(false) }
    }

    /// Messages sent to this client, or just about to be.
    pub fn count(&self, client: usize) -> u64 {
        self.counts[client].load(Ordering::SeqCst)
    }

    /// Whether nothing more is sent.
    pub fn is_over(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// The message number `number` of a client, byte for byte.
pub fn message(client: usize, number: u64) -> String {
    let size = match number % 97 {
        0 => 9000,
        rest => rest as usize,
    };
    // Bytes that a cut can part, an escape, a number that a double would round.
    format!(
        r#"{{"n":{number},"client":{client},"é":"\u00e9€𝄞","big":12345678901234567890.10,"pad":"{}"}}"#,
        "x".repeat(size)
    )
}

pub struct Feed {
    pub arrivals: Arrivals,
    /// By client.
    pub links: Vec<Link>,
    pub sent: Arc<Sent>,
    pub rng: Rng,
    pub figures: Arc<Figures>,
    pub flow: Flow,
}

impl Feed {
    /// Sends until `enough` says so; the clients then get what is left and leave.
    pub fn run(mut self, mut enough: impl FnMut() -> bool) -> Feed {
        for _ in tick(self.flow.pace) {
            for _ in 0..LINKS_A_STEP {
                let client = self.rng.below(self.links.len());
                let burst = 1 + self.rng.below(4);
                self.send(client, burst);
            }
            let client = self.rng.below(self.links.len());
            match self.rng.below(500) {
                0 => self.restart(client),
                1..=5 if self.flow.floods => self.send(client, FLOOD),
                _ => {}
            }
            if enough() {
                break;
            }
        }
        self.farewell();
        self
    }

    /// One last message to everybody, so that nobody waits for one.
    fn farewell(&mut self) {
        let numbers: Vec<u64> =
            self.sent.counts.iter().map(|count| count.fetch_add(1, Ordering::SeqCst) + 1).collect();
        self.sent.stopped.store(true, Ordering::SeqCst);
        for (client, number) in numbers.into_iter().enumerate() {
            self.links[client].message(CHAT, &message(client, number));
        }
    }

    fn send(&mut self, client: usize, how_many: usize) {
        for _ in 0..how_many {
            let number = self.sent.counts[client].fetch_add(1, Ordering::SeqCst) + 1;
            self.links[client].message(CHAT, &message(client, number));
        }
    }

    /// The link ends in order, so nothing that was sent is lost, and the bridge makes another.
    fn restart(&mut self, client: usize) {
        let old = self.links.swap_remove(client);
        old.close(1001, "going away");
        let mut link = (self.arrivals)();
        assert!(link.handshake.target().ends_with(&format!("client={client}")), "another's link");
        link.subscribed(CHAT);
        self.links.push(link);
        let last = self.links.len() - 1;
        self.links.swap(client, last);
        self.figures.restarts.one();
    }
}
