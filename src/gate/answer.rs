//! Answers, and the bytes they are on the wire.
//!
//! Owns: the status line, `Date` and the hop-by-hop headers, which depend on what the client asked and not on `http`.
//! Never: lets a control character into a header, wherever its value came from (RFC 9110, 5.5).

use super::socket::Socket;
use crate::report::clock;
use std::io;
use std::time::Duration;

/// A whole answer, sent with its Content-Length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Their lines.
    pub headers: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16) -> Answer {
        Answer { status, headers: String::new(), body: Vec::new() }
    }

    /// Adds a header. Control characters in the value become spaces (RFC 9110, 5.5).
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Answer {
        let is_bad = |char: char| char.is_ascii_control() && char != '\t';
        self.headers.extend([name, ": "]);
        self.headers.extend(value.as_ref().chars().map(|c| if is_bad(c) { ' ' } else { c }));
        self.headers.push_str("\r\n");
        self
    }

    /// For no cache to keep, and for no proxy to hold back.
    pub fn unbuffered(self) -> Answer {
        self.with("Cache-Control", "no-store, no-transform").with("X-Accel-Buffering", "no")
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = body.into();
        self
    }
}

/// The answer to what cannot be done, with the sentence that says what to do.
pub fn error(status: u16, what_to_do: &str) -> Answer {
    Answer::new(status)
        .with("Content-Type", "application/json")
        .unbuffered()
        .body(format!("{{\"error\":{}}}\n", serde_json::Value::from(what_to_do)))
}

/// For what passes in seconds: connections come and go, and a client that asks again at once meets the same crowd.
pub fn busy(what_to_do: &str) -> Answer {
    error(503, what_to_do).with("Retry-After", "2")
}

/// How an answer is sent; by default as to a client whose head was not understood.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ResponseMode {
    pub(super) http10: bool,
    /// To a HEAD: the head of an answer and never its body.
    pub(super) head_only: bool,
    pub(super) keep: bool,
}

impl ResponseMode {
    /// Sends a whole answer; `TimedOut` when the client took nothing of it for as long as `stuck`.
    pub(super) fn send(self, answer: &Answer, to: &Socket, stuck: Duration) -> io::Result<()> {
        let Answer { status, headers, body } = answer;
        let sent = if self.head_only || !has_body(*status) { &[] } else { &body[..] };
        to.write([&self.head(*status, headers, Some(body.len())), sent], stuck)
    }

    /// The head of an answer, with these header lines. Without a length its body is chunked; HTTP/1.0 knows no chunks,
    /// there it ends with the connection.
    pub(super) fn head(self, status: u16, headers: &str, length: Option<usize>) -> Vec<u8> {
        let version = if self.http10 { "HTTP/1.0" } else { "HTTP/1.1" };
        let reason = tiny_http::StatusCode(status).default_reason_phrase();
        let date = httpdate::fmt_http_date(clock());
        let mut head = format!("{version} {status} {reason}\r\nDate: {date}\r\n{headers}");
        match length {
            _ if !has_body(status) => {}
            Some(length) => head += &format!("Content-Length: {length}\r\n"),
            None if self.http10 => {}
            None => head += "Transfer-Encoding: chunked\r\n",
        }
        head += match (self.keep, self.http10) {
            (false, _) => "Connection: close\r\n\r\n",
            (true, true) => "Connection: keep-alive\r\n\r\n",
            (true, false) => "\r\n",
        };
        head.into_bytes()
    }
}

/// Whether an answer with this status has a body at all (RFC 9110, 6.4.1).
pub(super) fn has_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}
