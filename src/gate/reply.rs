//! What tiny_http answered, read off an inner connection.
//!
//! Owns: which of its headers go on to the client. The hop-by-hop ones are the gate's to write.
//! Never: reads past the end of one answer; more bytes there mean that the connection is out of step.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::answer::{ResponseMode, has_body};

/// Room for the first read: most answers come whole in it.
const FIRST_READ: usize = 4 * 1024;

/// Bytes of a head that `http` may write.
const HEAD_MAX: usize = 64 * 1024;

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
    status: u16,
    /// Their lines.
    headers: String,
    /// As told by Content-Length; to a HEAD the body itself does not come.
    length: usize,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// The head for the client; the body follows it as it is.
    pub(super) fn head(&self, mode: ResponseMode) -> Vec<u8> {
        mode.head(self.status, &self.headers, Some(self.length))
    }
}

/// Reads one answer. Each read has the stream's own timeout.
pub(super) fn read(stream: &UnixStream, head_only: bool) -> io::Result<Reply> {
    let mut bytes = Vec::with_capacity(FIRST_READ);
    loop {
        fill(stream, &mut bytes)?;
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let mut reply = parse_head(&bytes[..end])?;
            bytes.drain(..end + 4);
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

/// tiny_http writes heads of ASCII, each header as `Name: value`.
fn parse_head(head: &[u8]) -> io::Result<Reply> {
    let mut lines = std::str::from_utf8(head).map_err(io::Error::other)?.split("\r\n");
    let status =
        lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| broken("no status"))?;
    let mut reply = Reply { status, headers: String::new(), length: 0, body: Vec::new() };
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(|| broken("no header"))?;
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse().map_err(io::Error::other)?);
        }
        if !NOT_PASSED_ON.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            reply.headers.push_str(line);
            reply.headers.push_str("\r\n");
        }
    }
    match length {
        None if has_body(status) => Err(broken("no Content-Length")),
        length => Ok(Reply { length: length.unwrap_or_default(), ..reply }),
    }
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
