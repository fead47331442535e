//! The scripted upstream: confirms every subscription, pings as Rails does, sends what it is told to, echoes what it is sent.
//!
//! Owns: one slot for each session, which its client named in the address (`?slot=17`).
//! Never: blocks on a session that does not read. What the kernel does not take waits in the slot, and goes with the next
//! `send`; how much that can be is bounded by the window of `flood`.

mod server;

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{now, pause, pause_until};
use crate::mark::Mark;
use server::Server;

/// Opens that wait to be accepted: more than are ever under way.
const BACKLOG: i32 = 4096;

/// Messages of one session that may be on their way at full speed. Half of what a mailbox of the bridge keeps: over that it
/// rightly drops, and what a client was too slow for is not what is measured.
pub const WINDOW: u32 = 512;

/// Messages to one session in a row at full speed.
pub const RUN: u32 = 32;

/// When every window is full there is nothing to do but to let the others run.
const WINDOWS_FULL: Duration = Duration::from_micros(100);

/// Between two bursts: everything has arrived by then, and the machine has come to rest.
const BURST_PAUSE: Duration = Duration::from_millis(200);

#[derive(Default)]
pub struct Slot {
    /// Guards the writing side; nothing else is locked and nothing waits while it is held.
    out: Mutex<Out>,
    subscribed: AtomicBool,
    sent: AtomicU32,
    /// The newest number that its client has.
    got: AtomicU32,
}

#[derive(Default)]
struct Out {
    stream: Option<Arc<TcpStream>>,
    /// What the kernel has not taken yet.
    waiting: Vec<u8>,
}

impl Out {
    fn flush(&mut self) {
        let Some(stream) = &self.stream else { return };
        while !self.waiting.is_empty() {
            match stream.as_ref().write(&self.waiting) {
                Ok(taken) => drop(self.waiting.drain(..taken)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The reader of this stream sees its end too, and says so.
                Err(_) => self.waiting.clear(),
            }
        }
    }
}

impl Slot {
    fn write(&self, bytes: &[u8]) {
        let mut out = self.out.lock();
        out.waiting.extend_from_slice(bytes);
        out.flush();
    }

    fn is_behind(&self) -> bool {
        !self.out.lock().waiting.is_empty()
    }

    /// Its client has this message.
    pub fn note(&self, number: u32) {
        self.got.fetch_max(number, Ordering::Relaxed);
    }

    fn on_the_way(&self) -> u32 {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.got.load(Ordering::Relaxed))
    }
}

pub struct Slots(Vec<Slot>);

impl Slots {
    pub fn slot(&self, slot: usize) -> &Slot {
        &self.0[slot]
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Sends the next messages of one session, all with this stamp, each in a write of its own, as servers do. What is behind
    /// goes first.
    fn send(&self, slot: usize, count: u32, at: u64) {
        let place = self.slot(slot);
        let mut out = place.out.lock();
        out.flush();
        for _ in 0..count {
            let number = place.sent.fetch_add(1, Ordering::Relaxed) + 1;
            Mark { slot, number, at }.put_frame(&mut out.waiting);
            out.flush();
        }
    }

    /// Sends `rate` messages a second for so long, one at a time, to each session in turn.
    pub fn paced(&self, rate: u32, length: Duration) -> u32 {
        let total = (f64::from(rate) * length.as_secs_f64()) as u32;
        let (start, step) = (now(), 1_000_000_000 / u64::from(rate));
        for number in 0..total {
            pause_until(start + u64::from(number) * step);
            self.send(number as usize % self.len(), 1, now());
        }
        total
    }

    /// Sends `each` messages to each session as fast as they are taken, `run` to one before the next has its turn, while no more
    /// than `window` of one are on their way.
    pub fn flood(&self, each: u32, run: u32, window: u32) {
        let mut open: Vec<usize> = (0..self.len()).collect();
        while !open.is_empty() {
            let mut moved = false;
            open.retain(|&slot| {
                let (sent, busy) = self.pour(slot, each, run, window);
                moved |= busy;
                sent < each || self.slot(slot).is_behind()
            });
            if !moved {
                pause(WINDOWS_FULL);
            }
        }
    }

    /// Sends what the window of one session has room for. How many it has been sent, and whether any now.
    fn pour(&self, slot: usize, each: u32, run: u32, window: u32) -> (u32, bool) {
        let place = self.slot(slot);
        let sent = place.sent.load(Ordering::Relaxed);
        let left = each.saturating_sub(sent).min(run);
        let has_room = place.on_the_way() + left <= window && left > 0;
        self.send(slot, if has_room { left } else { 0 }, now());
        (place.sent.load(Ordering::Relaxed), has_room)
    }

    /// Sends one message to every session at once, several times. Their stamp is that of the burst.
    pub fn burst(&self, times: u32) {
        for _ in 0..times {
            pause(BURST_PAUSE);
            let at = now();
            for slot in 0..self.len() {
                self.send(slot, 1, at);
            }
        }
    }

    pub fn subscribed(&self) -> usize {
        self.0.iter().filter(|slot| slot.subscribed.load(Ordering::Relaxed)).count()
    }

    pub fn sent(&self) -> u64 {
        self.0.iter().map(|slot| u64::from(slot.sent.load(Ordering::Relaxed))).sum()
    }

    /// Messages after the newest that each client has.
    pub fn on_the_way(&self) -> u64 {
        self.0.iter().map(|slot| u64::from(slot.on_the_way())).sum()
    }
}

/// The server, while it lives.
pub struct Upstream {
    pub port: u16,
    pub slots: Arc<Slots>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// A server on a port of its own, for so many sessions.
    pub fn start(sessions: usize) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // std's backlog is 128, and a SYN over it comes again after a second.
        rustix::net::listen(&listener, BACKLOG).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let slots = Arc::new(Slots((0..sessions).map(|_| Slot::default()).collect()));
        let stop = Arc::new(AtomicBool::new(false));
        let server = Server::new(listener, Arc::clone(&slots), Arc::clone(&stop));
        let thread = Builder::new().name("upstream".into()).spawn(move || server.run()).unwrap();
        Upstream { port, slots, stop, thread: Some(thread) }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().is_some_and(|thread| thread.join().is_ok());
        assert!(ended || std::thread::panicking(), "the upstream's thread panicked");
    }
}
