//! What is remembered of sessions that were ended for good, for those who come back to one of them.
//!
//! Owns: the event ids, logins and last words of the dead, each for a while.
//! Never: knows a living session.
//! At the limit: as many as there may be sessions; then the oldest is forgotten, and who comes back opens a new one.

use super::asks::Opener;
use super::listener::Start;
use super::{Credentials, Session};
use std::collections::VecDeque;
use std::time::Instant;

/// The dead, in the order of their ends.
pub(super) struct Graves {
    order: VecDeque<Grave>,
    max: usize,
}

struct Grave {
    secret: String,
    path: Box<str>,
    refused: Credentials,
    reason: String,
    /// A tunnel's.
    close: Option<String>,
    until: Instant,
}

impl Graves {
    /// Remembers at most `max` of them.
    pub(super) fn new(max: usize) -> Graves {
        Graves { order: VecDeque::new(), max }
    }

    /// Remembers one until then; `close` is a tunnel's.
    pub(super) fn bury(
        &mut self,
        session: &Session,
        reason: String,
        close: Option<String>,
        until: Instant,
    ) {
        if self.order.len() >= self.max {
            self.order.pop_front();
        }
        self.order.push_back(Grave {
            secret: session.secret.clone(),
            path: session.path.clone(),
            refused: session.opened_with.clone(),
            reason,
            close,
            until,
        });
    }

    /// Why the managed session of this event id was ended, unless somebody else asks than who was refused.
    pub(super) fn find(&self, opener: &Opener<'_>, secret: &str, now: Instant) -> Option<String> {
        let mine = |grave: &&Grave| grave.secret == secret && *grave.path == *opener.path;
        let grave = self.order.iter().find(mine).filter(|grave| grave.close.is_none())?;
        let same_login = grave.refused.cookie == opener.credentials.cookie
            && grave.refused.authorization == opener.credentials.authorization;
        (same_login && grave.until > now).then(|| grave.reason.clone())
    }

    /// The close of the last tunnel of this path, or of the one whose event id `start` is.
    pub(super) fn close(
        &self,
        opener: &Opener<'_>,
        start: Option<&Start>,
        now: Instant,
    ) -> Option<String> {
        let asked = |grave: &&Grave| match start {
            Some(Start::Event { secret, .. }) => grave.secret == *secret,
            Some(_) => false,
            None => true,
        };
        let living = |grave: &&Grave| *grave.path == *opener.path && grave.until > now;
        self.order.iter().rev().filter(living).find(asked).and_then(|grave| grave.close.clone())
    }

    /// Forgets those whose time is over.
    pub(super) fn clear(&mut self, now: Instant) {
        self.order.retain(|grave| grave.until > now);
    }
}
