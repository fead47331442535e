//! Says no to connections that get no thread of their own, without holding up the accept loop.
//!
//! Owns: the refused sockets while their clients read the answer, and one thread that closes them in turn.
//! When `REFUSED_MAX` of them linger: the next one is closed at once, and its client may see a reset.

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender};

use super::Serve;
use super::answer::{Manner, Refusal};
use super::reader::Reader;
use super::socket::Socket;

/// Refused connections that linger, and the descriptors they cost.
pub(super) const REFUSED_MAX: usize = 8;

/// The thread reads a head, drains and closes.
const STACK: usize = 128 * 1024;

/// How long a client that gets no thread may take to say what it wanted. It is one of few that wait in turn.
const HEAD_WAIT: Duration = Duration::from_millis(250);

pub(super) struct Refuser {
    inbox: Sender<Refused>,
    linger: Duration,
}

struct Refused {
    socket: Arc<Socket>,
    deadline: Instant,
    /// Not told yet: what it is to be told depends on what it wants.
    untold: Option<Refusal>,
}

impl Refuser {
    pub(super) fn start(linger: Duration, serve: Arc<dyn Serve>) -> io::Result<Refuser> {
        // One is in the thread's hands.
        let (inbox, refused) = crossbeam_channel::bounded(REFUSED_MAX - 1);
        thread::Builder::new()
            .name("gate-refuse".to_owned())
            .stack_size(STACK)
            .spawn(move || close_in_turn(&refused, &*serve))?;
        Ok(Refuser { inbox, linger })
    }

    /// Answers and hands the socket on. Never waits: an answer fits into the buffer of a new socket.
    pub(super) fn refuse(&self, socket: Arc<Socket>, why: &Refusal) {
        let bytes = Manner::UNKNOWN.whole(&why.answer());
        if socket.write_all(&bytes, Duration::ZERO).is_ok() {
            let deadline = Instant::now() + self.linger;
            let _ = self.inbox.try_send(Refused { socket, deadline, untold: None });
        }
    }

    /// Hands on a socket whose request will be read and refused in the way that its client understands.
    pub(super) fn refuse_politely(&self, socket: Arc<Socket>, why: Refusal) {
        let deadline = Instant::now() + self.linger;
        let refused = Refused { socket, deadline, untold: Some(why) };
        if let Err(full) = self.inbox.try_send(refused) {
            let Refused { socket, untold, .. } = full.into_inner();
            untold.iter().for_each(|why| self.refuse(Arc::clone(&socket), why));
        }
    }
}

/// Each deadline counts from the refusal, so that they pass in order and the queue never waits much longer than once.
fn close_in_turn(refused: &Receiver<Refused>, serve: &dyn Serve) {
    for Refused { socket, deadline, untold } in refused {
        if let Some(why) = untold {
            tell(&socket, &why, serve);
        }
        socket.finish(deadline);
    }
}

fn tell(socket: &Arc<Socket>, why: &Refusal, serve: &dyn Serve) {
    let head = Reader::new(Arc::clone(socket)).head(Instant::now() + HEAD_WAIT);
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
}
