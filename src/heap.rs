//! What the process has freed, given back to the machine.
//!
//! glibc keeps freed memory in its arenas: after a burst through 1,000 sessions 160 MB stayed resident, of which 37 were in use.
//! `malloc_trim` gives back every whole free page, wherever it lies. A large block is mapped by itself and given back at once, but
//! each one that is freed raises what counts as large: one message of 16 MiB, and after a minute of large bodies 250 MB stayed.
//! Never: touches what is in use.

use std::time::{Duration, Instant};

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "no crate offers these two as the safe functions that they are")]
mod libc {
    unsafe extern "C" {
        /// glibc, malloc/malloc.c. Takes any `pad`, may be called by any thread at any time; so it is safe.
        pub safe fn malloc_trim(pad: usize) -> i32;

        /// glibc, malloc/malloc.c. Takes any two numbers; not to be called while other threads allocate: at the start none do.
        pub safe fn mallopt(parameter: i32, value: i32) -> i32;
    }
}

/// Another libc keeps less, and has nothing to ask.
#[cfg(not(target_env = "gnu"))]
mod libc {
    pub fn malloc_trim(_pad: usize) {}
    pub fn mallopt(_parameter: i32, _value: i32) {}
}

/// `M_MMAP_THRESHOLD` of glibc's malloc.h.
const MMAP_THRESHOLD: i32 = -3;

/// `M_ARENA_MAX` of the same file. Each arena has gaps that no other can use, and glibc makes eight for each processor: in a
/// cgroup of 32 MiB they grew until the kernel ended the process, with 4 MB in use.
const ARENA_MAX: i32 = -8;

/// What glibc begins with, and now stays with: a block of so many bytes is mapped by itself.
const LARGE: i32 = 128 * 1024;

/// The same in a box with little memory: mailboxes of 50 to 100 KiB that grow leave gaps, in all of twice what 80 of them keep.
/// What is put together for one write is smaller.
const LARGE_IN_LITTLE: i32 = 40 * 1024;

/// In bytes: with more, the gaps are no matter, and one mapping for each log would be.
const LITTLE: u64 = 512 * 1024 * 1024;

/// To be called at the start, before there are threads: what is large goes back as soon as it is freed, and there are no more
/// arenas than threads that can run at once. `memory`: the bytes that there are.
pub fn begin(memory: u64) {
    libc::mallopt(MMAP_THRESHOLD, if memory < LITTLE { LARGE_IN_LITTLE } else { LARGE });
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    libc::mallopt(ARENA_MAX, i32::try_from(cores.min(8)).unwrap_or(2));
}

/// Less than this, in bytes, is not worth the walk through the arenas.
const WORTH_IT: usize = 1024 * 1024;

/// The walk takes some milliseconds: with this between two of them it is not seen among the rest.
const PAUSE: Duration = Duration::from_secs(10);

/// Sees when so much has been freed that giving it back is worth it.
#[derive(Debug, Default)]
pub struct Ebb {
    high: usize,
    last: Option<Instant>,
}

impl Ebb {
    /// Notes how many bytes are in use, as far as known. Whether use has ebbed enough since its height, and the last time is long ago.
    fn has_ebbed(&mut self, used: usize, now: Instant) -> bool {
        self.high = self.high.max(used);
        let rested = self.last.is_none_or(|last| now.duration_since(last) >= PAUSE);
        let ebbed = rested && self.high - used >= WORTH_IT;
        if ebbed {
            self.high = used;
            self.last = Some(now);
        }
        ebbed
    }

    /// Notes how many bytes are in use, and gives back what was freed if that is enough.
    pub fn give_back(&mut self, used: usize, now: Instant) {
        if self.has_ebbed(used, now) {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_has_ebbed_when_it_is_well_below_its_height_and_then_counts_anew() {
        let mut ebb = Ebb::default();
        let now = Instant::now();

        assert!(!ebb.has_ebbed(WORTH_IT * 3, now));
        assert!(!ebb.has_ebbed(WORTH_IT * 2 + 1, now));
        assert!(ebb.has_ebbed(WORTH_IT * 2, now));
        assert!(!ebb.has_ebbed(WORTH_IT, now), "it was a moment ago");
        assert!(!ebb.has_ebbed(WORTH_IT + 1, now + PAUSE));
        assert!(ebb.has_ebbed(WORTH_IT, now + PAUSE));
    }
}
