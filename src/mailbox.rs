//! A mailbox: the events one session keeps for listeners that come and go.
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
//! Arithmetic: kept is `oldest..=last`; a cursor is the last place that its listener has; what lies between the cursor
//! and `oldest` is gone. Resume, acknowledgement, takeover and `dropped` are all this subtraction.
//! When full: the oldest event goes, and a listener that needed it is told how many it missed.

mod log;

use log::Log;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes handed to a listener at a time, the first event whatever its size: a write of this size costs a system call
/// for some thirty small events, and holds up a takeover by one buffer at most.
const BATCH_BYTES: usize = 16 * 1024;

/// What an event is counted for beside its text: its length, and its share of the room that the log keeps free.
const EVENT_OVERHEAD: usize = 64;

/// Notices that wait for one listener. At the bound the oldest goes: the newest says how things are.
const NOTICES_MAX: usize = 64;

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

pub type Placed<'a> = (u64, &'a str);

#[derive(Debug, Default)]
pub struct Batch {
    text: String,
    /// Each event's place, and where it ends in the text.
    ends: Vec<(u64, usize)>,
}

impl Batch {
    /// The events that fit, one at least, of those that are there.
    fn of<'a>(events: impl Iterator<Item = Placed<'a>>) -> Batch {
        let mut batch = Batch::default();
        for (place, event) in events {
            if !batch.is_empty() && batch.text.len() + event.len() > BATCH_BYTES {
                break;
            }
            batch.text.push_str(event);
            batch.ends.push((place, batch.text.len()));
        }
        batch
    }

    pub fn iter(&self) -> impl Iterator<Item = Placed<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts.zip(&self.ends).map(|(start, (place, end))| (*place, &self.text[start..*end]))
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    fn last(&self) -> Option<u64> {
        self.ends.last().map(|(place, _)| *place)
    }
}

#[derive(Debug)]
pub enum Next {
    /// `missed` events that are gone, then these.
    Events { missed: u64, events: Batch },
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

pub struct Mailbox {
    log: Log,
    oldest: u64,
    bytes: usize,
    bounds: Bounds,
    delivered: u64,
    listeners: Vec<Attached>,
    /// Something came since the listeners were called last.
    called: bool,
    keys: u64,
    /// Bytes of all notices that wait, each listener counted.
    notice_bytes: usize,
    /// When every listener had what: the ages by which events are forgotten.
    marks: VecDeque<(Instant, u64)>,
}

impl Mailbox {
    /// An empty mailbox; its first event will have place 1.
    pub fn new(bounds: Bounds) -> Mailbox {
        Mailbox {
            log: Log::default(),
            oldest: 1,
            bytes: 0,
            bounds,
            delivered: 0,
            // Most have one; four would be taken at once.
            listeners: Vec::with_capacity(1),
            called: false,
            keys: 0,
            notice_bytes: 0,
            marks: VecDeque::new(),
        }
    }

    /// Adds the newest event for every listener, and keeps the bounds. It comes in parts, so that a large one is copied once.
    pub fn push(&mut self, event: &[&str]) {
        self.bytes += cost(self.log.push(event));
        while self.log.len() > self.bounds.events || self.bytes > self.bounds.bytes {
            if !self.forget_oldest() {
                break;
            }
        }
        self.call();
    }

    /// Tells every listener, after what has been pushed before.
    pub fn tell(&mut self, notice: &Notice) {
        let place = self.last();
        for listener in &mut self.listeners {
            let full = listener.notices.len() == NOTICES_MAX;
            let oldest = if full { listener.notices.pop_front() } else { None };
            self.notice_bytes -= oldest.map_or(0, |(_, notice)| notice.data.len());
            self.notice_bytes += notice.data.len();
            listener.notices.push_back((place, notice.clone()));
        }
        self.call();
    }

