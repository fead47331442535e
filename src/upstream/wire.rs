//! The WebSocket of one upstream: `tungstenite` over our socket, and its buffer kept small.
//!
//! `tungstenite` keeps the buffer of the largest frame it ever read. So the boundaries of frames are
//! watched here, and a state of `tungstenite`'s that has grown is replaced by a fresh one at the first moment at which
//! it holds no bytes: after a big message an idle session is as small as before.
//! Never: looks into a message.

use super::line::Line;
use super::socket::{UpstreamSocket, left};
use crate::memory::{Held, ROOM_PAUSE, Share};
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

/// What an idle session keeps to read into. Bursts cost a few reads more than with a larger one.
const READ_BUFFER: usize = 640;

/// A frame over this makes the buffer grow beyond what an idle session should keep.
const GROWN: usize = 4096;

/// So many small ones do too: the buffer doubles when they come faster than they are used up. A fresh one costs less than
/// 0.1 us a frame then, and a session that falls quiet after a burst is as small as before instead of 4 to 8 KiB larger.
const GROWN_AFTER: u32 = 8;

/// A message may take so many times `stale_after`: by default a minute, in which 16 MiB come over 2.3 Mbit/s.
const MESSAGE_TIMES: u32 = 10;

pub struct Wire {
    web: WebSocketContext,
    stream: Watched,
}

impl Wire {
    /// Reads on behind the handshake, of whose answer `rest` was read too much. Until `be_patient` every read ends at `deadline`.
    pub fn new(
        socket: Arc<UpstreamSocket>,
        rest: Vec<u8>,
        intake: Intake,
        deadline: Instant,
    ) -> Wire {
        let message_max = intake.message_max;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(message_max))
            .max_frame_size(Some(message_max));
        let mut boundaries = Boundaries::default();
        boundaries.pass(&rest);
        let (deadline, since) = (Some(deadline), Instant::now());
        let stream = Watched { socket, deadline, since, intake, boundaries, empty: false };
        let web = WebSocketContext::from_partially_read(rest, Role::Client, Some(config));
        Wire { web, stream }
    }

    /// From now on a read may wait for so long, or for ever.
    pub fn be_patient(&mut self, wait: Option<Duration>) {
        self.stream.deadline = None;
        // Fails for a time of 0 only.
        let _ = self.socket().read_timeout(wait);
    }

    pub fn socket(&self) -> &Arc<UpstreamSocket> {
        &self.stream.socket
    }

    /// The next message. The answer to a ping is sent by the call after the one that returned it.
    pub fn read(&mut self) -> Result<Message, Error> {
        loop {
            match self.web.read(&mut self.stream) {
                Err(Error::Io(_)) if self.stream.empty => {
                    self.web = WebSocketContext::new(Role::Client, Some(*self.web.get_config()));
                    self.stream.boundaries = Boundaries::default();
                    self.stream.empty = false;
                }
                result => return result,
            }
        }
    }

    /// The message that was read is gone: what is kept of it counts where that is.
    pub fn forget_message(&mut self) {
        self.stream.intake.needs(self.stream.boundaries.unread_bytes());
    }

    /// Sends what is owed: the answer to a close frame.
    pub fn flush(&mut self) {
        // The link ends anyway, with or without it.
        let _ = self.web.flush(&mut self.stream);
    }
}

pub fn text_frame(text: &str) -> io::Result<Vec<u8>> {
    let text = tungstenite::Bytes::copy_from_slice(text.as_bytes());
    masked(Frame::message(text, OpCode::Data(Data::Text), true))
}

/// A close frame as a client sends it. `reason` is at most 123 bytes.
pub fn close_frame(code: u16, reason: &'static str) -> io::Result<Vec<u8>> {
    masked(Frame::close(Some(CloseFrame { code: code.into(), reason: reason.into() })))
}

