//! The WebSocket of one upstream: `tungstenite` over our socket, and its buffer kept small.
//!
//! `tungstenite` keeps the buffer of the largest frame it ever read. So the boundaries of frames are
//! watched here, and a `WebSocket` that has grown is replaced by a fresh one at the first moment at which
//! it holds no bytes: after a big message an idle session is as small as before.
//! Never: looks into a message.

use super::socket::{UpstreamSocket, left};
use super::thread::Line;
use crate::memory::{ROOM_PAUSE, Share};
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// What an idle session keeps to read into. Bursts cost a few reads more than with a larger one.
const READ_BUFFER: usize = 640;

/// A frame over this makes the buffer grow beyond what an idle session should keep.
const GROWN: u64 = 4096;

/// So many small ones do too: the buffer doubles when they come faster than they are used up. A fresh one costs less than
/// 0.1 us a frame then, and a session that falls quiet after a burst is as small as before instead of 4 to 8 KiB larger.
const GROWN_AFTER: u32 = 8;

pub struct Wire {
    web: WebSocket<Watched>,
    config: WebSocketConfig,
}

impl Wire {
    /// Reads on behind the handshake, of whose answer `rest` was read too much. Until `forget_deadline`
    /// every read ends at `deadline`.
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
        let mut frames = Boundaries::default();
        frames.pass(&rest);
        let (deadline, since) = (Some(deadline), Instant::now());
        let watched = Watched { socket, deadline, since, intake, frames, empty: false };
        let web = WebSocket::from_partially_read(watched, rest, Role::Client, Some(config));
        Wire { web, config }
    }

    /// From now on reads have no deadline but the timeout that the socket was given.
    pub fn forget_deadline(&mut self) {
        self.web.get_mut().deadline = None;
    }

    pub fn socket(&self) -> &Arc<UpstreamSocket> {
        &self.web.get_ref().socket
    }

    /// The next message. The answer to a ping is sent by the call after the one that returned it.
    pub fn read(&mut self) -> Result<Message, Error> {
        loop {
            match self.web.read() {
                Err(Error::Io(_)) if self.web.get_ref().empty => self.renew(),
                result => return result,
            }
        }
    }

    /// The message that was read is gone: what is kept of it counts where that is.
    pub fn forget_message(&mut self) {
        let watched = self.web.get_mut();
        watched.intake.needs(watched.frames.unread_bytes());
    }

    fn renew(&mut self) {
        let old = self.web.get_ref();
        let (socket, intake) = (Arc::clone(&old.socket), old.intake.fresh());
        let fresh = Watched { socket, intake, frames: Boundaries::default(), empty: false, ..*old };
        self.web = WebSocket::from_raw_socket(fresh, Role::Client, Some(self.config));
    }

    /// Sends what is owed: the answer to a close frame.
    pub fn flush(&mut self) {
        // The link ends anyway, with or without it.
        let _ = self.web.flush();
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
    /// From its first byte to its last; one that is not whole by then fails with `TimedOut`.
    pub message_time: Duration,
    /// The memory of those that are not whole yet, and how long one waits for room in it.
    pub share: Share,
    pub room_within: Duration,
    /// Ends that wait.
    pub line: Arc<Line>,
}

impl Intake {
    /// The same, with nothing in it.
    fn fresh(&self) -> Intake {
        Intake { share: self.share.fresh(), line: Arc::clone(&self.line), ..*self }
    }

    /// What a message of so many bytes needs, and nothing beyond it: twice that, since where it is kept it is a copy. Short ones
    /// need nothing: they are what an idle session costs.
    fn needs(&mut self, bytes: u64) -> usize {
        let needed = if bytes > GROWN { length(bytes).saturating_mul(2) } else { 0 };
        if needed < self.share.counted() {
            self.share.set(needed);
        }
        needed
    }

    /// Waits for room for a message of so many bytes.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let (needed, bytes) = (self.needs(bytes), length(bytes));
        let max = self.share.budget().max();
        if bytes > max && bytes <= self.message_max {
            let why =
                format!("a message over --max-message: --max-memory has room for {max} bytes");
            return Err(io::Error::other(why));
        }
        let deadline = Instant::now() + self.room_within;
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

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

struct Watched {
    socket: Arc<UpstreamSocket>,
    deadline: Option<Instant>,
    /// When the message began that is being read, or was read last, and how long one may take.
    since: Instant,
    intake: Intake,
    frames: Boundaries,
    /// Set with the error that asks `Wire::read` for a fresh `WebSocket`.
    empty: bool,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Asked for more at a boundary: the caller has used up everything before it.
        if self.frames.grown && self.frames.at_boundary() {
            self.empty = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if let Some(deadline) = self.deadline {
            self.socket.read_timeout(Some(left(deadline)?))?;
        }
        let at_boundary = self.frames.at_boundary();
        if !at_boundary && self.since.elapsed() > self.intake.message_time {
            // A byte now and then is no sign of life.
            return Err(ErrorKind::TimedOut.into());
        }
        self.intake.make_room(self.frames.unread_bytes())?;
        let size = self.socket.read(buffer)?;
        if self.frames.pass(&buffer[..size]) || at_boundary {
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
    payload_left: u64,
    inside_message: bool,
    /// Of the newest message.
    message_bytes: u64,
    frames: u32,
    grown: bool,
}

impl Boundaries {
    fn at_boundary(&self) -> bool {
        self.header.is_empty() && self.payload_left == 0 && !self.inside_message
    }

    /// Of the message that is not whole yet, as far as its frames are known.
    fn unread_bytes(&self) -> u64 {
        if self.at_boundary() { 0 } else { self.message_bytes }
    }

    /// Whether another message began.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut began = false;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.payload_left > 0 {
                let size = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= size;
                bytes = &bytes[size as usize..];
                continue;
            }
            self.header.push(first);
            bytes = rest;
            // A header that cannot be read ends the link in `tungstenite` before it matters here.
            if let Ok(Some((header, size))) = FrameHeader::parse(&mut Cursor::new(&self.header)) {
                began |= !self.inside_message;
                self.begin(&header, size);
            }
        }
        began
    }

    fn begin(&mut self, header: &FrameHeader, size: u64) {
        self.header.clear();
        self.payload_left = size;
        self.message_bytes = size.saturating_add(match self.inside_message {
            true => self.message_bytes,
            false => 0,
        });
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

    use super::super::socket::Place;
    use super::*;
    use crate::memory::{Budget, Held};

    fn pair() -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let socket =
            UpstreamSocket::connect(&Place::Tcp(listener.local_addr().unwrap()), None).unwrap();
        socket.connected(deadline, deadline).unwrap();
        let intake = Intake {
            message_max: 1 << 20,
            message_time: Duration::from_secs(60),
            share: Budget::new(1 << 30).share(Held::Incoming),
            room_within: Duration::from_secs(1),
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
            (sizes, wire.web.get_ref().frames.grown)
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
            let (mut frames, mut passed, mut found) = (Boundaries::default(), 0, Vec::new());
            for part in bytes.chunks(cut) {
                frames.pass(part);
                passed += part.len();
                if frames.at_boundary() {
                    found.push(passed);
                }
            }
            let reached = |end: &usize| end % cut == 0 || *end == bytes.len();
            let expected: Vec<_> = [304, bytes.len()].into_iter().filter(reached).collect();
            assert_eq!(found, expected, "{cut}");
            assert!(frames.grown);
        }
    }
}
