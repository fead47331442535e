//! The clients: all of one kind, on one thread and one epoll, so that their cost is small beside what they measure.
//!
//! Owns: the connections, the ages of the messages, what was lost or came twice.
//! Never: parses a message. `mark::scan` finds the 31 bytes that matter.
//! A client that is refused, or whose connection ends, is a panic: its figures would be those of another case.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::clock::{now, wait_for};
use crate::mark::{IDENTIFIER_TEXT, scan};
use crate::upstream::Slots;
use crate::{http, websocket};

/// Opened one after the other without a look at the ones before, where it is not the opening that is measured.
const PORTION: usize = 50;

const READ_BYTES: usize = 64 * 1024;
const ROUND: usize = 256;
const LOOK: Duration = Duration::from_millis(50);
const OPENED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An event stream of the bridge.
    Stream,
    /// A long poll of the bridge, and another as soon as it is answered.
    Poll,
    /// A WebSocket, which is what can go through the relay.
    Socket,
}

/// What the clients got.
#[derive(Default)]
pub struct Tally {
    /// Nanoseconds from each message's stamp to its arrival.
    pub ages: Vec<u64>,
    /// Numbers that were passed over.
    pub lost: u64,
    pub twice: u64,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    ready: AtomicUsize,
}

pub struct Crowd {
    shared: Arc<Shared>,
    thread: JoinHandle<Tally>,
    size: usize,
}

impl Crowd {
    /// Opens these sessions and waits until they are open; `at_once`: all of them before any is looked at.
    pub fn open(
        kind: Kind,
        port: u16,
        slots: &Arc<Slots>,
        range: Range<usize>,
        at_once: bool,
    ) -> Crowd {
        let shared = Arc::new(Shared::default());
        let size = range.len();
        let work = Work {
            kind,
            port,
            slots: Arc::clone(slots),
            shared: Arc::clone(&shared),
            epoll: epoll::create(CreateFlags::CLOEXEC).unwrap(),
            members: Vec::with_capacity(size),
            tally: Tally::default(),
            portion: if at_once { size } else { PORTION },
        };
        let thread = Builder::new().name("crowd".into()).spawn(move || work.run(range)).unwrap();
        let crowd = Crowd { shared, thread, size };
        wait_for("the clients' sessions open", OPENED_WITHIN, || crowd.is_open());
        crowd
    }

    fn is_open(&self) -> bool {
        assert!(!self.thread.is_finished(), "the clients' thread has ended");
        self.shared.ready.load(Ordering::Relaxed) == self.size
    }

    /// Lets every client go.
    pub fn close(self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the clients' thread does not panic")
    }
}

#[derive(PartialEq, Eq)]
enum Stage {
    /// The head of the answer is not whole yet.
    Head,
    /// It is, and the session's first words are not there.
    Opening,
    Open,
}

struct Member {
    stream: TcpStream,
    slot: usize,
    stage: Stage,
    /// What came and is not used up.
    kept: Vec<u8>,
    /// The number that is due.
    next: u32,
}

struct Work {
    kind: Kind,
    port: u16,
    slots: Arc<Slots>,
    shared: Arc<Shared>,
    epoll: OwnedFd,
    members: Vec<Member>,
    tally: Tally,
    portion: usize,
}

impl Work {
    fn run(mut self, mut range: Range<usize>) -> Tally {
        let mut events: Vec<Event> = Vec::with_capacity(ROUND);
        let mut buffer = vec![0; READ_BYTES];
        let look = LOOK.try_into().unwrap();
        while !self.shared.stop.load(Ordering::Relaxed) {
            if self.shared.ready.load(Ordering::Relaxed) == self.members.len() {
                range.by_ref().take(self.portion).for_each(|slot| self.begin(slot));
            }
            // EINTR is a round without events.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&look));
            for event in events.drain(..) {
                self.read(usize::try_from(event.data.u64()).unwrap(), &mut buffer);
            }
        }
        self.tally
    }

    fn begin(&mut self, slot: usize) {
        let request = match self.kind {
            Kind::Stream => http::stream_request(slot),
            Kind::Poll => http::poll_request(slot),
            Kind::Socket => websocket::request(slot),
        };
        let mut stream = http::connect(self.port);
        stream.write_all(request.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let number = EventData::new_u64(self.members.len() as u64);
        epoll::add(&self.epoll, &stream, number, EventFlags::IN).unwrap();
        self.members.push(Member { stream, slot, stage: Stage::Head, kept: Vec::new(), next: 1 });
    }

    fn read(&mut self, number: usize, buffer: &mut [u8]) {
        let member = &mut self.members[number];
        let read = match member.stream.read(buffer) {
            Ok(0) => panic!("the connection of session {} ended", member.slot),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("the connection of session {} broke: {error}", member.slot),
        };
        member.kept.extend_from_slice(&buffer[..read]);
        if self.kind == Kind::Poll {
            member.take_answers(&mut self.tally, &self.slots, &self.shared);
            return;
        }
        if member.stage != Stage::Open && member.take_beginning(self.kind) {
            self.shared.ready.fetch_add(1, Ordering::Relaxed);
        }
        if member.stage == Stage::Open {
            let done = member.take_marks(member.kept.len(), &mut self.tally, &self.slots);
            member.kept.drain(..done);
        }
    }
}

impl Member {
    /// Looks for the session's first words. Whether they came now.
    fn take_beginning(&mut self, kind: Kind) -> bool {
        if self.stage == Stage::Head {
            let Some(end) = websocket::head_end(&self.kept) else { return false };
            let status = self.kept.get(9..12).map(<[u8]>::to_vec).unwrap_or_default();
            let head = String::from_utf8_lossy(&self.kept[..end]).into_owned();
            assert!(
                matches!(&status[..], b"200" | b"101"),
                "session {} refused: {head}",
                self.slot
            );
            self.kept.drain(..end);
            self.stage = Stage::Opening;
        }
        let words: &[u8] = if kind == Kind::Stream { br#""joined""# } else { br#""welcome""# };
        if !self.kept.windows(words.len()).any(|window| window == words) {
            return false;
        }
        self.stage = Stage::Open;
        if kind == Kind::Socket {
            let command = format!(r#"{{"command":"subscribe","identifier":{IDENTIFIER_TEXT}}}"#);
            self.stream.write_all(&websocket::masked_text(&command)).unwrap();
        }
        true
    }

    /// Uses up every whole answer, and asks again. The first, which tells of the subscription, opens the session.
    fn take_answers(&mut self, tally: &mut Tally, slots: &Slots, shared: &Shared) {
        while let Some(end) = http::whole(&self.kept) {
            self.take_marks(end, tally, slots);
            self.kept.drain(..end);
            self.stream.write_all(http::poll_request(self.slot).as_bytes()).unwrap();
            if self.stage != Stage::Open {
                self.stage = Stage::Open;
                shared.ready.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Notes the messages before `end`. How many bytes are done with.
    fn take_marks(&mut self, end: usize, tally: &mut Tally, slots: &Slots) -> usize {
        let at = now();
        let (slot, next) = (self.slot, &mut self.next);
        scan(&self.kept[..end], |mark| {
            assert_eq!(mark.slot, slot, "a message went astray");
            if mark.number < *next {
                tally.twice += 1;
                return;
            }
            tally.ages.push(at.saturating_sub(mark.at));
            tally.lost += u64::from(mark.number - *next);
            *next = mark.number + 1;
            slots.slot(slot).note(mark.number);
        })
    }
}
