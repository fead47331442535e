//! The upstream's one thread: accepts, reads what the sessions say, answers, pings.
//!
//! Owns: the epoll and what came from each connection so far.
//! Waits: in `epoll` only, at most until the next ping or the next look at `stop`.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use serde_json::Value;

use super::Slots;
use crate::mark::{IDENTIFIER_TEXT, scan};
use crate::websocket::{self, Frame};

/// ActionCable's. All sessions are pinged at once, as Rails does it.
const PING_EVERY: Duration = Duration::from_secs(3);

/// How soon a server that is to stop does.
const LOOK: Duration = Duration::from_millis(50);

const ROUND: usize = 256;
const READ_BYTES: usize = 16 * 1024;

/// The listener's number; a guest's is its place in `guests`.
const LISTENER: u64 = u64::MAX;

struct Guest {
    stream: Arc<TcpStream>,
    /// What came and is not a whole head or frame yet.
    input: Vec<u8>,
    /// Known once its head is there.
    slot: Option<usize>,
}

pub struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    guests: Vec<Option<Guest>>,
    slots: Arc<Slots>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub fn new(listener: TcpListener, slots: Arc<Slots>, stop: Arc<AtomicBool>) -> Server {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).unwrap();
        Server { epoll, listener, guests: Vec::new(), slots, stop }
    }

    pub fn run(mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(ROUND);
        let mut next_ping = Instant::now() + PING_EVERY;
        let look = LOOK.try_into().unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            // EINTR is a round without events.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&look));
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    guest => self.read(usize::try_from(guest).unwrap()),
                }
            }
            if Instant::now() >= next_ping {
                self.ping();
                next_ping += PING_EVERY;
            }
        }
    }

    fn accept(&mut self) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => Arc::new(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A client that left before it was accepted is no reason to end.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => panic!("the upstream can not accept: {error}"),
            };
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            let number = EventData::new_u64(self.guests.len() as u64);
            epoll::add(&self.epoll, &stream, number, EventFlags::IN).unwrap();
            self.guests.push(Some(Guest { stream, input: Vec::new(), slot: None }));
        }
    }

    fn read(&mut self, number: usize) {
        let Some(guest) = self.guests[number].as_mut() else { return };
        let mut buffer = [0; READ_BYTES];
        let goes_on = match guest.stream.as_ref().read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => guest.take(&buffer[..read], &self.slots),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        if !goes_on {
            self.part(number);
        }
    }

    /// A session that has gone: its slot is free for another connection.
    fn part(&mut self, number: usize) {
        let Some(guest) = self.guests[number].take() else { return };
        let _ = epoll::delete(&self.epoll, &guest.stream);
        if let Some(slot) = guest.slot {
            let mut out = self.slots.slot(slot).out.lock();
            if out.stream.as_ref().is_some_and(|stream| Arc::ptr_eq(stream, &guest.stream)) {
                out.stream = None;
            }
        }
    }

    fn ping(&self) {
        let ping = websocket::text(r#"{"type":"ping","message":1767225600}"#);
        for guest in self.guests.iter().flatten() {
            let slot = guest.slot.map(|slot| self.slots.slot(slot));
            // One that does not keep up has other signs of life.
            if let Some(slot) = slot.filter(|slot| !slot.is_behind()) {
                slot.write(&ping);
            }
        }
    }
}

impl Guest {
    /// Does what these bytes ask for. False once it has closed.
    fn take(&mut self, bytes: &[u8], slots: &Slots) -> bool {
        self.input.extend_from_slice(bytes);
        if self.slot.is_none() {
            self.shake_hands(slots);
        }
        let Some(slot) = self.slot else { return true };
        while let Some((frame, used)) = websocket::first_frame(&self.input) {
            self.input.drain(..used);
            if frame.opcode == websocket::CLOSE {
                return false;
            }
            if frame.opcode == websocket::TEXT {
                obey(&frame, slot, slots);
            }
        }
        true
    }

    fn shake_hands(&mut self, slots: &Slots) {
        let Some(end) = websocket::head_end(&self.input) else { return };
        let head: Vec<u8> = self.input.drain(..end).collect();
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        request.parse(&head).unwrap();
        let number = request.path.and_then(|path| path.split_once("slot="));
        let slot = number.and_then(|(_, number)| number.parse().ok()).expect("a slot");
        let key = request.headers.iter().find(|h| h.name.eq_ignore_ascii_case("sec-websocket-key"));
        let mut answer = websocket::accept(key.expect("a key").value).into_bytes();
        answer.extend(websocket::text(r#"{"type":"welcome"}"#));
        slots.slot(slot).out.lock().stream = Some(Arc::clone(&self.stream));
        slots.slot(slot).write(&answer);
        self.slot = Some(slot);
    }
}

/// One command: a subscription is confirmed, a message comes back.
fn obey(frame: &Frame, slot: usize, slots: &Slots) {
    let command: Value = serde_json::from_slice(&frame.payload).expect("a command is JSON");
    let place = slots.slot(slot);
    match command["command"].as_str() {
        Some("subscribe") => {
            let text =
                format!(r#"{{"identifier":{IDENTIFIER_TEXT},"type":"confirm_subscription"}}"#);
            place.write(&websocket::text(&text));
            place.subscribed.store(true, Ordering::Relaxed);
        }
        Some("message") => {
            let mut echo = Vec::new();
            scan(&frame.payload, |mark| mark.put_frame(&mut echo));
            place.write(&echo);
        }
        other => panic!("a command that nobody sends here: {other:?}"),
    }
}
