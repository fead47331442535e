//! A mailbox: the events one session keeps for listeners that come and go ("What is kept" in `src/api.md`).
//!
//! Owns: the events' places (1, 2, 3, … for ever), the log of kept events, each listener's cursor.
//! Never: does I/O, starts a thread, or looks inside an event.
//! Flow: `session` pushes; `sse` and `poll` read what lies after their cursor.
//!
//! How far a message has come is told by four marks, each a place:
//!
//! | mark | everything up to it |
//! | --- | --- |
//! | stored: `last` | came from the upstream; what is kept of it is `oldest..=last` |
//! | `handed_out` | a listener has, or is being written just now: where one starts that wants what none has |
//! | `delivered` | is known to be written to a listener's socket, or acknowledged: a tunnel may forget it |
//! | `acked` (in `PollState`) | a poll's reply carried, or a poll acknowledged: where the next poll goes on |
//!
//! Arithmetic: kept is `oldest..=last`; a cursor is the last place that its listener has. Where `oldest - 1` is over the cursor,
//! the difference is what the listener missed, told as `dropped`; it goes on after the higher of the two.
//! When full: the oldest event goes, and a listener that needed it is told how many it missed.

mod log;

pub use log::{Log, Placed};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes handed to a listener at a time, the first event whatever its size: a write of this size costs a system call
/// for some thirty small events, and holds up a takeover by one buffer at most.
const BATCH_BYTES: usize = 16 * 1024;

/// What an event is counted for beside its text: its length, and its share of the room that the log keeps free.
const EVENT_OVERHEAD: usize = 64;

/// Notices that wait for a listener, and their bytes. At the bounds the oldest go: the newest, of any size, says how things are.
const NOTICES_MAX: usize = 64;
const NOTICE_BYTES_MAX: usize = 64 * 1024;

/// How much one mailbox keeps. The newest event is kept whatever its size.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub events: usize,
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

/// Something that listeners are told and that is not kept: it has no place of its own.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The SSE event's name; `None` is an unnamed one.
    pub name: Option<&'static str>,
    pub data: Arc<str>,
}

#[derive(Debug)]
pub enum Next {
    /// `missed` events that are gone, then copies of these.
    Events { missed: u64, events: Log },
    /// Something to be told at this place.
    Notice { place: u64, notice: Notice },
    /// There is a large event, and no room to hand it out: look again in a moment.
    NoRoom,
    /// Wait for a call.
    Nothing,
}

/// A listener, as the log knows it.
struct Attached {
    key: Key,
    /// The last place that was handed out to it.
    cursor: u64,
    /// The last place that is known to be written, or acknowledged.
    delivered: u64,
    notices: VecDeque<(u64, Notice)>,
}

impl Attached {
    fn notice_bytes(&self) -> usize {
        self.notices.iter().map(|(_, notice)| notice.data.len()).sum()
    }
}

pub struct Mailbox {
    log: Log,
    bounds: Bounds,
    delivered: u64,
    listeners: Vec<Attached>,
    /// The listeners have to be woken: something came since they were last.
    has_news: bool,
    keys: u64,
    /// Bytes of all notices that wait, each listener counted.
    notice_bytes: usize,
    /// Up to which place every listener had everything at which time, the oldest first: by this events are forgotten by age.
    delivered_at: VecDeque<(Instant, u64)>,
}

impl Mailbox {
    /// An empty mailbox; its first event will have place 1.
    pub fn new(bounds: Bounds) -> Mailbox {
        Mailbox {
            log: Log::new(1, 0),
            bounds,
            delivered: 0,
            // Most have one; four would be taken at once.
            listeners: Vec::with_capacity(1),
            has_news: false,
            keys: 0,
            notice_bytes: 0,
            delivered_at: VecDeque::new(),
        }
    }

    /// Adds the newest event for every listener, and keeps the bounds. It comes in parts, so that a large one is copied once.
    pub fn push(&mut self, event: &[&str]) {
        self.log.push(event);
        let Bounds { events, bytes } = self.bounds;
        while (self.log.len() > events || self.bytes() > bytes) && self.forget_oldest() {}
        self.wake_listeners();
    }

    /// Tells every listener, after what has been pushed before.
    pub fn tell(&mut self, notice: &Notice) {
        let place = self.last();
        for listener in &mut self.listeners {
            let mut bytes = listener.notice_bytes();
            self.notice_bytes -= bytes;
            bytes += notice.data.len();
            let waiting = &mut listener.notices;
            waiting.push_back((place, notice.clone()));
            while waiting.len() > NOTICES_MAX || bytes > NOTICE_BYTES_MAX && waiting.len() > 1 {
                bytes -= waiting.pop_front().map_or(0, |(_, oldest)| oldest.data.len());
            }
            self.notice_bytes += bytes;
        }
        self.wake_listeners();
    }

    /// The place of the newest event, kept or not; 0 before the first.
    pub fn last(&self) -> u64 {
        self.log.oldest() + self.log.len() as u64 - 1
    }

    /// What is kept.
    pub fn bytes(&self) -> usize {
        self.log.bytes() + self.log.len() * EVENT_OVERHEAD
    }

    pub fn notice_bytes(&self) -> usize {
        self.notice_bytes
    }

