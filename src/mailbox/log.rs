//! Events whose places follow each other: those that a mailbox keeps, and copies of some of them.

use std::collections::VecDeque;

/// Bytes by which a small log grows: an idle session has one or two events.
const LOG_STEP: usize = 512;

/// An event and its place.
pub type Placed<'a> = (u64, &'a str);

/// The texts of the events, one behind the other: one large allocation, which goes back to the machine whole. An allocation
/// for each event would lie among those that stay, and pin their pages.
#[derive(Debug)]
pub struct Log {
    oldest: u64,
    text: String,
    /// Bytes at the begin of the text that are forgotten already.
    gone: usize,
    lengths: VecDeque<usize>,
}

impl Log {
    /// An empty one, with room for so many bytes. The first event will have the place `oldest`.
    pub fn new(oldest: u64, bytes: usize) -> Log {
        Log { oldest, text: String::with_capacity(bytes), gone: 0, lengths: VecDeque::new() }
    }

    /// The place of the oldest event, or of the next one where there is none.
    pub fn oldest(&self) -> u64 {
        self.oldest
    }

    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    pub fn newest(&self) -> Option<usize> {
        self.lengths.back().copied()
    }

    /// Of the kept events' texts.
    pub fn bytes(&self) -> usize {
        self.text.len() - self.gone
    }

    pub fn push(&mut self, parts: &[&str]) {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.text.len() + length > self.text.capacity() {
            // Not doubled: what is kept is bounded, and the room for it should be near that.
            self.text.reserve_exact(length.max(self.text.len() / 4).max(LOG_STEP));
        }
        parts.iter().for_each(|part| self.text.push_str(part));
        self.lengths.push_back(length);
    }

    /// Forgets the oldest event. Whether there was one.
    pub fn pop(&mut self) -> bool {
        let Some(length) = self.lengths.pop_front() else { return false };
        self.oldest += 1;
        self.gone += length;
        if self.lengths.is_empty() {
            *self = Log::new(self.oldest, 0);
        } else if self.gone > self.text.len() / 4 && self.gone > LOG_STEP {
            self.text.drain(..self.gone);
            self.gone = 0;
        }
        true
    }

    /// The events after the place `cursor`, oldest first.
    pub fn after(&self, cursor: u64) -> impl Iterator<Item = Placed<'_>> + Clone {
        let skipped = (cursor + 1).saturating_sub(self.oldest);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.lengths.len());
        // From the nearer end: a listener is nearly always at the newest.
        let lengths = |range: std::ops::Range<usize>| -> usize { self.lengths.range(range).sum() };
        let mut at = if skipped < self.lengths.len() / 2 {
            self.gone + lengths(0..skipped)
        } else {
            self.text.len() - lengths(skipped..self.lengths.len())
        };
        let placed = (self.oldest + skipped as u64..).zip(self.lengths.range(skipped..));
        placed.map(move |(place, length)| {
            let start = at;
            at += length;
            (place, &self.text[start..at])
        })
    }

    /// Gives back room that a burst needed.
    pub fn shrink(&mut self) {
        if self.text.capacity() > 2 * self.text.len() + LOG_STEP {
            self.text.shrink_to_fit();
        }
        if self.lengths.capacity() > 32 && self.lengths.capacity() / 4 > self.lengths.len() {
            self.lengths.shrink_to(self.lengths.len() * 2);
        }
    }
}