    /// The place of the newest event, kept or not; 0 before the first.
    pub fn last(&self) -> u64 {
        self.oldest + self.log.len() as u64 - 1
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn notice_bytes(&self) -> usize {
        self.notice_bytes
    }

    /// Bytes of what may be forgotten without forgetting the newest.
    pub fn spare_bytes(&self) -> usize {
        self.bytes - self.log.newest().map_or(0, cost)
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
        (self.oldest - 1).saturating_sub(cursor)
    }

    /// The kept events after `cursor`, oldest first.
    pub fn after(&self, cursor: u64) -> impl Iterator<Item = Placed<'_>> + '_ {
        let skipped = (cursor + 1).saturating_sub(self.oldest);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.log.len());
        let first = self.oldest + skipped as u64;
        (first..).zip(self.log.after(skipped))
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
        let Some(at) = self.listeners.iter().position(|listener| listener.key == key) else {
            return;
        };
        let waiting = self.listeners.remove(at).notices;
        self.notice_bytes -= waiting.iter().map(|(_, notice)| notice.data.len()).sum::<usize>();
    }

    /// What this listener gets next; what it got before is thereby known to be written. `has_room` is asked for the bytes of an
    /// event that is larger than a batch.
    pub fn next(&mut self, key: Key, has_room: impl FnOnce(usize) -> bool) -> Next {
        self.confirm(key);
        let gone = self.oldest - 1;
        let last = self.last();
        let Some(listener) = self.listeners.iter_mut().find(|listener| listener.key == key) else {
            return Next::Nothing;
        };
        let missed = gone.saturating_sub(listener.cursor);
        let cursor = listener.cursor.max(gone);
        let until = match listener.notices.front() {
            Some((place, _)) if *place <= cursor && missed == 0 => {
                let Some((_, notice)) = listener.notices.pop_front() else { return Next::Nothing };
                self.notice_bytes -= notice.data.len();
                return Next::Notice { place: cursor, notice };
            }
            Some((place, _)) => *place,
            None => last,
        };
        let mut events = self.after(cursor).take_while(|(place, _)| *place <= until).peekable();
        let bytes = events.peek().map_or(0, |(_, event)| event.len());
        if bytes > BATCH_BYTES && !has_room(bytes) {
            return Next::NoRoom;
        }
        let events = Batch::of(events);
        if events.is_empty() && missed == 0 {
            return Next::Nothing;
        }
        self.set_cursor(key, events.last().unwrap_or(cursor));
        Next::Events { missed, events }
    }

    /// What this listener was handed last is written.
    pub fn confirm(&mut self, key: Key) {
        if let Some(listener) = self.listeners.iter_mut().find(|listener| listener.key == key) {
            listener.delivered = listener.cursor;
            self.delivered = self.delivered.max(listener.delivered);
        }
    }

    /// The listeners are to look: there is something for one of them beside events.
    pub fn call(&mut self) {
        self.called = true;
    }

    /// Whether the listeners are to look. The caller wakes them.
    pub fn take_call(&mut self) -> bool {
        std::mem::take(&mut self.called)
    }

    pub fn forget_through(&mut self, place: u64) {
        while self.oldest <= place && !self.log.is_empty() {
            self.drop_oldest();
        }
    }

    /// Forgets the oldest event, unless it is the newest. Whether there was one to forget.
    pub fn forget_oldest(&mut self) -> bool {
        let more_than_one = self.log.len() > 1;
        if more_than_one {
            self.drop_oldest();
        }
        more_than_one
    }

    /// Forgets what every listener was sent more than twice `window` ago: no listener can come back for it. While there is no
    /// listener nothing is forgotten. To be called a few times in each `window`; looks at the clock through `now` only.
    pub fn forget_by_age(&mut self, now: Instant, window: Duration) {
        let Some(safe) = self.listeners.iter().map(|listener| listener.delivered).min() else {
            return;
        };
        if self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) >= window / 4) {
            self.marks.push_back((now, safe));
        }
        let old = |(at, _): &(Instant, _)| now.duration_since(*at) >= window * 2;
        while let Some((_, place)) = self.marks.front().copied().filter(old) {
            self.marks.pop_front();
            // A listener that came since and reads from further back keeps what it has not been sent.
            self.forget_through(place.min(safe));
        }
        self.log.shrink();
    }

    /// Notes that this listener is being given everything up to `place`; it counts while the listener is there, and for ever
    /// once it is confirmed.
    pub fn set_cursor(&mut self, key: Key, place: u64) {
        if let Some(listener) = self.listeners.iter_mut().find(|listener| listener.key == key) {
            listener.cursor = place;
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(length) = self.log.pop() {
            let cost = cost(length);
            self.bytes -= cost;
            self.oldest += 1;
        }
    }
}

fn cost(length: usize) -> usize {
    length + EVENT_OVERHEAD
}

#[cfg(test)]
mod tests;