    /// Bytes of what may be forgotten without forgetting the newest.
    pub fn spare_bytes(&self) -> usize {
        self.bytes() - self.log.newest().map_or(0, cost)
    }

    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The last place that any listener has, or is being written just now: where a listener starts that wants what no other was sent.
    pub fn handed_out(&self) -> u64 {
        self.listeners.iter().map(|listener| listener.cursor).fold(self.delivered, u64::max)
    }

    /// Notes that a listener has everything up to `place`.
    pub fn set_delivered(&mut self, place: u64) {
        self.delivered = self.delivered.max(place.min(self.last()));
    }

    pub fn missed(&self, cursor: u64) -> u64 {
        (self.log.oldest() - 1).saturating_sub(cursor)
    }

    /// The kept events after `cursor`, oldest first: so many bytes, or one event.
    pub fn first_after(&self, cursor: u64, max: usize) -> impl Iterator<Item = Placed<'_>> + Clone {
        let (mut is_first, mut bytes) = (true, 0);
        self.log.after(cursor).take_while(move |(_, event)| {
            bytes += event.len();
            std::mem::take(&mut is_first) || bytes <= max
        })
    }

    /// Adds a listener that has everything up to `cursor`.
    pub fn attach(&mut self, cursor: u64) -> Key {
        self.keys += 1;
        let key = Key(self.keys);
        self.listeners.push(Attached { key, cursor, delivered: cursor, notices: VecDeque::new() });
        key
    }

    /// Takes a listener out. What it was handed last counts as not sent.
    pub fn detach(&mut self, key: Key) {
        let Some(at) = self.listeners.iter().position(|one| one.key == key) else { return };
        self.notice_bytes -= self.listeners.remove(at).notice_bytes();
    }

    /// What this listener gets next; what it got before is thereby known to be written. `has_room` is asked for the bytes of an
    /// event that is larger than a batch.
    pub fn next(&mut self, key: Key, has_room: impl FnOnce(usize) -> bool) -> Next {
        self.confirm(key);
        let gone = self.log.oldest() - 1;
        let last = self.last();
        let Some(listener) = self.listener(key) else { return Next::Nothing };
        let missed = gone.saturating_sub(listener.cursor);
        let cursor = listener.cursor.max(gone);
        // A notice comes after the events before it.
        let until = listener.notices.front().map_or(last, |(place, _)| *place);
        if until <= cursor && missed == 0 {
            let Some((_, notice)) = listener.notices.pop_front() else { return Next::Nothing };
            self.notice_bytes -= notice.data.len();
            return Next::Notice { place: cursor, notice };
        }
        let next = self.first_after(cursor, BATCH_BYTES);
        let next = next.take_while(|(place, _)| *place <= until);
        let bytes = next.clone().map(|(_, event)| event.len()).sum();
        if bytes > BATCH_BYTES && !has_room(bytes) {
            return Next::NoRoom;
        }
        let mut events = Log::new(cursor + 1, bytes);
        next.for_each(|(_, event)| events.push(&[event]));
        self.set_cursor(key, cursor + events.len() as u64);
        Next::Events { missed, events }
    }

    /// What this listener was handed last is written.
    pub fn confirm(&mut self, key: Key) {
        if let Some(listener) = self.listener(key) {
            let written = listener.cursor;
            listener.delivered = written;
            self.delivered = self.delivered.max(written);
        }
    }

    /// The listeners are to look: there is something for one of them beside events.
    pub fn wake_listeners(&mut self) {
        self.has_news = true;
    }

    /// Whether the listeners are to look. The caller wakes them.
    pub fn take_wake(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    pub fn forget_through(&mut self, place: u64) {
        while self.log.oldest() <= place && self.log.pop() {}
    }

    /// Forgets the oldest event, unless it is the newest. Whether there was one to forget.
    pub fn forget_oldest(&mut self) -> bool {
        self.log.len() > 1 && self.log.pop()
    }

    /// Forgets what every listener was sent more than twice `window` ago: no listener can come back for it. While there is no
    /// listener nothing is forgotten. To be called a few times in each `window`; looks at the clock through `now` only.
    pub fn forget_by_age(&mut self, now: Instant, window: Duration) {
        let Some(safe) = self.listeners.iter().map(|one| one.delivered).min() else { return };
        if self.delivered_at.back().is_none_or(|(at, _)| now.duration_since(*at) >= window / 4) {
            self.delivered_at.push_back((now, safe));
        }
        let old = |(at, _): &(Instant, _)| now.duration_since(*at) >= window * 2;
        while let Some((_, place)) = self.delivered_at.front().copied().filter(old) {
            self.delivered_at.pop_front();
            // A listener that came since and reads from further back keeps what it has not been sent.
            self.forget_through(place.min(safe));
        }
        self.log.shrink();
    }

    /// Notes that this listener is being given everything up to `place`: for as long as it is there; for ever once confirmed.
    pub fn set_cursor(&mut self, key: Key, place: u64) {
        if let Some(listener) = self.listener(key) {
            listener.cursor = place;
        }
    }

    fn listener(&mut self, key: Key) -> Option<&mut Attached> {
        self.listeners.iter_mut().find(|listener| listener.key == key)
    }
}

fn cost(length: usize) -> usize {
    length + EVENT_OVERHEAD
}

#[cfg(test)]
mod tests;
