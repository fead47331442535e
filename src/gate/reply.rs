//! What tiny_http answered, read off an inner connection.
//!
//! Owns: which of its headers go on to the client. The hop-by-hop ones are the gate's to write.
//! Never: reads past the end of one answer; more bytes there mean that the connection is out of step.

use super::answer::has_body;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::io;
use std::os::unix::net::UnixStream;

/// Room for the first read: most answers come whole in it.
const FIRST_READ: usize = 4 * 1024;

/// Bytes of a head that `http` may write, and its header lines.
const HEAD_MAX: usize = 64 * 1024;
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
    /// Their lines.
    pub(super) headers: String,
    /// As told by Content-Length; to a HEAD the body itself does not come.
    pub(super) length: usize,
    pub(super) body: Vec<u8>,
}

/// Reads one answer. Each read has the stream's own timeout.
pub(super) fn read(stream: &UnixStream, head_only: bool) -> io::Result<Reply> {
    let mut bytes = Vec::with_capacity(FIRST_READ);
    let (end, mut reply) = loop {
        fill(stream, &mut bytes)?;
        if let Some(found) = parse_head(&bytes)? {
            break found;
        }
        if bytes.len() > HEAD_MAX {
            return Err(broken("an endless head"));
        }
        bytes.reserve(FIRST_READ);
    };
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
    Ok(reply)
}

/// Where the head ends, and what it says; `None`: it is not whole yet.
fn parse_head(bytes: &[u8]) -> io::Result<Option<(usize, Reply)>> {
    let mut headers = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = head.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let status = head.code.unwrap_or_default();
    let mut reply = Reply { status, headers: String::new(), length: 0, body: Vec::new() };
    let mut length = None;
    for header in head.headers {
        let value = std::str::from_utf8(header.value).map_err(io::Error::other)?;
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse().map_err(io::Error::other)?);
        }
        if !NOT_PASSED_ON.iter().any(|other| header.name.eq_ignore_ascii_case(other)) {
            reply.headers.extend([header.name, ": ", value, "\r\n"]);
        }
    }
    match length {
        None if has_body(status) => Err(broken("no Content-Length")),
        length => Ok(Some((end, Reply { length: length.unwrap_or_default(), ..reply }))),
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
