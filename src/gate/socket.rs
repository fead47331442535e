//! One client's socket: reads and writes that never outlast their deadline, over TCP and Unix alike.
//!
//! Owns: the descriptor. What else has to see or cut it holds a `Weak`, so that it closes with its connection.
//! Never: looks inside a byte, or blocks in the kernel without a deadline (`MSG_DONTWAIT` and `poll` throughout).

use crate::tcp;
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sendmsg};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What a client may still send after the last answer. More is a flood, and its reset is its own doing.
const LINGER_MAX: usize = 8 * 1024 * 1024;

pub(super) struct Socket(pub(super) OwnedFd);

impl Socket {
    /// Waits for something to read, the end included. False: the deadline came first.
    pub(super) fn readable(&self, deadline: Instant) -> io::Result<bool> {
        tcp::wait(&self.0, PollFlags::IN, deadline)
    }

    /// Reads what is there, at most the vector's spare room, which must not be none. 0 is the end;
    /// `TimedOut` when the deadline has come, even if bytes keep coming.
    pub(super) fn read_into(&self, buffer: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        loop {
            if Instant::now() >= deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match rustix::net::recv(&self.0, spare_capacity(buffer), RecvFlags::DONTWAIT) {
                Ok((read, _)) => return Ok(read),
                Err(Errno::AGAIN) => _ = self.readable(deadline)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes all of it, the pieces one behind the other. `TimedOut` when the client took nothing for as long as `stuck`.
    pub(super) fn write<const N: usize>(
        &self,
        pieces: [&[u8]; N],
        stuck: Duration,
    ) -> io::Result<()> {
        let mut pieces = &mut pieces.map(IoSlice::new)[..];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // Takes the empty ones away.
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match sendmsg(&self.0, pieces, &mut SendAncillaryBuffer::default(), flags) {
                Ok(sent) => IoSlice::advance_slices(&mut pieces, sent),
                Err(Errno::AGAIN) => {
                    if !tcp::wait(&self.0, PollFlags::OUT, Instant::now() + stuck)? {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "a stuck write"));
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether the client's FIN or RST is here: one that closes only its sending side has gone, too. Never waits.
    pub(super) fn has_left(&self) -> bool {
        tcp::wait(&self.0, PollFlags::RDHUP, Instant::now()).unwrap_or(false)
    }

    /// Ends both directions at once; a read or a write that waits in another thread ends too.
    pub(super) fn cut(&self) {
        // An error means that it is not connected any more, which is what was asked for.
        let _ = rustix::net::shutdown(&self.0, Shutdown::Both);
    }

    /// As `cut`, and what the client has not taken goes at once, not when the kernel gives up on it: its close is a reset.
    pub(super) fn reset(&self) {
        // A Unix socket knows no resets, and keeps nothing for a reader that has gone.
        let _ = rustix::net::sockopt::set_socket_linger(&self.0, Some(Duration::ZERO));
        self.cut();
    }

    /// Ends the connection so that the last answer is read: a close with unread bytes is a reset, which destroys what was sent.
    pub(super) fn finish(&self, deadline: Instant) {
        let _ = rustix::net::shutdown(&self.0, Shutdown::Write);
        let mut waste = Vec::with_capacity(4096);
        let mut drained = 0;
        while drained < LINGER_MAX {
            waste.clear();
            match self.read_into(&mut waste, deadline) {
                Ok(0) | Err(_) => return,
                Ok(read) => drained += read,
            }
        }
    }
}
