//! The listeners of one session: which are there, and which have to go ("One listener or many" in `src/api.md`).
//!
//! Owns: their places, and for how long the session outlives them; which may join is in `stream` and `poll`.
//! Never: does I/O; a `Stream` or a `Poll` is a place in the mailbox that its own thread reads and gives back by dropping it.
//! At the limit: without `-r` there is one listener, with it any number of streams and one poll.

use super::join::{Kind, ListenerClient, SessionError, Start};
use super::{Session, State};
use crate::channel::receive;
use crate::mailbox::Key;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long a stream that was taken over may take to say so before its socket is cut: it is stuck then.
const TAKEOVER_GRACE: Duration = Duration::from_millis(250);

/// How long a poll that was replaced by another waits before it answers: two pollers that share an id do not chase each other.
const REPLACED_POLL_WAIT: Duration = Duration::from_secs(1);

/// One listener. That its client has gone is told without the session's lock; all else changes under it.
pub(super) struct Listener {
    pub key: Key,
    pub kind: Kind,
    left: AtomicBool,
    /// Another listener took its place. A poll answers at this time.
    pub replaced: OnceLock<Instant>,
    /// A poll that is writing its reply: what it carries is not for the next one, unless the write fails.
    pub answering: AtomicBool,
    client: Arc<dyn ListenerClient>,
    wake: Sender<()>,
}

impl Listener {
    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    pub fn is_here(&self) -> bool {
        !self.has_left() && self.replaced.get().is_none()
    }

    pub fn look_again(&self) {
        // Full: it is about to look anyway.
        let _ = self.wake.try_send(());
    }
}

pub(super) struct Listeners {
    /// Shared, so that they can be woken when the lock is free.
    pub list: Arc<[Arc<Listener>]>,
    pub had_any: bool,
    pub had_stream: bool,
    /// When the last one went, or the session began.
    pub empty_since: Instant,
    /// Without a listener the session lives until then.
    pub alive_until: Instant,
}

impl Listeners {
    pub fn new() -> Listeners {
        Listeners {
            list: Arc::default(),
            had_any: false,
            had_stream: false,
            empty_since: Instant::now(),
            alive_until: Instant::now(),
        }
    }

    /// The session outlives whatever is there now by this much at least.
    pub fn live_for(&mut self, time: Duration) {
        self.alive_until = self.alive_until.max(Instant::now() + time);
    }
}

pub enum NotJoined {
    /// By this listener.
    Taken(Arc<Listener>),
    /// A page was reloaded: the session has to make room for a new one.
    Reload,
    Over,
    Refused(SessionError),
}

/// A listener's place in the mailbox, given back when it is dropped.
pub struct ListenerHandle {
    pub session: Arc<Session>,
    pub(super) listener: Arc<Listener>,
    pub(super) woken: Receiver<()>,
    /// The listener whose place this was: to be waited for, or cut.
    displaced: Option<Arc<Listener>>,
}

impl ListenerHandle {
    /// For `X-Session-Id`.
    pub fn session_id(&self) -> &str {
        &self.session.id
    }

    /// Waits until there may be something that the last look did not see, at most until `deadline`. Whether there may be.
    pub fn wait(&self, deadline: Instant) -> bool {
        receive(&self.woken, deadline).is_some()
    }

    /// What is called, on whatever thread, when the client has gone. It takes no lock.
    pub fn disconnect_hook(&self) -> impl Fn() + Send + Sync + 'static {
        let listener = Arc::clone(&self.listener);
        move || {
            listener.left.store(true, Ordering::SeqCst);
            listener.look_again();
        }
    }

    /// Makes sure that the listener whose place this is has gone.
    pub fn evict_displaced(&mut self) {
        let is_stuck = |one: &Arc<Listener>| !self.session.loses_within(one, TAKEOVER_GRACE);
        if let Some(stuck) = self.displaced.take().filter(is_stuck) {
            stuck.client.cut();
        }
    }
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        let Listener { key, kind, .. } = *self.listener;
        let mut state = self.session.lock();
        let listeners = &mut state.listeners;
        listeners.list = listeners.list.iter().filter(|one| one.key != key).cloned().collect();
        listeners.empty_since = Instant::now();
        listeners.live_for(self.session.table.rules.outlives(kind));
        state.mailbox.detach(key);
        // A poll that waits for this one's reply looks again.
        state.mailbox.wake_listeners();
        state.waiting.notify_all();
    }
}

impl Session {
    /// Every event id is this and a place.
    pub fn event_id_prefix(&self) -> String {
        format!("{:032x}.", self.secret)
    }

    /// Whether a listener gives its place back within `grace`. One whose client has left is cut, so that it does.
    pub(super) fn loses_within(&self, listener: &Listener, grace: Duration) -> bool {
        if listener.client.has_left() {
            listener.client.cut();
        }
        let deadline = Instant::now() + grace;
        let gone = |state: &State| state.listeners.list.iter().all(|one| one.key != listener.key);
        gone(&self.wait_until(self.lock(), Some(deadline), gone))
    }

    /// The place that `start` names, if it is one of this session.
    pub(super) fn own_place(&self, start: Start, state: &State) -> Option<u64> {
        match start {
            Start::Event { secret, place } if secret == self.secret => {
                Some(place.min(state.mailbox.last()))
            }
            _ => None,
        }
    }

    /// Gives a listener its place in the mailbox, after `cursor`, and that of another listener. A newcomer has to make sure
    /// that the other one goes, but for a poll that follows a poll.
    pub(super) fn add(
        self: &Arc<Self>,
        state: &mut State,
        kind: Kind,
        cursor: u64,
        client: &Arc<dyn ListenerClient>,
        replaced: Option<Arc<Listener>>,
    ) -> ListenerHandle {
        let are_polls = kind == Kind::Poll && replaced.as_ref().is_some_and(|one| one.kind == kind);
        if let Some(replaced) = &replaced {
            let wait = if are_polls { REPLACED_POLL_WAIT } else { Duration::ZERO };
            // Only the first counts.
            let _ = replaced.replaced.set(Instant::now() + wait);
            state.mailbox.wake_listeners();
        }
        let displaced = replaced.filter(|_| !are_polls);
        self.table.stats.takeovers.add(u64::from(displaced.is_some()));
        let (wake, woken) = bounded(1);
        let listener = Arc::new(Listener {
            key: state.mailbox.attach(cursor),
            kind,
            left: AtomicBool::new(false),
            replaced: OnceLock::new(),
            answering: AtomicBool::new(false),
            client: Arc::clone(client),
            wake,
        });
        let listeners = &mut state.listeners;
        listeners.list = listeners.list.iter().chain([&listener]).cloned().collect();
        listeners.had_any = true;
        listeners.had_stream |= kind == Kind::Stream;
        ListenerHandle { session: Arc::clone(self), listener, woken, displaced }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::{Client, session};
    use std::thread;

    #[test]
    fn that_a_client_has_left_is_told_while_its_session_is_locked() {
        let session = session();
        let client: Arc<dyn ListenerClient> = Arc::new(Client);
        let handle = session.add(&mut session.lock(), Kind::Stream, 0, &client, None);
        let (hook, (tell, told)) = (handle.disconnect_hook(), bounded(1));

        let state = session.lock();
        let watcher = thread::Builder::new().spawn(move || {
            hook();
            tell.send(()).unwrap();
        });

        assert!(told.recv_timeout(Duration::from_secs(5)).is_ok(), "it waits for the lock");
        assert!(!state.listeners.list.iter().any(|one| one.is_here()));
        assert!(handle.wait(Instant::now()));
        drop(state);
        watcher.unwrap().join().unwrap();
    }
}
