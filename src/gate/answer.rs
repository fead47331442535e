//! Answers, and the bytes they are on the wire.
//!
//! Owns: the status line, `Date` and the hop-by-hop headers, which depend on what the client asked and not on `http`.
//! Never: lets a control character into a header, wherever its value came from (RFC 9110, 5.5).

use super::head::Head;
use crate::report::clock;
use std::borrow::Cow;
use std::io::Write;

/// A whole answer, sent with its Content-Length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: Vec::new() }
    }

    /// An error, with the sentence that says what to do.
    pub fn error(status: u16, what_to_do: &str) -> Answer {
        Answer::new(status)
            .with("Content-Type", "application/json")
            .with("Cache-Control", "no-store, no-transform")
            .body(format!("{{\"error\":{}}}\n", serde_json::Value::from(what_to_do)))
    }

    /// Adds a header. Control characters in the value become spaces on the wire.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Answer {
        self.body = body.into();
        self
    }
}

/// Why a request goes no further than the gate. The text tells the client what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    text: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(status: u16, text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, text: text.into() }
    }

    pub(super) fn answer(&self) -> Answer {
        let answer = Answer::error(self.status, &self.text);
        if self.status == 503 { answer.with("Retry-After", RETRY_AFTER) } else { answer }
    }
}

/// Seconds. Connections come and go; a client that asks again at once meets the same crowd.
const RETRY_AFTER: &str = "2";

#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseMode {
    pub(super) http10: bool,
    /// To a HEAD: the head of an answer and never its body.
    pub(super) head_only: bool,
    pub(super) keep: bool,
}

impl ResponseMode {
    /// For a client whose head was not understood.
    pub(super) const UNKNOWN: ResponseMode =
        ResponseMode { http10: false, head_only: false, keep: false };

    /// HTTP/1.1 keeps the connection unless told to close it, HTTP/1.0 only where asked (RFC 9112, 9.3).
    pub(super) fn of(head: &Head) -> ResponseMode {
        let keep = !head.has_token("connection", "close")
            && (!head.http10 || head.has_token("connection", "keep-alive"));
        ResponseMode { http10: head.http10, head_only: head.method == "HEAD", keep }
    }

    pub(super) fn closing(self) -> ResponseMode {
        ResponseMode { keep: false, ..self }
    }

    /// A whole answer in one piece, so that one write sends it.
    pub(super) fn whole(self, answer: &Answer) -> Vec<u8> {
        let headers = header_lines(&answer.headers);
        let mut bytes = self.head(answer.status, &headers, Some(answer.body.len()));
        if !self.head_only && has_body(answer.status) {
            bytes.extend_from_slice(&answer.body);
        }
        bytes
    }

    /// The head of an answer, with these header lines. Without a length its body is chunked; HTTP/1.0 knows no chunks,
    /// there it ends with the connection.
    pub(super) fn head(self, status: u16, headers: &str, length: Option<usize>) -> Vec<u8> {
        let version = if self.http10 { "HTTP/1.0" } else { "HTTP/1.1" };
        let reason = tiny_http::StatusCode(status).default_reason_phrase();
        let date = httpdate::fmt_http_date(clock());
        let mut out = Vec::with_capacity(headers.len() + 160);
        put(&mut out, format_args!("{version} {status} {reason}\r\nDate: {date}\r\n{headers}"));
        match length {
            _ if !has_body(status) => {}
            Some(length) => put(&mut out, format_args!("Content-Length: {length}\r\n")),
            None if self.http10 => {}
            None => put(&mut out, format_args!("Transfer-Encoding: chunked\r\n")),
        }
        let connection = match (self.keep, self.http10) {
            (false, _) => "Connection: close\r\n",
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
        };
        put(&mut out, format_args!("{connection}\r\n"));
        out
    }
}

/// The lines of these headers; control characters in a value become spaces (RFC 9110, 5.5).
pub(super) fn header_lines(headers: &[(&'static str, String)]) -> String {
    let is_control = |byte: char| (byte < ' ' && byte != '\t') || byte == '\x7f';
    let mut lines = String::with_capacity(256);
    for (name, value) in headers {
        lines.extend([*name, ": "]);
        lines.extend(value.chars().map(|byte| if is_control(byte) { ' ' } else { byte }));
        lines.push_str("\r\n");
    }
    lines
}

/// Whether an answer with this status has a body at all (RFC 9110, 6.4.1).
pub(super) fn has_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}
