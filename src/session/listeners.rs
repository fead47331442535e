//! The listeners of one session: which may join, and which have to go ("One listener or many" in `src/api.md`).
//!
//! Owns: which listeners are there, and for how long the session outlives them; how each joins is in `stream` and `poll`.
//! Never: does I/O; a `Stream` or a `Poll` is a place in the mailbox that its own thread reads and gives back by dropping it.
//! At the limit: without `-r` there is one listener, with it any number of streams and one poll.

use super::join::{ClientConnection, SessionError, Start};
use super::lock::Locked;
use super::{Session, State};
use crate::mailbox::Key;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a stream that was taken over may take to say so before its socket is cut: it is stuck then.
const TAKEOVER_GRACE: Duration = Duration::from_millis(250);

/// Whether a listener may stay, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenerState {
    Here,
    Left,
    /// Another listener took its place.
    Replaced,
    /// A poll, by another poll, at this time.
    ReplacedByPoll(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stream,
    /// Or a POST that opens a session for polls to come.
    Poll,
}

/// What other threads tell the thread of a listener, without the session's lock.
pub(super) struct Wake {
    left: AtomicBool,
    sender: Sender<()>,
}

impl Wake {
    pub fn look_again(&self) {
        // Full: it is about to look anyway.
        let _ = self.sender.try_send(());
    }
}

pub(super) struct Listener {
    pub key: Key,
    pub kind: Kind,
    state: ListenerState,
    /// A poll that is writing its reply: what it carries is not for the next one, unless the write fails.
    answering: bool,
    client: Arc<dyn ClientConnection>,
    wake: Arc<Wake>,
}

impl Listener {
    pub fn state(&self) -> ListenerState {
        if self.wake.left.load(Ordering::SeqCst) { ListenerState::Left } else { self.state }
    }

    pub fn is_here(&self) -> bool {
        self.state() == ListenerState::Here
    }
}

pub(super) struct Listeners {
    list: Vec<Listener>,
    /// Those of the list, to be woken when the lock is free.
    pub wakes: Arc<[Arc<Wake>]>,
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
            list: Vec::with_capacity(1),
            wakes: Arc::default(),
            had_any: false,
            had_stream: false,
            empty_since: Instant::now(),
            alive_until: Instant::now(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.list.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn find(&self, key: Key) -> Option<&Listener> {
        self.list.iter().find(|listener| listener.key == key)
    }

    /// The listener whose place a newcomer needs, if there is one.
    pub fn first(&self) -> Option<&Listener> {
        self.list.iter().find(|listener| listener.is_here())
    }

    fn add(&mut self, listener: Listener) {
        self.list.push(listener);
        self.had_any = true;
        self.note_wakes();
    }

    fn remove(&mut self, key: Key) {
        self.list.retain(|listener| listener.key != key);
        self.empty_since = Instant::now();
        self.note_wakes();
    }

    fn note_wakes(&mut self) {
        self.wakes = self.list.iter().map(|listener| Arc::clone(&listener.wake)).collect();
    }

    /// The session outlives whatever is there now by this much at least.
    pub fn live_for(&mut self, time: Duration) {
        self.alive_until = self.alive_until.max(Instant::now() + time);
    }

    /// Whether a poll is writing its reply.
    pub fn is_answering(&self) -> bool {
        self.list.iter().any(|listener| listener.answering)
    }

    pub fn set_answering(&mut self, key: Key) {
        let of_key = self.list.iter_mut().filter(|listener| listener.key == key);
        of_key.for_each(|listener| listener.answering = true);
    }
}

/// The listener that was there before: to be waited for, or cut.
pub struct Displaced {
    session: Arc<Session>,
    pub(super) key: Key,
    client: Arc<dyn ClientConnection>,
}

impl Displaced {
    /// Whether it gave its place back within `grace`. One whose client has left is cut, so that it does.
    pub fn leaves_within(&self, grace: Duration) -> bool {
        if self.client.has_left() {
            self.client.cut();
        }
        let deadline = Instant::now() + grace;
        let gone = |state: &State| state.listeners.find(self.key).is_none();
        gone(&self.session.wait_until(self.session.lock(), Some(deadline), gone))
    }
}

pub enum NotJoined {
    Taken(Displaced),
    /// A page was reloaded: the session has to make room for a new one.
    Reload,
    /// A tunnel that cannot go on from there: it never skips.
    Gone,
    Over,
    Refused(SessionError),
}

/// A listener's place in the mailbox, given back when it is dropped.
pub struct ListenerHandle {
    pub(super) session: Arc<Session>,
    pub(super) key: Key,
    kind: Kind,
    woken: Receiver<()>,
    wake: Arc<Wake>,
    /// The listener whose place this was.
    displaced: Option<Displaced>,
}

impl ListenerHandle {
    /// For `X-Session-Id`.
    pub fn session_id(&self) -> &str {
        &self.session.id
    }

