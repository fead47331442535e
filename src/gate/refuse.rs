//! Says no to connections that get no thread of their own, without holding up the accept loop.
//!
//! Owns: the refused sockets, and the one thread that closes them once their clients had time to read the answer. Those for
//! which there is no thread are answered by it: what they wanted decides how.
//! When `REFUSED_MAX` of them linger: the next one is closed at once; what its client sends after that is a reset.

use super::answer::{Refusal, ResponseMode};
use super::reader::Reader;
use super::socket::Socket;
use super::{Door, Inner, Serve};
use crossbeam_channel::{Receiver, Sender, bounded};
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
    queue: Sender<Refused>,
    lingering: Arc<AtomicUsize>,
    linger: Duration,
}

enum Refused {
    /// It has its answer and may read it until then.
    Linger(Arc<Socket>, Instant),
    /// It is told this, or what `Serve::refusal` says.
    Tell(Arc<Socket>, Refusal),
}

impl Refuser {
    pub(super) fn start(inner: &Inner, door: Door) -> io::Result<Refuser> {
        let (linger, serve) = (inner.timeouts.linger, Arc::clone(&inner.serve));
        let (queue, refused) = bounded(WAITING_MAX);
        let lingering = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lingering);
        let thread = thread::Builder::new().name("gate-refuse".to_owned()).stack_size(STACK);
        thread.spawn(move || run(&refused, &counted, door, &*serve))?;
        Ok(Refuser { queue, lingering, linger })
    }

    /// Answers and hands the socket on. Never waits: an answer fits into the buffer of a new socket.
    pub(super) fn refuse(&self, socket: Arc<Socket>, why: &Refusal) {
        let bytes = ResponseMode::UNKNOWN.whole(&why.answer());
        if socket.write_all(&bytes, Duration::ZERO).is_err() {
            return;
        }
        let refused = Refused::Linger(Arc::clone(&socket), Instant::now() + self.linger);
        let has_room = self.lingering.fetch_add(1, Ordering::Relaxed) < REFUSED_MAX;
        if !has_room || self.queue.try_send(refused).is_err() {
            self.lingering.fetch_sub(1, Ordering::Relaxed);
            // What has come is read at least: without it, no reset.
            socket.finish(Instant::now());
        }
    }

    /// Hands on a socket whose request will be read and refused in the way that its client understands.
    pub(super) fn refuse_politely(&self, socket: Arc<Socket>, why: Refusal) {
        if self.queue.try_send(Refused::Tell(Arc::clone(&socket), why.clone())).is_err() {
            self.refuse(socket, &why);
        }
    }
}

/// The deadlines of those that linger count from their refusals, so that they pass beside each other.
fn run(queue: &Receiver<Refused>, lingering: &AtomicUsize, door: Door, serve: &dyn Serve) {
    for refused in queue {
        match refused {
            Refused::Linger(socket, until) => {
                socket.finish(until);
                drop(socket);
                lingering.fetch_sub(1, Ordering::Relaxed);
            }
            Refused::Tell(socket, why) => {
                tell(&socket, &why, door, serve);
                socket.finish(Instant::now());
            }
        }
    }
}

fn tell(socket: &Arc<Socket>, why: &Refusal, door: Door, serve: &dyn Serve) {
    let head = Reader::new(Arc::clone(socket)).head(Instant::now() + HEAD_WAIT);
    let bytes = match head {
        Ok(head) => {
            let mut answer = serve.refusal(&head).unwrap_or_else(|| why.answer());
            serve.decorate(door, &head, &mut answer);
            ResponseMode::of(&head).closing().whole(&answer)
        }
        Err(_) => ResponseMode::UNKNOWN.whole(&why.answer()),
    };
    // Its client may have gone: there is nothing to tell then.
    let _ = socket.write_all(&bytes, Duration::ZERO);
}
