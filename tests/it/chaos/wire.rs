//! A connection that may end at any byte: what came whole, and inside of what it ended.
//!
//! Never: takes an end for an error. Only silence is one: something is always under way.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::PATIENCE;

/// The upstream is never silent for so long: by then a poll without a forced reply has something to answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Inside of what a connection ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Inside {
    Head,
    Event,
    Json,
    Nothing,
    /// It was cut by nobody: the bridge has no room for it.
    Busy,
}

/// One event, as a browser would dispatch it: only when its blank line has come does its id count.
#[derive(Debug, Default)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: String,
}

pub struct Wire {
    reader: BufReader<TcpStream>,
    /// Bytes of the chunk that is under way; a body without chunks has no number.
    chunk: Option<usize>,
    /// The last chunk has come.
    ended: bool,
}

pub struct Head {
    pub status: u16,
    length: Option<usize>,
}

impl Wire {
    pub fn new(socket: TcpStream) -> Wire {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire { reader: BufReader::new(socket), chunk: None, ended: false }
    }

    /// Sends a GET. That the other side has gone is seen when the answer is read.
    pub fn ask(&mut self, target: &str, headers: &str) {
        let head = format!("GET {target} HTTP/1.1\r\nHost: bridge\r\n{headers}\r\n");
        let _ = self.reader.get_mut().write_all(head.as_bytes());
    }

    pub fn head(&mut self) -> Result<Head, Inside> {
        let status = self.line().ok_or(Inside::Head)?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut head = Head { status: status.expect("a status line"), length: None };
        let mut chunk = None;
        loop {
            let line = self.line().ok_or(Inside::Head)?;
            match line.trim_end().split_once(": ") {
                Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => {
                    chunk = Some(0);
                }
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    head.length = value.parse().ok();
                }
                Some(_) => {}
                None => {
                    self.chunk = chunk;
                    return Ok(head);
                }
            }
        }
    }

    /// The next event of a stream.
    pub fn event(&mut self) -> Result<Event, Inside> {
        let mut event = Event::default();
        let mut begun = false;
        loop {
            let (line, whole) = self.bytes();
            if !whole {
                let inside = begun || line.starts_with(b"id");
                return Err(if inside { Inside::Event } else { Inside::Nothing });
            }
            let line = String::from_utf8(line).unwrap();
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("id", id)) => (event.id, begun) = (id.to_owned(), true),
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => event.data = data.to_owned(),
                None if begun && line == "\n" => return Ok(event),
                _ => {}
            }
        }
    }

    /// The body of a poll's answer.
    pub fn body(&mut self, head: &Head) -> Result<String, Inside> {
        let mut body = Vec::new();
        let length = head.length.unwrap_or(usize::MAX);
        let start = Instant::now();
        while body.len() < length && self.more(&mut body, length) {
            assert!(start.elapsed() < ANSWER_MAX, "signs of life and no answer");
        }
        let whole = match head.length {
            Some(length) => body.len() == length,
            // The body that ends with its connection tells by its last brace whether it is whole.
            None => body.trim_ascii_end().ends_with(b"}") && is_json(&body),
        };
        if whole { Ok(String::from_utf8(body).unwrap()) } else { Err(Inside::Json) }
    }

    /// Adds what is there, up to `length` in all. Whether the connection goes on.
    fn more(&mut self, body: &mut Vec<u8>, length: usize) -> bool {
        if self.chunk == Some(0) && !self.next_chunk() {
            return false;
        }
        let left = (length - body.len()).min(self.chunk.unwrap_or(usize::MAX));
        let (count, error) = match self.reader.fill_buf() {
            Ok(bytes) => {
                let count = bytes.len().min(left);
                body.extend_from_slice(&bytes[..count]);
                (count, None)
            }
            Err(error) => (0, Some(error)),
        };
        self.consume(count);
        check_silence(error);
        count > 0
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
        self.chunk = self.chunk.map(|chunk| chunk - count);
        if self.chunk == Some(0) && count > 0 {
            check_silence(self.reader.read_until(b'\n', &mut Vec::new()).err());
        }
    }

    /// Reads the size of the next chunk. False: it was the last one, or the connection has ended.
    fn next_chunk(&mut self) -> bool {
        let mut line = Vec::new();
        if self.ended {
            return false;
        }
        check_silence(self.reader.read_until(b'\n', &mut line).err());
        let size = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix("\r\n"));
        let size = size.map_or(0, |size| usize::from_str_radix(size, 16).expect("a chunk's size"));
        self.chunk = Some(size);
        self.ended = size == 0;
        size > 0
    }

    fn line(&mut self) -> Option<String> {
        let (line, whole) = self.bytes();
        whole.then(|| String::from_utf8(line).unwrap())
    }

    /// The bytes of one line, and whether it came whole.
    fn bytes(&mut self) -> (Vec<u8>, bool) {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            if self.chunk == Some(0) && !self.next_chunk() {
                break;
            }
            let (count, error) = match self.reader.fill_buf() {
                Ok(bytes) => {
                    let left = bytes.len().min(self.chunk.unwrap_or(usize::MAX));
                    let end = bytes[..left].iter().position(|byte| *byte == b'\n');
                    let count = end.map_or(left, |end| end + 1);
                    line.extend_from_slice(&bytes[..count]);
                    (count, None)
                }
                Err(error) => (0, Some(error)),
            };
            self.consume(count);
            check_silence(error);
            if count == 0 {
                break;
            }
        }
        let whole = line.ends_with(b"\n");
        (line, whole)
    }
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

fn check_silence(error: Option<std::io::Error>) {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    let silent = error.as_ref().is_some_and(|e| matches!(e.kind(), TimedOut | WouldBlock));
    assert!(!silent, "nothing came for {PATIENCE:?}, no heartbeat either");
}
