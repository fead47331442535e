//! What is asked of the table of sessions, by what rules, and the reasons for a no.

use super::EndReason;
use super::listeners::Kind;
use crate::frame::Identifier;
use crate::mailbox::Bounds;
use crate::upstream::Handshake;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// What the options say about sessions.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `-r`: any number of streams share a session.
    pub reuse: bool,
    pub strict_headers: bool,
    /// How long a session outlives a poll.
    pub session: Duration,
    /// How long a session outlives a stream.
    pub resume_window: Duration,
    pub bounds: Bounds,
    pub channels_max: usize,
    pub sessions_max: usize,
    /// Bytes that all sessions keep together.
    pub memory_max: usize,
}

/// One request for a session, whatever its method.
pub struct JoinRequest {
    pub path: String,
    pub credentials: Credentials,
    /// Where its listener wants to go on.
    pub start: Start,
    /// What joins: a GET for SSE, or anything else.
    pub kind: Kind,
    pub tunnel: bool,
    /// A GET for SSE that had a stream before, of a session that this bridge knows or not.
    pub came_back: bool,
    /// `poll-queue`, where it says one.
    pub queue: Option<usize>,
    /// The channels of a GET's URL, subscribed when it opens or joins a session without resuming.
    pub channels: Vec<Identifier>,
    /// What a session that it opens shakes hands with.
    pub handshake: Handshake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It does not say.
    Fresh,
    /// After an event id: the random part and the place.
    Event { secret: u128, place: u64 },
    /// After a bare `msg_id`, which proves nothing.
    Number(u64),
}

impl Start {
    /// Reads an event id, as `Session::event_id_prefix` begins it.
    pub fn from_event_id(text: &str) -> Option<Start> {
        let (secret, place) = text.split_once('.')?;
        let wellformed = secret.len() == 32
            && secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            && !place.is_empty()
            && place.bytes().all(|byte| byte.is_ascii_digit());
        let secret = u128::from_str_radix(secret, 16).ok().filter(|_| wellformed)?;
        Some(Start::Event { secret, place: place.parse().ok()? })
    }

    /// Whether a listener has been here before.
    pub(super) fn resumes(self) -> bool {
        !matches!(self, Start::Fresh | Start::Number(0))
    }
}

#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub cookie: Option<Vec<u8>>,
    pub authorization: Option<Vec<u8>>,
    /// What of its query is handed on to the upstream.
    pub query: String,
    /// After the rules by which a missing `Origin` is derived.
    pub origin: Option<Vec<u8>>,
}

/// Hashes of credentials, under keys of this process: to see whether two are the same, without keeping them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub cookie: u64,
    pub authorization: u64,
    pub query: u64,
    pub origin: u64,
}

impl Credentials {
    /// Puts what is shown in the place of what an older request showed. What is not shown stays.
    pub(super) fn renew(&self, handshake: &mut Handshake) {
        for (name, shown) in [("Cookie", &self.cookie), ("Authorization", &self.authorization)] {
            if let Some(value) = shown {
                handshake.headers.retain(|(header, _)| !header.eq_ignore_ascii_case(name));
                handshake.headers.push((name.to_owned(), value.clone()));
            }
        }
        if !self.query.is_empty() {
            handshake.query.clone_from(&self.query);
        }
    }
}

impl Fingerprint {
    pub fn of(credentials: &Credentials, keys: &RandomState) -> Fingerprint {
        let Credentials { cookie, authorization, query, origin } = credentials;
        Fingerprint {
            cookie: keys.hash_one(cookie),
            authorization: keys.hash_one(authorization),
            query: keys.hash_one(query),
            origin: keys.hash_one(origin),
        }
    }

    /// All but the `Origin`: what an application goes by.
    pub fn login(&self) -> [u64; 3] {
        [self.cookie, self.authorization, self.query]
    }

    /// Takes over what `newer` is the print of, where `shown` has it.
    pub fn renew(&mut self, newer: &Fingerprint, shown: &Credentials) {
        if shown.cookie.is_some() {
            self.cookie = newer.cookie;
        }
        if shown.authorization.is_some() {
            self.authorization = newer.authorization;
        }
        if !shown.query.is_empty() {
            self.query = newer.query;
        }
    }
}

/// The connection of a listener's client, to be seen and ended from another thread.
pub trait ClientConnection: Send + Sync {
    /// Whether the client has closed it, or it is over. Never waits.
    fn has_left(&self) -> bool;

    /// Ends it: a write that is stuck ends at once.
    fn cut(&self);
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// There is none, and this request opens none.
    NotFound,
    /// Another client has it.
    NotYours,
    /// The upstream refused it; the sentence says how.
    RefusedUpstream(String),
    /// The upstream cannot be had; the sentence says why.
    Failed(String),
    /// It was ended for good, for this reason.
    EndedForGood(String),
    /// No living tunnel can go on from there. The `close` that ended it, as JSON, if that is known.
    Gone(Option<String>),
    /// A tunnel was asked for and a managed session is there, or the other way round.
    WrongKind,
    /// The channels in its URL cannot be had; the sentence says why.
    Channels(String),
    /// `--max-sessions`, or no thread for one more.
    Full,
    Draining,
}

impl SessionError {
    /// What a request is told that waited for this session.
    pub(super) fn of(reason: EndReason) -> SessionError {
        match reason {
            EndReason::RefusedUpstream(why) => SessionError::RefusedUpstream(why),
            EndReason::Failed(why) => SessionError::Failed(why),
            EndReason::Drained => SessionError::Draining,
            EndReason::ForGood { reason, .. } => SessionError::EndedForGood(reason),
            EndReason::Unused => {
                let why = "the session was replaced by a newer one, try again";
                SessionError::Failed(why.to_owned())
            }
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
            Some(Start::Event { secret, place }) => Some((format!("{secret:032x}"), place)),
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
