//! The answers that more than one request gets, and how a `SessionError` is said.

use crate::frame::quoted;
use crate::gate::{Answer, busy, error};
use crate::session::SessionError;
use crate::sse::retry_within;

/// When an EventSource that cannot be served now comes back, in milliseconds.
const RETRY_FULL: std::ops::RangeInclusive<u32> = 5000..=15_000;

/// With its charset, which every event stream has: some clients read Latin-1 where none is named.
pub const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

pub const JSON: &str = "application/json";

/// The same whatever the request lacks: which id or credentials would do is not told.
const NOT_YOURS: &str = "this id is in use: come back with the last event id, or use an id of your own, long and random";

const WRONG_KIND: &str = "an id is of a session or of a tunnel (which has a protocol parameter), not of both: use another id";

/// A 200 of this session.
pub fn done(content_type: &str, session_id: &str) -> Answer {
    let answer = Answer::new(200).with("Content-Type", content_type);
    answer.with("X-Session-Id", session_id).unbuffered()
}

/// An answer to a poll, a POST or a DELETE that gets no session, or to frames that it does not take.
pub fn denied(problem: SessionError) -> Answer {
    match problem {
        SessionError::NotFound => {
            error(404, "no such session: open it with a GET, or add poll-queue to this POST")
        }
        SessionError::NotYours => error(403, NOT_YOURS),
        SessionError::RefusedUpstream(why) => error(403, &why),
        SessionError::Failed(why) => error(502, &why).with("Retry-After", "2"),
        SessionError::EndedForGood(reason) => {
            let why = "open a new one without its event id";
            error(403, &format!("the session was ended for good ({reason}); {why}"))
        }
        SessionError::Gone(close) => {
            let close = close.as_deref().unwrap_or("null");
            let why =
                quoted("no living tunnel can go on from there: open a new one under a new id");
            error(410, "").body(format!("{{\"error\":{why},\"close\":{close}}}\n"))
        }
        SessionError::Skips { expected } => {
            let next = format!("the next POST of this tunnel is number {expected}");
            error(409, &format!("seq: {next}, send that first"))
        }
        SessionError::Busy => busy("the upstream takes no frames at the moment, send them again"),
        SessionError::Channels(why) => error(400, &why),
        SessionError::WrongKind => error(409, WRONG_KIND),
        SessionError::Full => {
            error(503, "no room for one more session, try again later (--max-sessions)")
                .with("Retry-After", "10")
        }
        SessionError::Draining => {
            error(503, "the bridge stops, try again in a few seconds").with("Retry-After", "5")
        }
    }
}

/// An answer to a stream that gets no session. EventSource gives up for ever at any status but 200: what passes is a
/// stream that says no more than when to come back, what does not pass is a status.
pub fn denied_stream(problem: SessionError, tunnel: bool) -> Answer {
    match problem {
        SessionError::EndedForGood(_) => Answer::new(204).unbuffered(),
        // The client of a tunnel is no EventSource, and reads a status.
        SessionError::Failed(_) if tunnel => denied(problem),
        SessionError::Full | SessionError::Draining | SessionError::Failed(_) => {
            let answer = Answer::new(200).with("Content-Type", EVENT_STREAM).unbuffered();
            answer.body(retry_within(RETRY_FULL))
        }
        _ => denied(problem),
    }
}
