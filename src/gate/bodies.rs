//! A body, with its share of the memory: each alone may be small enough, and ten thousand of them not.
//!
//! Never: counts the first `FREE` bytes. Ordinary requests have no more, and pass whatever others do.
//! When full: a body that grows is refused with 503, unless it is the only one.

use super::answer::{Answer, busy};
use crate::memory::{Budget, Held, Share};
use std::sync::Arc;

/// Bytes of each body that are not counted.
const FREE: usize = 16 * 1024;

/// One body. It is counted for as long as anything holds it.
pub struct Body {
    bytes: Vec<u8>,
    share: Share,
}

impl Body {
    pub(super) fn begin(budget: &Arc<Budget>) -> Body {
        Body { bytes: Vec::new(), share: budget.share(Held::Bodies) }
    }

    pub(super) fn extend(&mut self, more: &[u8]) -> Result<(), Answer> {
        let length = self.bytes.len() + more.len();
        if !self.share.try_set_or_alone(length.saturating_sub(FREE)) {
            return Err(busy("many large requests are under way: send this one again in a moment"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_bound_a_body_grows_no_more_until_another_is_through() {
        let budget = Budget::new(8 * FREE);
        let (mut first, mut second) = (Body::begin(&budget), Body::begin(&budget));

        assert!(first.extend(&[0; 9 * FREE]).is_ok(), "the only one passes");
        assert!(second.extend(&[0; FREE]).is_ok(), "an ordinary one passes");
        assert!(second.extend(&[0; FREE]).is_err());
        drop(first);

        assert!(second.extend(&[0; FREE]).is_ok());
        drop(second);
        assert_eq!(budget.held(), 0);
    }
}
