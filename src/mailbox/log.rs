//! The texts of the events that a mailbox keeps, in one piece.

use std::collections::VecDeque;

/// Bytes by which a small log grows: an idle session has one or two events.
const LOG_STEP: usize = 512;

/// The texts of the kept events, one behind the other: one large allocation, which goes back to the machine whole. An allocation
/// for each event would lie among those that stay, and pin their pages.
#[derive(Debug, Default)]
pub(super) struct Log {
    text: String,
    /// Bytes at the begin of the text that are forgotten already.
    gone: usize,
    lengths: VecDeque<u32>,
}

impl Log {
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    pub fn newest(&self) -> Option<usize> {
        self.lengths.back().map(|length| *length as usize)
    }

    /// Adds an event, and returns how long it is.
    pub fn push(&mut self, parts: &[&str]) -> usize {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.text.len() + length > self.text.capacity() {
            // Not doubled: what is kept is bounded, and the room for it should be near that.
            self.text.reserve_exact(length.max(self.text.len() / 4).max(LOG_STEP));
        }
        parts.iter().for_each(|part| self.text.push_str(part));
        // An event is smaller than `--max-message`, some 16 MiB.
        self.lengths.push_back(u32::try_from(length).unwrap_or(u32::MAX));
        length
    }

    /// Forgets the oldest event, and returns how long it was.
    pub fn pop(&mut self) -> Option<usize> {
        let length = self.lengths.pop_front()? as usize;
        self.gone += length;
        if self.lengths.is_empty() {
            *self = Log::default();
        } else if self.gone > self.text.len() / 4 && self.gone > LOG_STEP {
            self.text.drain(..self.gone);
            self.gone = 0;
        }
        Some(length)
    }

    /// The events behind the first `skipped`.
    pub fn after(&self, skipped: usize) -> impl Iterator<Item = &str> {
        let skipped = skipped.min(self.lengths.len());
        // From the nearer end: a listener is nearly always at the newest.
        let lengths = |range: std::ops::Range<usize>| -> usize {
            self.lengths.range(range).map(|length| *length as usize).sum()
        };
        let mut at = if skipped < self.lengths.len() / 2 {
            self.gone + lengths(0..skipped)
        } else {
            self.text.len() - lengths(skipped..self.lengths.len())
        };
        self.lengths.range(skipped..).map(move |length| {
            let start = at;
            at += *length as usize;
            &self.text[start..at]
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
