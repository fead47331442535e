//! The listeners of one session: who may join, where each goes on, and what it is given next.
//!
//! Owns: who is there, and who has to go ("One listener or many" of the API); how each joins is in `stream` and `polling`.
//! Never: does I/O; a `Stream` or a `Poll` is a place in the mailbox that its own thread reads and gives back by dropping it.
//! At the limit: without `-r` there is one listener, with it any number of streams and one poll.

use super::bell::Locked;
use super::{Session, State};
use crate::gate::Hangup;
use crate::mailbox::Key;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a stream that was taken over may take to say so before its socket is cut: it is stuck then.
const TAKEOVER_GRACE: Duration = Duration::from_millis(250);

/// Where a listener wants to go on.
#[derive(Clone, Debug)]
pub enum Start {
    /// It does not say.
    Fresh,
    /// After an event id: the random part and the place.
    Event { secret: String, place: u64 },
    /// After a bare `msg_id`, which proves nothing.
    Number(u64),
}

impl Start {
    /// Reads an event id, as `Session::event_id` writes it.
    pub fn from_event_id(text: &str) -> Option<Start> {
        let (secret, place) = text.split_once('.')?;
        let wellformed = secret.len() == 32
            && secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && !place.is_empty()
            && place.bytes().all(|byte| byte.is_ascii_digit());
        let place = place.parse().ok()?;
        wellformed.then(|| Start::Event { secret: secret.to_owned(), place })
    }
}

/// Whether a listener may stay, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// None yet.
    Here,
    /// Its client has gone.
    Left,
    /// Another listener took its place.
    Replaced,
    /// A poll, by another poll, at this time.
    ReplacedByPoll(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stream,
    Poll,
}

/// One listener, as the session sees it.
pub(super) struct Present {
    pub(super) key: Key,
    pub(super) kind: Kind,
    fate: Fate,
    /// A poll that is writing its reply: what it carries is not for the next one, unless the write fails.
    answering: bool,
    hangup: Hangup,
}

/// The listener that was there before: to be waited for, or cut.
pub struct Former {
    session: Arc<Session>,
    key: Key,
    hangup: Hangup,
}

impl Present {
    pub(super) fn is_here(&self) -> bool {
        self.fate == Fate::Here
    }
}

impl Former {
    /// Whether it gave its place back within `grace`. One whose client has left is cut, so that it does.
    pub fn leaves_within(&self, grace: Duration) -> bool {
        if self.hangup.has_left() {
            self.hangup.cut();
        }
        let deadline = Instant::now() + grace;
        let gone = |state: &State| state.find(self.key).is_none();
        gone(&self.session.wait_until(self.session.lock(), Some(deadline), gone))
    }

    pub(super) fn must_leave(&self) {
        if !self.leaves_within(TAKEOVER_GRACE) {
            self.hangup.cut();
        }
    }
}

/// What came of asking to join.
pub enum Join<T> {
    Joined(T),
    /// Somebody is there.
    Taken(Former),
    /// A page was reloaded: the session has to make room for a new one.
    Reload,
    /// A tunnel that cannot go on from there: it never skips.
    Gone,
    /// The session is no more.
    Over,
}

/// A place in the mailbox, given back when it is dropped.
pub(super) struct Place {
    pub(super) session: Arc<Session>,
    pub(super) key: Key,
    kind: Kind,
    /// The calls before its last look.
    heard: Cell<u32>,
}

impl Place {
    /// Locks the session to look what there is.
    pub(super) fn look(&self) -> Locked<'_> {
        self.heard.set(self.session.news.calls());
        self.session.lock()
    }

    /// Waits until there may be something that the last look did not see, at most until `deadline`. Whether there may be.
    pub(super) fn wait(&self, deadline: Instant) -> bool {
        self.session.news.wait(self.heard.get(), Some(deadline))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(table) = self.session.table.upgrade() else { return };
        let outlives = match self.kind {
            Kind::Stream => table.rules.resume_window,
            Kind::Poll => table.rules.session,
        };
        let mut state = self.session.lock();
        state.present.retain(|present| present.key != self.key);
        state.mailbox.detach(self.key);
        state.alive_until = state.alive_until.max(Instant::now() + outlives);
        // A poll that waits for this one's reply looks again.
        state.mailbox.call();
        drop(state);
        self.session.changed.ring();
    }
}

