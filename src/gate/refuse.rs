//! Says no to connections that get no thread of their own, without holding up the accept loop.
//!
//! Owns: the refused sockets, one thread that closes them once their clients had time to read the answer, and one that
//! reads what those wanted for whom there is no thread.
//! When `REFUSED_MAX` of them linger: the next one is closed at once; what its client sends after that is a reset.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::Serve;
use super::answer::{Manner, Refusal};
use super::reader::Reader;
use super::socket::Socket;

/// Refused connections that linger, and the descriptors they cost.
pub(super) const REFUSED_MAX: usize = 8;

/// The thread reads a head, drains and closes.
const STACK: usize = 128 * 1024;

/// Connections without a thread that wait to be told so. One more is told a bare 503. Where threads are short
/// descriptors are not: these are counted nowhere.
const UNTOLD_MAX: usize = 256;

/// How long a client that gets no thread may take to say what it wanted; the others wait behind it.
const HEAD_WAIT: Duration = Duration::from_millis(250);

pub(super) struct Refuser {
    told: Sender<(Instant, Arc<Socket>)>,
    untold: Sender<(Refusal, Arc<Socket>)>,
    linger: Duration,
}

impl Refuser {
    pub(super) fn start(linger: Duration, serve: Arc<dyn Serve>) -> io::Result<Refuser> {
        // One is in the thread's hands.
        let (told, lingering) = bounded(REFUSED_MAX - 1);
        let (untold, waiting) = bounded(UNTOLD_MAX);
        start("gate-refuse", move || close_in_turn(&lingering))?;
        start("gate-tell", move || tell_in_turn(&waiting, &*serve))?;
        Ok(Refuser { told, untold, linger })
    }

    /// Answers and hands the socket on. Never waits: an answer fits into the buffer of a new socket.
    pub(super) fn refuse(&self, socket: Arc<Socket>, why: &Refusal) {
        let bytes = Manner::UNKNOWN.whole(&why.answer());
        if socket.write_all(&bytes, Duration::ZERO).is_err() {
            return;
        }
        if let Err(full) = self.told.try_send((Instant::now() + self.linger, socket)) {
            // What has come is read at least: without it, no reset.
            full.into_inner().1.finish(Instant::now());
        }
    }

    /// Hands on a socket whose request will be read and refused in the way that its client understands.
    pub(super) fn refuse_politely(&self, socket: Arc<Socket>, why: Refusal) {
        if let Err(full) = self.untold.try_send((why, socket)) {
            let (why, socket) = full.into_inner();
            self.refuse(socket, &why);
        }
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned()).stack_size(STACK);
    thread.spawn(work).map(drop)
}

/// Each deadline counts from the refusal, so that they pass in order and the queue never waits longer than once.
fn close_in_turn(refused: &Receiver<(Instant, Arc<Socket>)>) {
    for (deadline, socket) in refused {
        socket.finish(deadline);
    }
}

fn tell_in_turn(waiting: &Receiver<(Refusal, Arc<Socket>)>, serve: &dyn Serve) {
    for (why, socket) in waiting {
        let head = Reader::new(Arc::clone(&socket)).head(Instant::now() + HEAD_WAIT);
        let bytes = match head {
            Ok(head) => {
                let mut answer = serve.refusal(&head).unwrap_or_else(|| why.answer());
                serve.decorate(&head, &mut answer);
                Manner::of(&head).closing().whole(&answer)
            }
            Err(_) => Manner::UNKNOWN.whole(&why.answer()),
        };
        // Its client may have gone: nobody is left to be told.
        let _ = socket.write_all(&bytes, Duration::ZERO);
        socket.finish(Instant::now());
    }
}
