//! One budget for the memory that clients and the server make the process hold (`--max-memory`).
//!
//! Owns: how much of each kind is held. A `Share` gives back what it counts when it is dropped.
//! Never: frees anything itself, or waits; what happens when there is no room is decided where the memory would be taken.
//! Messages are what can be forgotten: they have what the others leave, and the others have half of it at most. Of that half a
//! quarter is left to what is small by the large ones (`Held::is_large`): else a crowd of bodies would refuse each `send`.
//! Counts in steps: the first bytes of each share are what an idle session costs, and a message that changes no step touches no
//! counter that the cores have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes in which a share counts, rounded down.
const STEP: usize = 1024;

/// A message of up to so many bytes is a short one.
const SHORT: usize = 64 * 1024;

/// How long what waits for room waits before it looks again.
pub const ROOM_PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    Messages,
    /// Notices of listeners that do not read.
    Notices,
    /// Frames on their way up.
    Commands,
    /// Identifiers, and `send`s that wait for a confirmation.
    Channels,
    /// Cookies and other headers of the handshakes to come.
    Handshakes,
    /// What is remembered of ended sessions.
    Ended,
    /// Bodies of requests, for as long as anything holds them.
    Bodies,
    /// Answers to polls, until they are written.
    Answers,
    /// Long messages that are being written into streams.
    Writes,
    /// Short ones that are larger than a batch.
    ShortWrites,
    /// Long messages of the server that are not whole yet.
    Incoming,
    /// Short ones.
    ShortIncoming,
}

impl Held {
    /// The kind of a message of so many bytes on its way into a stream. Short ones are counted apart, on both ways, so that
    /// `try_set_or_alone` lets a sixteenth of the memory of them go on, whatever bodies that do not end and readers that are stuck
    /// hold; beyond that they wait as long ones do.
    pub fn writes(bytes: usize) -> Held {
        if bytes > SHORT { Held::Writes } else { Held::ShortWrites }
    }

    /// The kind of a message of so many bytes that the server sends.
    pub fn incoming(bytes: usize) -> Held {
        if bytes > SHORT { Held::Incoming } else { Held::ShortIncoming }
    }

    /// What comes in large pieces, and is given back as soon as it is read or written.
    fn is_large(self) -> bool {
        use Held::{Answers, Bodies, Incoming, ShortIncoming, ShortWrites, Writes};
        matches!(self, Bodies | Answers | Writes | ShortWrites | Incoming | ShortIncoming)
    }

    /// All of them in their order, with their names in the metrics. One that is missing here panics when it is first counted.
    pub const ALL: [(Held, &'static str); 12] = [
        (Held::Messages, "messages"),
        (Held::Notices, "notices"),
        (Held::Commands, "commands"),
        (Held::Channels, "channels"),
        (Held::Handshakes, "handshakes"),
        (Held::Ended, "ended"),
        (Held::Bodies, "bodies"),
        (Held::Answers, "answers"),
        (Held::Writes, "writes"),
        (Held::ShortWrites, "short_writes"),
        (Held::Incoming, "incoming"),
        (Held::ShortIncoming, "short_incoming"),
    ];
}

/// The memory of the process, shared by all that holds it.
#[derive(Debug)]
pub struct Budget {
    max: usize,
    each: [AtomicUsize; Held::ALL.len()],
}

impl Budget {
    pub fn new(max: usize) -> Arc<Budget> {
        Arc::new(Budget { max, each: Default::default() })
    }

    pub fn of(&self, kind: Held) -> usize {
        self.each[kind as usize].load(Ordering::Relaxed)
    }

