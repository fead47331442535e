//! What one session holds of the process's memory, and how it lets go of some of it.
//!
//! Counted when the session's lock is released, so that nothing that changes it has to think of that.

use super::{Session, State};
use crate::memory::{Budget, Held, Share};
use crate::upstream::Handshake;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(super) struct Shares {
    messages: Share,
    notices: Share,
    commands: Share,
    channels: Share,
    pub handshake: Share,
}

impl Shares {
    pub fn new(budget: &Arc<Budget>) -> Shares {
        Shares {
            messages: budget.share(Held::Messages),
            notices: budget.share(Held::Notices),
            commands: budget.share(Held::Commands),
            channels: budget.share(Held::Channels),
            handshake: budget.share(Held::Handshakes),
        }
    }
}

/// What a handshake to come takes of the memory.
pub(super) fn bytes_of(handshake: &Handshake) -> usize {
    let headers = handshake.headers.iter().map(|(name, value)| name.len() + value.len());
    handshake.query.len() + headers.sum::<usize>()
}

impl State {
    pub(super) fn count(&mut self, session: &Session) {
        session.kept.store(self.mailbox.bytes(), Ordering::Relaxed);
        session.spare.store(self.mailbox.spare_bytes(), Ordering::Relaxed);
        self.shares.messages.set(self.mailbox.bytes());
        self.shares.notices.set(self.mailbox.notice_bytes());
        self.shares.commands.set(self.outbox.bytes());
        self.shares.channels.set(self.channels.bytes());
    }
}

impl Session {
    /// Forgets the oldest messages until so many bytes are free or one is left, and then that one too if it must be.
    pub(super) fn forget(&self, bytes: usize, newest_too: bool) {
        let mut state = self.lock();
        let enough = state.mailbox.bytes().saturating_sub(bytes);
        while state.mailbox.bytes() > enough && state.mailbox.forget_oldest() {}
        if newest_too && state.mailbox.bytes() > enough {
            let last = state.mailbox.last();
            state.mailbox.forget_through(last);
        }
        state.mailbox.wake_listeners();
        self.end_if_skipped(state);
    }
}
