//! Answers, and the bytes they are on the wire.
//!
//! Owns: the status line, `Date` and the hop-by-hop headers, which depend on what the client asked and not on `http`.
//! Never: lets a control character into a header, wherever its value came from (RFC 9110, 5.5).

use std::borrow::Cow;
use std::io::Write;
use std::time::SystemTime;

use super::head::Head;

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
        let body = serde_json::json!({ "error": self.text }).to_string();
        let answer = Answer::new(self.status)
            .with("Content-Type", "application/json")
            .with("Cache-Control", "no-store, no-transform");
        let answer =
            if self.status == 503 { answer.with("Retry-After", RETRY_AFTER) } else { answer };
        answer.body(body)
    }
}

/// Seconds. Connections come and go; who asks again at once meets the same crowd.
const RETRY_AFTER: &str = "2";

/// How the client of one request wants to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) http10: bool,
    /// To a HEAD: the head of an answer and never its body.
    pub(super) head_only: bool,
    pub(super) keep: bool,
}

impl Manner {
    /// For a client whose head was not understood.
    pub(super) const UNKNOWN: Manner = Manner { http10: false, head_only: false, keep: false };

    /// HTTP/1.1 keeps the connection unless told to close it, HTTP/1.0 only where asked (RFC 9112, 9.3).
    pub(super) fn of(head: &Head) -> Manner {
        let keep = !head.has_token("connection", "close")
            && (!head.http10 || head.has_token("connection", "keep-alive"));
        Manner { http10: head.http10, head_only: head.method == "HEAD", keep }
    }

    pub(super) fn closing(self) -> Manner {
        Manner { keep: false, ..self }
    }

    /// A whole answer in one piece, so that one write sends it.
    pub(super) fn whole(self, answer: &Answer) -> Vec<u8> {
        let mut bytes = self.head(answer.status, text(&answer.headers), Some(answer.body.len()));
        if !self.head_only && has_body(answer.status) {
            bytes.extend_from_slice(&answer.body);
        }
        bytes
    }

    /// The head of an answer. Without a length its body ends with the connection.
    pub(super) fn head<'a>(
        self,
        status: u16,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        length: Option<usize>,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let version = if self.http10 { "HTTP/1.0" } else { "HTTP/1.1" };
        put(&mut out, format_args!("{version} {status} {}\r\n", reason(status)));
        put(&mut out, format_args!("Date: {}\r\n", httpdate::fmt_http_date(SystemTime::now())));
        for (name, value) in headers {
            put(&mut out, format_args!("{name}: "));
            out.extend(value.iter().map(|&byte| if is_control(byte) { b' ' } else { byte }));
            out.extend_from_slice(b"\r\n");
        }
        if let Some(length) = length.filter(|_| has_body(status)) {
            put(&mut out, format_args!("Content-Length: {length}\r\n"));
        }
        match (self.keep, self.http10) {
            (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
            (true, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, false) => {}
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// `http`'s headers in the form `Manner::head` takes.
pub(super) fn text<'a>(
    headers: &'a [(&'static str, String)],
) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    headers.iter().map(|(name, value)| (*name, value.as_bytes()))
}

/// Whether an answer with this status has a body at all (RFC 9110, 6.4.1).
pub(super) fn has_body(status: u16) -> bool {
    !matches!(status, 100..=199 | 204 | 304)
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

/// The phrase after the status. Nothing reads it but people; a status without one is sent with none.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
