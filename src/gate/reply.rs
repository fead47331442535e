//! What tiny_http answered, read off an inner connection.
//!
//! Owns: which of its headers go on to the client: `http`'s, and none of those that tiny_http adds.
//! Never: reads past the end of one answer; more bytes there mean that the connection is out of step.

use super::answer::{Answer, has_body};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixStream;

/// Room for the first read: most answers come whole in it.
const FIRST_READ: usize = 4 * 1024;

/// Bytes of a head that `http` may write, and its header lines.
const HEAD_MAX: u64 = 64 * 1024;
const HEADERS_MAX: usize = 64;

/// Reads one answer, of which tiny_http tells the length. Each read has the stream's own timeout.
pub(super) fn read(stream: &UnixStream) -> io::Result<Answer> {
    let mut reader = BufReader::with_capacity(FIRST_READ, stream);
    let mut head = Vec::with_capacity(FIRST_READ);
    let mut lines = reader.by_ref().take(HEAD_MAX);
    while !head.ends_with(b"\r\n\r\n") {
        if lines.read_until(b'\n', &mut head)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let (mut answer, length) = parse(&head)?;
    answer.body.resize(length, 0);
    reader.read_exact(&mut answer.body)?;
    if !reader.buffer().is_empty() {
        return Err(io::Error::other("bytes after an answer"));
    }
    Ok(answer)
}

/// What a head says, and how long the body behind it is.
fn parse(head: &[u8]) -> io::Result<(Answer, usize)> {
    let mut headers = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).map_err(io::Error::other)?;
    let mut answer = Answer::new(response.code.unwrap_or_default());
    let mut length = None;
    for header in response.headers {
        let value = std::str::from_utf8(header.value).map_err(io::Error::other)?;
        match header.name {
            "Content-Length" => length = Some(value.parse().map_err(io::Error::other)?),
            // The gate dates every answer, and no client talks to tiny_http.
            "Date" | "Server" => {}
            name => answer.headers.extend([name, ": ", value, "\r\n"]),
        }
    }
    match length {
        _ if !has_body(answer.status) => Ok((answer, 0)),
        None => Err(io::Error::other("no Content-Length")),
        Some(length) => Ok((answer, length)),
    }
}
