//! Says no to connections that get no thread of their own, without holding up the accept loop.
//!
//! Owns: the refused sockets, and the one thread that closes them once their clients had time to read the answer. Those for
//! which there is no thread are answered by it: what they wanted decides how.
//! When `REFUSED_MAX` of them linger: the next one is closed at once; what its client sends after that is a reset.

use super::answer::{Answer, ResponseMode, busy};
use super::reader::Reader;
use super::socket::Socket;
use super::{Door, Inner};
use crossbeam_channel::{Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

/// Refused connections that linger, and the descriptors they cost.
pub(super) const REFUSED_MAX: usize = 8;

/// The thread reads a head, drains and closes.
const STACK: usize = 128 * 1024;

/// Connections that wait for the thread. One more is told a bare 503. Where threads are short descriptors are not: those
/// without a thread are counted nowhere.
const WAITING_MAX: usize = 256;

/// How long a client that gets no thread may take to say what it wanted; the others wait behind it.
const HEAD_WAIT: Duration = Duration::from_millis(250);

pub(super) struct Refuser {
    /// What is left to do for each of them.
    queue: Sender<Box<dyn FnOnce() + Send>>,
    lingering: Arc<AtomicUsize>,
    inner: Arc<Inner>,
    door: Door,
}

impl Refuser {
    pub(super) fn start(inner: &Arc<Inner>, door: Door) -> io::Result<Refuser> {
        let (queue, waiting) = bounded::<Box<dyn FnOnce() + Send>>(WAITING_MAX);
        let thread = thread::Builder::new().name("gate-refuse".to_owned()).stack_size(STACK);
        thread.spawn(move || waiting.iter().for_each(|work| work()))?;
        Ok(Refuser { queue, lingering: Arc::default(), inner: Arc::clone(inner), door })
    }

    /// Answers and hands the socket on. Never waits: an answer fits into the buffer of a new socket.
    pub(super) fn refuse(&self, socket: Arc<Socket>) {
        if ResponseMode::default().send(&full(), &socket, Duration::ZERO).is_err() {
            return;
        }
        // The deadlines count from the refusals, so that they pass beside each other.
        let until = Instant::now() + self.inner.timeouts.linger;
        let (its, lingering) = (Arc::clone(&socket), Arc::clone(&self.lingering));
        let linger = move || {
            its.finish(until);
            drop(its);
            lingering.fetch_sub(1, Ordering::Relaxed);
        };
        let has_room = self.lingering.fetch_add(1, Ordering::Relaxed) < REFUSED_MAX;
        if !has_room || self.queue.try_send(Box::new(linger)).is_err() {
            self.lingering.fetch_sub(1, Ordering::Relaxed);
            // What has come is read at least: without it, no reset.
            socket.finish(Instant::now());
        }
    }

    /// Hands on a socket whose request will be read and refused in the way that its client understands.
    pub(super) fn refuse_politely(&self, socket: Arc<Socket>) {
        let (its, inner, door) = (Arc::clone(&socket), Arc::clone(&self.inner), self.door);
        let tell = move || {
            let (mut mode, mut answer) = (ResponseMode::default(), full());
            if let Ok(head) = Reader::new(Arc::clone(&its)).head(Instant::now() + HEAD_WAIT) {
                mode = ResponseMode { keep: false, ..head.response_mode() };
                inner.serve.decorate(door, &head, &mut answer);
            }
            // Its client may have gone: there is nothing to tell then.
            let _ = mode.send(&answer, &its, Duration::ZERO);
            its.finish(Instant::now());
        };
        if self.queue.try_send(Box::new(tell)).is_err() {
            self.refuse(socket);
        }
    }
}

fn full() -> Answer {
    busy("there are as many connections as there may be: try again in a moment")
}
