//! What is asked of the table of sessions, by what rules, and the reasons for a no.

use super::EndReason;
use crate::frame::Identifier;
use crate::mailbox::Bounds;
pub use crate::tcp::ListenerClient;
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
    /// `-S`: how long a session outlives a poll.
    pub poll_window: Duration,
    /// How long a session outlives a stream.
    pub resume_window: Duration,
    pub bounds: Bounds,
    pub channels_max: usize,
    pub sessions_max: usize,
    /// Bytes that clients and the upstream may make the process hold.
    pub memory_max: usize,
}

impl Rules {
    /// How long a session outlives a listener.
    pub(super) fn outlives(&self, kind: Kind) -> Duration {
        match kind {
            Kind::Stream => self.resume_window,
            Kind::Poll => self.poll_window,
        }
    }
}

/// One request for a session, whatever its method.
pub struct JoinRequest {
    pub path: String,
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
    /// What it shows, and what a session that it opens shakes hands with.
    pub handshake: Handshake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stream,
    /// Or a POST that opens a session for polls to come.
    Poll,
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
            && place.bytes().all(|byte| byte.is_ascii_digit());
        let secret = u128::from_str_radix(secret, 16).ok().filter(|_| wellformed)?;
        Some(Start::Event { secret, place: place.parse().ok()? })
    }
}

/// Hashes of what a request shows, under keys of this process: to see whether two are the same, without keeping them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub cookie: u64,
    pub origin: u64,
    /// All but the `Origin`: what an application goes by.
    pub login: u64,
}

impl Fingerprint {
    pub fn of(handshake: &Handshake, keys: &RandomState) -> Fingerprint {
        let [cookie, authorization, origin] = ["Cookie", "Authorization", "Origin"].map(|name| {
            let of_this_name = handshake.headers.iter().filter(|(header, _)| is(header, name));
            keys.hash_one(of_this_name.map(|(_, value)| value).collect::<Vec<_>>())
        });
        let login = keys.hash_one((cookie, authorization, &handshake.query));
        Fingerprint { cookie, origin, login }
    }
}

/// Puts the credentials that a newer request shows in the place of those of an older one. What it does not show stays.
pub(super) fn renew(handshake: &mut Handshake, newer: &Handshake) {
    for name in ["Cookie", "Authorization"] {
        let shown: Vec<_> = newer.headers.iter().filter(|(header, _)| is(header, name)).collect();
        if !shown.is_empty() {
            handshake.headers.retain(|(header, _)| !is(header, name));
            handshake.headers.extend(shown.into_iter().cloned());
        }
    }
    if !newer.query.is_empty() {
        handshake.query.clone_from(&newer.query);
    }
}

fn is(header: &str, name: &str) -> bool {
    header.eq_ignore_ascii_case(name)
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
    /// This POST of a tunnel is not the next one, which is number `expected`.
    Skips { expected: u64 },
    /// The upstream reads no frames at the moment.
    Busy,
    /// A tunnel was asked for and a managed session is there, or the other way round.
    WrongKind,
    /// The channels in its URL cannot be had; the sentence says why.
    Channels(String),
    /// `--max-sessions`, or no thread for one more.
    Full,
    /// The bridge stops.
    Draining,
}

impl SessionError {
    /// What a request is told that waited for this session.
    pub(super) fn of(reason: EndReason) -> SessionError {
        match reason {
            EndReason::NotOpened(error) => error,
            EndReason::Drained => SessionError::Draining,
            EndReason::ForGood { reason, .. } => SessionError::EndedForGood(reason),
            EndReason::Dropped(_) => {
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