    /// Locks the session to look what there is.
    pub(super) fn look(&self) -> Locked<'_> {
        // What it was woken for until now this look sees.
        let _ = self.woken.try_recv();
        self.session.lock()
    }

    /// Waits until there may be something that the last look did not see, at most until `deadline`. Whether there may be.
    pub fn wait(&self, deadline: Instant) -> bool {
        self.woken.recv_deadline(deadline).is_ok()
    }

    /// What is called, on whatever thread, when the client has gone. It takes no lock.
    pub fn disconnect_hook(&self) -> impl Fn() + Send + Sync + 'static {
        let wake = Arc::clone(&self.wake);
        move || {
            wake.left.store(true, Ordering::SeqCst);
            wake.look_again();
        }
    }

    /// Makes sure that the listener whose place this is has gone.
    pub fn evict_displaced(&mut self) {
        if let Some(displaced) = self.displaced.take() {
            if !displaced.leaves_within(TAKEOVER_GRACE) {
                displaced.client.cut();
            }
        }
    }
}

impl Drop for ListenerHandle {
    fn drop(&mut self) {
        let rules = &self.session.rules;
        let mut state = self.session.lock();
        state.listeners.remove(self.key);
        state.mailbox.detach(self.key);
        state.listeners.live_for(match self.kind {
            Kind::Stream => rules.resume_window,
            Kind::Poll => rules.session,
        });
        // A poll that waits for this one's reply looks again.
        state.mailbox.call();
        state.changed = true;
    }
}

impl Session {
    /// Every event id is this and a place.
    pub(super) fn event_id_prefix(&self) -> String {
        format!("{:032x}.", self.secret)
    }

    pub(super) fn displaced(self: &Arc<Self>, listener: &Listener) -> Displaced {
        let client = Arc::clone(&listener.client);
        Displaced { session: Arc::clone(self), key: listener.key, client }
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

    /// Gives a listener its place in the mailbox, after `cursor`.
    pub(super) fn add(
        self: &Arc<Self>,
        state: &mut State,
        kind: Kind,
        cursor: u64,
        client: &Arc<dyn ClientConnection>,
        displaced: Option<Displaced>,
    ) -> ListenerHandle {
        let key = state.mailbox.attach(cursor);
        let (sender, woken) = bounded(1);
        let wake = Arc::new(Wake { left: AtomicBool::new(false), sender });
        let (client, its) = (Arc::clone(client), Arc::clone(&wake));
        let here = ListenerState::Here;
        let listener = Listener { key, kind, state: here, answering: false, client, wake: its };
        state.listeners.add(listener);
        ListenerHandle { session: Arc::clone(self), key, kind, woken, wake, displaced }
    }

    /// Takes the place from the listener that has it, if there is one.
    pub(super) fn replace_first(self: &Arc<Self>, state: &mut State) -> Option<Displaced> {
        let displaced = self.displaced(state.listeners.first()?);
        state.mark(displaced.key, ListenerState::Replaced);
        Some(displaced)
    }
}

impl State {
    /// Only the first mark counts, but for a client that has gone, which cannot be told of another.
    pub(super) fn mark(&mut self, key: Key, mark: ListenerState) {
        let of_key = self.listeners.list.iter_mut().find(|listener| listener.key == key);
        if let Some(listener) = of_key.filter(|listener| listener.is_here()) {
            listener.state = mark;
            self.mailbox.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::session;
    use std::thread;

    struct Nobody;

    impl ClientConnection for Nobody {
        fn has_left(&self) -> bool {
            false
        }

        fn cut(&self) {}
    }

    #[test]
    fn that_a_client_has_left_is_told_while_its_session_is_locked() {
        let session = session();
        let nobody: Arc<dyn ClientConnection> = Arc::new(Nobody);
        let handle = session.add(&mut session.lock(), Kind::Stream, 0, &nobody, None);
        let (hook, (tell, told)) = (handle.disconnect_hook(), bounded(1));

        let state = session.lock();
        let watcher = thread::Builder::new().spawn(move || {
            hook();
            tell.send(()).unwrap();
        });

        assert!(told.recv_timeout(Duration::from_secs(5)).is_ok(), "it waits for the lock");
        assert!(state.listeners.first().is_none());
        assert!(handle.wait(Instant::now()));
        drop(state);
        watcher.unwrap().join().unwrap();
    }
}
