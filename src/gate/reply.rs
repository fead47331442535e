//! What tiny_http answered, read off an inner connection.
//!
//! Owns: which of its headers go on to the client. The hop-by-hop ones are the gate's to write.
//! Never: reads past the end of one answer; more bytes there mean that the connection is out of step.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::answer::{Manner, has_body};

/// Room for the first read: most answers come whole in it.
const FIRST_READ: usize = 4 * 1024;

/// Bytes of a head that `http` may write.
const HEAD_MAX: usize = 64 * 1024;

/// Headers that `http` may write.
const HEADERS_MAX: usize = 64;

/// Headers about the inner hop, `Date`, which the gate writes into every answer, and `Server`, which would name a program
/// that no client talks to.
const NOT_PASSED_ON: [&str; 8] = [
    "server",
    "date",
    "connection",
    "keep-alive",
    "content-length",
    "transfer-encoding",
    "trailer",
    "upgrade",
];

pub(super) struct Reply {
    pub(super) status: u16,
    headers: Vec<(String, Vec<u8>)>,
    /// As told by Content-Length; to a HEAD the body itself does not come.
    length: usize,
    body: Vec<u8>,
}

impl Reply {
    /// tiny_http's own word for a handler that panicked.
    pub(super) fn is_panic(&self) -> bool {
        self.status == 500 && self.length == 0
    }

    /// The bytes for the client.
    pub(super) fn encode(&self, manner: Manner) -> Vec<u8> {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let mut bytes = manner.head(self.status, headers, Some(self.length));
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Reads one answer. Each read has the stream's own timeout.
pub(super) fn read(stream: &UnixStream, head_only: bool) -> io::Result<Reply> {
    let mut bytes = Vec::with_capacity(FIRST_READ);
    loop {
        fill(stream, &mut bytes)?;
        if let Some((mut reply, end)) = parse_head(&bytes)? {
            bytes.drain(..end);
            let length = if head_only || !has_body(reply.status) { 0 } else { reply.length };
            bytes.reserve_exact(length.saturating_sub(bytes.len()));
            while bytes.len() < length {
                fill(stream, &mut bytes)?;
            }
            if bytes.len() > length {
                return Err(broken("bytes after an answer"));
            }
            reply.body = bytes;
            return Ok(reply);
        }
        if bytes.len() > HEAD_MAX {
            return Err(broken("an endless head"));
        }
        bytes.reserve(FIRST_READ);
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Reply, usize)>> {
    // Not an array, for the sake of the stack, as for a request's head.
    let mut headers = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let end = match response.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(end) => end,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.ok_or_else(|| broken("no status"))?;
    let length = match response.headers.iter().find(|h| is(h.name, "content-length")) {
        Some(header) => parse_length(header.value)?,
        None if has_body(status) => return Err(broken("no Content-Length")),
        None => 0,
    };
    let headers = response
        .headers
        .iter()
        .filter(|header| !NOT_PASSED_ON.iter().any(|name| is(header.name, name)))
        .map(|header| (header.name.to_owned(), header.value.to_vec()))
        .collect();
    Ok(Some((Reply { status, headers, length, body: Vec::new() }, end)))
}

fn parse_length(value: &[u8]) -> io::Result<usize> {
    let digits = std::str::from_utf8(value).map_err(io::Error::other)?;
    digits.parse().map_err(io::Error::other)
}

fn is(name: &str, other: &str) -> bool {
    name.eq_ignore_ascii_case(other)
}

fn fill(stream: &UnixStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    loop {
        match rustix::net::recv(stream, spare_capacity(bytes), RecvFlags::empty()) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            // SO_RCVTIMEO speaks so.
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