    pub fn held(&self) -> usize {
        self.each.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    pub fn excess(&self) -> usize {
        self.held().saturating_sub(self.max)
    }

    /// Whether so many bytes more of anything but messages fit.
    pub fn fits(&self, more: usize) -> bool {
        let others = self.sum(|kind| kind != Held::Messages);
        // A large one that goes on although there is no room takes none from what is small.
        others.saturating_sub(self.large_excess()).saturating_add(more) <= self.max / 2
    }

    /// What the large ones hold beyond what leaves enough to the rest.
    fn large_excess(&self) -> usize {
        self.sum(Held::is_large).saturating_sub(self.max / 8 * 3)
    }

    fn sum(&self, counts: impl Fn(Held) -> bool) -> usize {
        let kinds = Held::ALL.iter().filter(|(kind, _)| counts(*kind));
        kinds.map(|(kind, _)| self.of(*kind)).sum()
    }

    pub fn max(&self) -> usize {
        self.max
    }

    pub fn share(self: &Arc<Self>, kind: Held) -> Share {
        Share { budget: Arc::clone(self), kind, counted: 0 }
    }
}

/// What one owner holds, until it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    kind: Held,
    counted: usize,
}

impl Share {
    pub fn counted(&self) -> usize {
        self.counted
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What the owner holds is of this kind from now on, whether or not there is room for it.
    pub fn count_as(&mut self, kind: Held) {
        if kind != self.kind {
            let counted = self.counted;
            self.set(0);
            self.kind = kind;
            self.set(counted);
        }
    }

    /// The owner holds so many bytes now, whether or not there is room for them.
    pub fn set(&mut self, bytes: usize) {
        let bytes = bytes - bytes % STEP;
        let of_kind = &self.budget.each[self.kind as usize];
        if bytes > self.counted {
            of_kind.fetch_add(bytes - self.counted, Ordering::Relaxed);
        } else if bytes < self.counted {
            of_kind.fetch_sub(self.counted - bytes, Ordering::Relaxed);
        }
        self.counted = bytes;
    }

    /// The owner holds so many bytes now, if there is room for what is new. Whether there was.
    pub fn try_set(&mut self, bytes: usize) -> bool {
        let before = self.counted;
        if bytes - bytes % STEP <= before {
            return true;
        }
        // Counted first: of two that come at once one may be refused too many, and none be taken too many.
        self.set(bytes);
        let is_too_large = self.kind.is_large() && self.budget.large_excess() > 0;
        let fits = self.budget.fits(0) && !is_too_large;
        if !fits {
            self.set(before);
        }
        fits
    }

    /// As `try_set`, but where next to nothing else of its kind is held (answers and writes are one kind here) it goes beyond the
    /// bound: so large ones go on one at a time, however little room there is.
    pub fn try_set_or_alone(&mut self, bytes: usize) -> bool {
        let goes_out = |kind| matches!(kind, Held::Writes | Held::Answers);
        let is_alike = |kind| kind == self.kind || goes_out(kind) && goes_out(self.kind);
        let all = self.budget.sum(is_alike);
        // Short answers to polls are always about.
        let alone = all.saturating_sub(self.counted) <= self.budget.max / 16;
        if alone {
            self.set(bytes.max(self.counted));
        }
        alone || self.try_set(bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_is_dropped_gives_back_what_it_held() {
        let budget = Budget::new(10 * STEP);
        let mut share = budget.share(Held::Commands);
        let mut other = budget.share(Held::Messages);
        share.set(3 * STEP);
        other.set(2 * STEP + 1);
        assert_eq!((budget.held(), budget.of(Held::Messages)), (5 * STEP, 2 * STEP));

        drop(share);

        assert_eq!((budget.held(), budget.of(Held::Commands)), (2 * STEP, 0));
    }

    #[test]
    fn what_does_not_fit_is_not_counted() {
        let budget = Budget::new(8 * STEP);
        let mut share = budget.share(Held::Bodies);

        assert!(share.try_set(3 * STEP));
        assert!(!share.try_set(4 * STEP));

        assert_eq!((budget.held(), budget.excess()), (3 * STEP, 0));
    }

    #[test]
    fn large_pieces_leave_room_for_small_ones() {
        let budget = Budget::new(8 * STEP);
        let (mut body, mut small) = (budget.share(Held::Bodies), budget.share(Held::Channels));
        assert!(body.try_set(3 * STEP));
        assert!(!budget.share(Held::Answers).try_set(STEP));

        assert!(budget.fits(STEP) && small.try_set(STEP));

        assert!(!budget.fits(1));
    }

    #[test]
    fn a_large_one_that_goes_on_alone_takes_no_room_from_small_ones() {
        let budget = Budget::new(8 * STEP);
        let mut message = budget.share(Held::Incoming);

        assert!(message.try_set_or_alone(20 * STEP));

        assert!(budget.share(Held::Commands).try_set(STEP));
        assert!(!budget.share(Held::Bodies).try_set(STEP));
    }

    #[test]
    fn a_sixteenth_of_short_messages_goes_on_whatever_the_large_ones_hold() {
        let budget = Budget::new(32 * STEP);
        let (mut body, mut long) =
            (budget.share(Held::Bodies), budget.share(Held::incoming(SHORT + 1)));
        assert!(body.try_set_or_alone(20 * STEP) && long.try_set_or_alone(20 * STEP));
        for kind in [Held::incoming(SHORT), Held::writes(SHORT)] {
            let [mut first, mut second, mut third] = [(); 3].map(|()| budget.share(kind));

            assert!(first.try_set_or_alone(2 * STEP));
            assert!(second.try_set_or_alone(2 * STEP), "the first has no more than a sixteenth");
            assert!(!third.try_set_or_alone(2 * STEP));

            drop(first);
            assert!(third.try_set_or_alone(2 * STEP));
        }
    }

    #[test]
    fn what_is_counted_as_another_kind_is_given_back_there() {
        let budget = Budget::new(8 * STEP);
        let mut message = budget.share(Held::ShortIncoming);
        message.set(2 * STEP);

        message.count_as(Held::Incoming);

        assert_eq!((budget.of(Held::ShortIncoming), budget.of(Held::Incoming)), (0, 2 * STEP));
        drop(message);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_must_be_held_is_counted_beyond_the_bound() {
        let budget = Budget::new(STEP);
        let mut share = budget.share(Held::Messages);

        share.set(3 * STEP);

        assert_eq!(budget.excess(), 2 * STEP);
    }
}
