//! What a message of the benchmark says: whose it is, which one, and when it was sent.
//!
//! A mark has a fixed length and a letter that nothing else on these wires has, so that the clients find it without reading
//! JSON, SSE or WebSocket frames: what they spend is not there for the process that is measured.

use std::io::{BufRead, Write};

use crate::websocket;

/// What a mark begins with. The `@` alone may be a byte of a WebSocket frame's length.
const INTRO: &[u8] = b"@b:";
const MARK_BYTES: usize = 31;

/// The JSON value `message` of each message.
const MESSAGE_BYTES: usize = 200;

pub const IDENTIFIER: &str = r#"{"channel":"BenchChannel"}"#;

/// The same as ActionCable sends it: an object as a string.
pub const IDENTIFIER_TEXT: &str = r#""{\"channel\":\"BenchChannel\"}""#;

/// What comes before the mark and after it.
const HEAD: &str = r#"{"identifier":"{\"channel\":\"BenchChannel\"}","message":{"text":""#;
const TAIL: &str = r#""}}"#;
const PADDING: usize = MESSAGE_BYTES - r#"{"text":""}"#.len() - MARK_BYTES;

#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// The session.
    pub slot: usize,
    /// Counts from 1 in each session.
    pub number: u32,
    /// Nanoseconds of `clock::now`.
    pub at: u64,
}

impl Mark {
    /// Appends the 31 bytes of it.
    pub fn put(&self, out: &mut Vec<u8>) {
        write!(out, "@b:{:04x}{:08x}{:016x}", self.slot, self.number, self.at).unwrap();
    }

    /// A cable message of 200 bytes around it, as a WebSocket frame.
    pub fn put_frame(&self, out: &mut Vec<u8>) {
        let length = HEAD.len() + MARK_BYTES + PADDING + TAIL.len();
        websocket::put_text_head(out, length);
        out.extend_from_slice(HEAD.as_bytes());
        self.put(out);
        out.resize(out.len() + PADDING, b'.');
        out.extend_from_slice(TAIL.as_bytes());
    }

    fn parse(bytes: &[u8]) -> Option<Mark> {
        let text = std::str::from_utf8(bytes.strip_prefix(INTRO)?).ok()?;
        let hex = |from: usize, to: usize| u64::from_str_radix(text.get(from..to)?, 16).ok();
        Some(Mark {
            slot: hex(0, 4)?.try_into().ok()?,
            number: hex(4, 12)?.try_into().ok()?,
            at: hex(12, 28)?,
        })
    }
}

/// Calls `each` with every whole mark. How many bytes are done with; what is after them may be the start of another.
pub fn scan(bytes: &[u8], mut each: impl FnMut(Mark)) -> usize {
    let mut done = 0;
    while let Some(at) = find_at_sign(&bytes[done..]) {
        let from = done + at;
        let Some(candidate) = bytes.get(from..from + MARK_BYTES) else { return from };
        done = from + 1;
        if let Some(mark) = Mark::parse(candidate) {
            each(mark);
            done = from + MARK_BYTES;
        }
    }
    bytes.len()
}

/// `skip_until` looks at a word of bytes at a time, which `position` does not.
fn find_at_sign(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let read = rest.skip_until(b'@').ok()?;
    (read > 0 && bytes[read - 1] == b'@').then(|| read - 1)
}
