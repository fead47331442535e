//! Says no to connections that get no thread of their own, without holding up the accept loop.
//!
//! Owns: the refused sockets while their clients read the answer, and one thread that closes them in turn.
//! When `REFUSED_MAX` of them linger: the next one is closed at once, and its client may see a reset.

use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender};

use super::answer::{Manner, Refusal};
use super::socket::Socket;

/// Refused connections that linger, and the descriptors they cost.
pub(super) const REFUSED_MAX: usize = 8;

/// The thread drains and closes; two pages of stack are all that it touches.
const STACK: usize = 64 * 1024;

pub(super) struct Refuser {
    inbox: Sender<(Instant, Socket)>,
    linger: Duration,
}

impl Refuser {
    pub(super) fn start(linger: Duration) -> io::Result<Refuser> {
        // One is in the thread's hands.
        let (inbox, refused) = crossbeam_channel::bounded(REFUSED_MAX - 1);
        thread::Builder::new()
            .name("gate-refuse".to_owned())
            .stack_size(STACK)
            .spawn(move || close_in_turn(&refused))?;
        Ok(Refuser { inbox, linger })
    }

    /// Answers and hands the socket on. Never waits: an answer fits into the buffer of a new socket.
    pub(super) fn refuse(&self, socket: Socket, why: &Refusal) {
        let bytes = Manner::UNKNOWN.whole(&why.answer());
        if socket.write_all(&bytes, Duration::ZERO).is_ok() {
            let _ = self.inbox.try_send((Instant::now() + self.linger, socket));
        }
    }
}

/// Each deadline counts from the refusal, so that they pass in order and the queue never waits longer than once.
fn close_in_turn(refused: &Receiver<(Instant, Socket)>) {
    for (deadline, socket) in refused {
        socket.finish(deadline);
    }
}