/// RFC 6455, section 5.3: each frame of a client is masked with bytes that cannot be foreseen.
fn masked(mut frame: Frame) -> io::Result<Vec<u8>> {
    let mut mask = [0; 4];
    getrandom::fill(&mut mask).map_err(io::Error::other)?;
    frame.header_mut().mask = Some(mask);
    let mut bytes = Vec::with_capacity(frame.len());
    frame.format(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// What bounds the messages that are read.
pub struct Intake {
    pub message_max: usize,
    /// How long one waits for room, and a `MESSAGE_TIMES`th of what one may take.
    pub stale_after: Duration,
    /// The memory of those that are not whole yet.
    pub share: Share,
    /// Ends the wait for room.
    pub line: Arc<Line>,
}

impl Intake {
    /// The bytes to count for a message of so many, and what is counted beyond them is given back: twice as many, since it is
    /// copied to where it is kept. None up to `GROWN`, which the cost of an idle session covers.
    fn needs(&mut self, bytes: usize) -> usize {
        let needed = if bytes > GROWN { bytes.saturating_mul(2) } else { 0 };
        if needed < self.share.counted() {
            self.share.set(needed);
        }
        needed
    }

    /// Waits for room for a message of so many bytes.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let needed = self.needs(bytes);
        self.share.count_as(Held::incoming(bytes));
        let max = self.share.budget().max();
        if bytes > max && bytes <= self.message_max {
            let why =
                format!("a message over --max-message: --max-memory has room for {max} bytes");
            return Err(io::Error::other(why));
        }
        let deadline = Instant::now() + self.stale_after;
        // What is over `message_max` fails without taking memory.
        while bytes <= self.message_max && !self.share.try_set_or_alone(needed) {
            if self.line.is_closing() || Instant::now() >= deadline {
                return Err(io::Error::other("no room for a long message (--max-memory)"));
            }
            thread::park_timeout(ROOM_PAUSE);
        }
        Ok(())
    }
}

struct Watched {
    socket: Arc<UpstreamSocket>,
    deadline: Option<Instant>,
    /// When the message began that is being read, or was read last.
    since: Instant,
    intake: Intake,
    boundaries: Boundaries,
    /// Set with the error that asks `Wire::read` to begin anew.
    empty: bool,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Asked for more at a boundary: the caller has used up everything before it.
        if self.boundaries.grown && self.boundaries.at_boundary() {
            self.empty = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if let Some(deadline) = self.deadline {
            self.socket.read_timeout(Some(left(deadline)?))?;
        }
        let at_boundary = self.boundaries.at_boundary();
        let max = self.intake.stale_after.saturating_mul(MESSAGE_TIMES);
        if !at_boundary && self.since.elapsed() > max {
            // A byte now and then is no sign of life.
            return Err(ErrorKind::TimedOut.into());
        }
        self.intake.make_room(self.boundaries.unread_bytes())?;
        let size = self.socket.read(buffer)?;
        if self.boundaries.pass(&buffer[..size]) || at_boundary {
            self.since = Instant::now();
        }
        Ok(size)
    }
}

impl Write for Watched {
    /// Takes whole frames: with a write buffer of 0 each comes in one call.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.send(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where frames and messages end in the bytes that went by.
#[derive(Default)]
struct Boundaries {
    /// The start of a header that is not whole yet.
    header: Vec<u8>,
    payload_left: usize,
    inside_message: bool,
    /// Of the newest message.
    message_bytes: usize,
    frames: u32,
    grown: bool,
}

impl Boundaries {
    fn at_boundary(&self) -> bool {
        self.header.is_empty() && self.payload_left == 0 && !self.inside_message
    }

    /// Of the message that is not whole yet, as far as its frames are known.
    fn unread_bytes(&self) -> usize {
        if self.at_boundary() { 0 } else { self.message_bytes }
    }

    /// Whether another message began.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut began = false;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let size = self.payload_left.min(bytes.len());
                self.payload_left -= size;
                bytes = &bytes[size..];
                continue;
            }
            self.header.push(first);
            bytes = rest;
            // A header that cannot be read ends the link in `tungstenite` before it matters here.
            if let Ok(Some((header, size))) = FrameHeader::parse(&mut Cursor::new(&self.header)) {
                began |= !self.inside_message;
                self.begin(&header, usize::try_from(size).unwrap_or(usize::MAX));
            }
        }
        began
    }

    fn begin(&mut self, header: &FrameHeader, size: usize) {
        self.header.clear();
        self.payload_left = size;
        let before = if self.inside_message { self.message_bytes } else { 0 };
        self.message_bytes = size.saturating_add(before);
        self.frames = self.frames.saturating_add(1);
        self.grown |= size > GROWN || self.frames >= GROWN_AFTER;
        if matches!(header.opcode, OpCode::Data(_)) {
            self.inside_message = !header.is_final;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::memory::{Budget, Held};

    fn pair() -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let address = listener.local_addr().unwrap().into();
        let socket = UpstreamSocket::connect(&address, None, deadline).unwrap();
        socket.connected(deadline, deadline).unwrap();
        let intake = Intake {
            message_max: 1 << 20,
            stale_after: Duration::from_secs(1),
            share: Budget::new(1 << 30).share(Held::Incoming),
            line: Arc::default(),
        };
        let wire = Wire::new(Arc::new(socket), Vec::new(), intake, deadline);
        (listener.accept().unwrap().0, wire)
    }

    fn frame(first: u8, size: u16) -> Vec<u8> {
        let mut bytes = vec![first, 126];
        bytes.extend(size.to_be_bytes());
        bytes.resize(4 + usize::from(size), b'x');
        bytes
    }

    const TEXT: u8 = 0x81;
    const TEXT_BEGINS: u8 = 0x01;
    const TEXT_ENDS: u8 = 0x80;

    #[test]
    fn the_buffer_of_a_big_frame_goes_when_everything_is_read() {
        let (mut peer, mut wire) = pair();
        let reader = move || {
            let sizes: Vec<_> = (0..3).map(|_| wire.read().unwrap().len()).collect();
            // Returns with the end of the connection, hence after it has asked for more.
            assert!(wire.read().is_err());
            (sizes, wire.stream.boundaries.grown)
        };
        let reader = std::thread::Builder::new().name("reader".to_owned()).spawn(reader).unwrap();

        for size in [60_000, 10, 5_000] {
            peer.write_all(&frame(TEXT, size)).unwrap();
        }
        drop(peer);

        assert_eq!(reader.join().unwrap(), (vec![60_000, 10, 5_000], false));
    }

    #[test]
    fn no_part_of_a_message_goes_with_it() {
        let (mut peer, mut wire) = pair();
        let reader = move || wire.read().unwrap().len();
        let reader = std::thread::Builder::new().name("reader".to_owned()).spawn(reader).unwrap();

        for (first, size) in [(TEXT_BEGINS, 60_000), (TEXT_ENDS, 10)] {
            peer.write_all(&frame(first, size)).unwrap();
        }

        assert_eq!(reader.join().unwrap(), 60_010);
    }

    #[test]
    fn boundaries_are_found_wherever_the_bytes_are_cut() {
        let mut bytes = frame(TEXT, 300);
        bytes.extend(frame(TEXT_BEGINS, 70));
        bytes.extend([0x89, 2, b'h', b'i']);
        bytes.extend(frame(TEXT_ENDS, 5_000));
        for cut in 1..50 {
            let (mut boundaries, mut passed, mut found) = (Boundaries::default(), 0, Vec::new());
            for part in bytes.chunks(cut) {
                boundaries.pass(part);
                passed += part.len();
                if boundaries.at_boundary() {
                    found.push(passed);
                }
            }
            let reached = |end: &usize| end % cut == 0 || *end == bytes.len();
            let expected: Vec<_> = [304, bytes.len()].into_iter().filter(reached).collect();
            assert_eq!(found, expected, "{cut}");
            assert!(boundaries.grown);
        }
    }
}
