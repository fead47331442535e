//! What is asked of the table of sessions, by what rules, and the reasons for a no.

use super::{Over, Start};
use crate::gate::Hangup;
use crate::mailbox::Bounds;
use crate::upstream::Handshake;
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

/// Why a request gets no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// There is none, and this request opens none.
    NotFound,
    /// It is somebody else's.
    Forbidden,
    /// The upstream refused it; the sentence says how.
    Denied(String),
    /// The upstream cannot be had; the sentence says why.
    Failed(String),
    /// It was ended for good, for this reason.
    Dead(String),
    /// No living tunnel can go on from there. The `close` that ended it, as JSON, if that is known.
    Gone(Option<String>),
    /// A tunnel was asked for and a managed session is there, or the other way round.
    WrongKind,
    /// `--max-sessions`, or no thread for one more.
    Full,
    /// The bridge stops.
    Draining,
}

/// What the request that opened a session carried, for `--strict-headers` and for those who come back too late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub cookie: Option<Vec<u8>>,
    pub authorization: Option<Vec<u8>>,
    /// After the rules by which a missing `Origin` is derived.
    pub origin: Option<Vec<u8>>,
}

/// Who asks, and what a session would be opened with.
pub struct Opener<'a> {
    pub path: &'a str,
    pub credentials: &'a Credentials,
    /// It asks for a tunnel.
    pub tunnel: bool,
    pub handshake: &'a dyn Fn() -> Handshake,
}

/// A GET for SSE.
pub struct StreamAsk<'a> {
    pub opener: Opener<'a>,
    pub start: Start,
    /// It has a `Last-Event-ID`, whatever that is.
    pub came_back: bool,
}

/// A GET for a long poll.
pub struct PollAsk<'a> {
    pub opener: Opener<'a>,
    pub start: Start,
    pub queue: Option<usize>,
    pub hangup: Hangup,
}

impl Denial {
    /// What a request is told that waited for this session.
    pub(super) fn of(over: Over) -> Denial {
        match over {
            Over::Denied(why) => Denial::Denied(why),
            Over::Failed(why) => Denial::Failed(why),
            Over::Drained => Denial::Draining,
            Over::Ended { reason, .. } => Denial::Dead(reason),
            Over::Quiet => {
                Denial::Failed("the session was replaced by a newer one, try again".to_owned())
            }
        }
    }
}
