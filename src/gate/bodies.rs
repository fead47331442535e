//! What the bodies that are under way may take of the memory together: each alone may be small enough, and ten thousand
//! of them not.
//!
//! Never: counts the first `FREE` bytes of a body. Ordinary requests have no more, and pass whatever others do.
//! When full: a body that grows is refused with 503.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::answer::Refusal;

/// Bytes of each body that are not counted.
const FREE: usize = 16 * 1024;

/// Bytes of all bodies together, and of so many of the largest at least.
const BYTES_MAX: usize = 64 * 1024 * 1024;
const LARGEST_MIN: usize = 4;

pub(super) struct Bodies {
    held: AtomicUsize,
    max: usize,
}

impl Bodies {
    pub(super) fn new(body_max: usize) -> Arc<Bodies> {
        let max = BYTES_MAX.max(body_max.saturating_mul(LARGEST_MIN));
        Arc::new(Bodies { held: AtomicUsize::new(0), max })
    }

    /// A body that is about to come.
    pub(super) fn begin(self: &Arc<Self>) -> Body {
        Body { bytes: Vec::new(), share: Some(self.share()) }
    }

    fn share(self: &Arc<Self>) -> Share {
        Share { bodies: Arc::clone(self), counted: 0 }
    }
}

/// One body, with its share of the memory: it is counted for as long as anything holds it.
#[derive(Default)]
pub struct Body {
    bytes: Vec<u8>,
    share: Option<Share>,
}

impl Body {
    pub(super) fn extend(&mut self, more: &[u8]) -> Result<(), Refusal> {
        if let Some(share) = &mut self.share {
            share.grow(self.bytes.len() + more.len())?;
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }
}

impl std::ops::Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What one body takes, until it is dropped.
struct Share {
    bodies: Arc<Bodies>,
    counted: usize,
}

impl Share {
    /// The body has so many bytes now.
    fn grow(&mut self, length: usize) -> Result<(), Refusal> {
        let more = length.saturating_sub(FREE).saturating_sub(self.counted);
        if more == 0 {
            return Ok(());
        }
        self.counted += more;
        if self.bodies.held.fetch_add(more, Ordering::Relaxed) + more <= self.bodies.max {
            return Ok(());
        }
        Err(Refusal::new(503, "many large requests are under way: send this one again in a moment"))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_bound_a_body_grows_no_more_until_another_is_through() {
        let bodies = Bodies::new(1000);
        let mut first = bodies.share();
        let mut second = bodies.share();

        assert!(first.grow(BYTES_MAX).is_ok());
        assert!(second.grow(FREE).is_ok(), "an ordinary one passes");
        assert!(second.grow(FREE * 2 + 1).is_err());
        assert!(first.grow(BYTES_MAX).is_ok(), "it has no more than before");
        drop(first);

        assert!(second.grow(FREE * 3).is_ok());
        drop(second);
        assert_eq!(bodies.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn some_of_the_largest_bodies_fit_whatever_max_body_says() {
        let bodies = Bodies::new(BYTES_MAX);

        let mut shares: Vec<Share> = (0..LARGEST_MIN).map(|_| bodies.share()).collect();

        assert!(shares.iter_mut().all(|share| share.grow(BYTES_MAX).is_ok()));
    }
}