pub(super) fn leaver(place: &Place) -> impl Fn() + Send + Sync + 'static {
    let (session, key) = (Arc::clone(&place.session), place.key);
    move || session.client_left(key)
}

impl Session {
    /// Every event id is this and a place.
    pub(super) fn event_id_prefix(&self) -> String {
        format!("{}.", self.secret)
    }

    pub(super) fn former(self: &Arc<Self>, present: &Present) -> Former {
        Former { session: Arc::clone(self), key: present.key, hangup: present.hangup.clone() }
    }

    fn client_left(&self, key: Key) {
        self.lock().sentence(key, Fate::Left);
    }

    /// The place that `start` names, if it is one of this session.
    pub(super) fn own_place(&self, start: &Start, state: &State) -> Option<u64> {
        match start {
            Start::Event { secret, place } if *secret == self.secret => {
                Some((*place).min(state.mailbox.last()))
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
        hangup: Hangup,
    ) -> Place {
        let key = state.mailbox.attach(cursor);
        state.present.push(Present { key, kind, fate: Fate::Here, answering: false, hangup });
        let heard = Cell::new(self.news.calls());
        Place { session: Arc::clone(self), key, kind, heard }
    }
}

impl State {
    pub(super) fn find(&self, key: Key) -> Option<&Present> {
        self.present.iter().find(|present| present.key == key)
    }

    pub(super) fn fate(&self, key: Key) -> Option<Fate> {
        self.find(key).map(|present| present.fate)
    }

    /// Only the first fate counts, but for a client that has gone: there is nobody to be told of another.
    pub(super) fn sentence(&mut self, key: Key, fate: Fate) {
        let condemned = self.present.iter_mut().find(|present| present.key == key);
        let can_be = |present: &&mut Present| present.fate == Fate::Here || fate == Fate::Left;
        if let Some(present) = condemned.filter(can_be) {
            present.fate = fate;
            self.mailbox.call();
        }
    }

    pub(super) fn first_present(&self) -> Option<&Present> {
        self.present.iter().find(|present| present.is_here())
    }

    /// Takes the place from the listener that has it, if there is one.
    pub(super) fn replace_first(&mut self, session: &Arc<Session>) -> Option<Former> {
        let former = session.former(self.first_present()?);
        self.sentence(former.key, Fate::Replaced);
        Some(former)
    }

    pub(super) fn somebody_answers(&self) -> bool {
        self.present.iter().any(|present| present.answering)
    }

    pub(super) fn set_answering(&mut self, key: Key) {
        if let Some(present) = self.present.iter_mut().find(|present| present.key == key) {
            present.answering = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{cases, damaged};
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Option<(String, u64)> {
        match Start::from_event_id(std::str::from_utf8(bytes).ok()?) {
            Some(Start::Event { secret, place }) => Some((secret, place)),
            _ => None,
        }
    }

    #[test]
    fn the_corpus_is_an_event_id_or_none_as_it_says() {
        for (name, id) in cases("event-ids/good") {
            assert!(read(&id).is_some(), "{name}");
        }
        for (name, id) in cases("event-ids/bad") {
            assert!(read(&id).is_none(), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn an_event_id_is_read_as_it_was_written(secret in "[0-9a-f]{32}", place in any::<u64>()) {
            let id = format!("{secret}.{place}");
            prop_assert_eq!(read(id.as_bytes()), Some((secret, place)));
        }

        #[test]
        fn a_damaged_event_id_is_none_or_has_all_of_its_secret(
            bytes in damaged(&["event-ids/good", "event-ids/bad"]),
        ) {
            if let Some((secret, place)) = read(&bytes) {
                let text = String::from_utf8(bytes).unwrap();
                let digits = text.strip_prefix(&format!("{secret}.")).unwrap();
                prop_assert_eq!(secret.len(), 32);
                prop_assert_eq!(digits.trim_start_matches('0').parse().unwrap_or(0), place);
            }
        }
    }
}
