//! Requests to the bridge, one after the other on one connection, and how an answer is framed.
//!
//! Never: does without a Content-Length; whole answers of the bridge have one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::mark::IDENTIFIER;
use crate::websocket::head_end;

/// Only a benchmark that fails meets it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Messages that a session keeps for its poller: what the bridge keeps at most.
const POLL_QUEUE: u32 = 1024;

/// A connection to the bridge or the relay that no algorithm of Nagle's holds up.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("what is measured listens");
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What opens the stream of a session.
pub fn stream_request(slot: usize) -> String {
    format!(
        "GET /bench-{slot}?slot={slot} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    )
}

pub fn poll_request(slot: usize) -> String {
    format!(
        "GET /bench-{slot}?timeout=60&poll-queue={POLL_QUEUE} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
}

pub struct Poster {
    stream: TcpStream,
}

impl Poster {
    pub fn new(port: u16) -> Poster {
        Poster { stream: connect(port) }
    }

    /// Subscribes a session that has a stream.
    pub fn subscribe(&mut self, slot: usize) {
        self.post(&format!("/bench-{slot}"), &subscribe_body());
        self.answer();
    }

    /// Opens a session for polls, subscribed.
    pub fn open(&mut self, slot: usize) {
        self.post(&format!("/bench-{slot}?slot={slot}&poll-queue={POLL_QUEUE}"), &subscribe_body());
        self.answer();
    }

    pub fn post(&mut self, target: &str, body: &str) {
        let length = body.len();
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    /// Waits for the answer, which must be a good one.
    pub fn answer(&mut self) {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while whole(&answer).is_none() {
            let read = self.stream.read(&mut buffer).expect("an answer to a POST");
            assert!(read > 0, "the answer to a POST ended early");
            answer.extend_from_slice(&buffer[..read]);
        }
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains(r#""error":null"#), "the bridge did not take it: {text}");
    }
}

fn subscribe_body() -> String {
    format!(r#"[{{"identifier":{IDENTIFIER},"subscribe":true}}]"#)
}

/// How many bytes the first answer takes; `None` until it is whole.
pub fn whole(bytes: &[u8]) -> Option<usize> {
    let end = head_end(bytes)?;
    let length = content_length(&bytes[..end]);
    (bytes.len() >= end + length).then_some(end + length)
}

fn content_length(head: &[u8]) -> usize {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut headers);
    answer.parse(head).expect("an answer is HTTP");
    assert_eq!(answer.code, Some(200), "refused: {}", String::from_utf8_lossy(head));
    let length = answer.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = std::str::from_utf8(length.expect("a length").value).unwrap();
    length.parse().unwrap()
}
