//! Requests as they come off a client's socket: heads and bodies, each whole within its deadline.
//!
//! Owns: the bytes that were read and not yet used, so that pipelined requests wait their turn.
//! Never: keeps a buffer for a connection that rests, or takes more than the head's and the body's limit.
//! Flow: `head`, then `take` or `chunks`, as its framing says.

use super::answer::{Answer, error};
use super::bodies::Body;
use super::head::{self, HEAD_MAX, Head, bad, too_large};
use super::socket::Socket;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Room for one read of a head. Most heads come whole in one.
const HEAD_READ: usize = 4 * 1024;

/// Room for one read of a body.
const BODY_READ: usize = 16 * 1024;

/// A chunk's size line with its extensions, which are not used and may be endless.
const CHUNK_LINE_MAX: usize = 256;

/// All trailers of a chunked body; they are read over.
const TRAILERS_MAX: usize = 4 * 1024;

pub(super) struct Reader {
    socket: Arc<Socket>,
    buffer: Vec<u8>,
    /// Where the unused bytes begin.
    start: usize,
}

/// What the client is told before the connection closes. None: it has gone, or there is nothing to say.
pub(super) type ReadEnd = Option<Answer>;

impl Reader {
    pub(super) fn new(socket: Arc<Socket>) -> Reader {
        Reader { socket, buffer: Vec::new(), start: 0 }
    }

    /// Waits for the first byte of a head. False: the deadline came first.
    pub(super) fn wait(&mut self, deadline: Instant) -> Result<bool, ReadEnd> {
        if !self.unused().is_empty() {
            return Ok(true);
        }
        self.release();
        self.socket.readable(deadline).map_err(|_| None)
    }

    /// Gives the memory back, as far as nothing waits in it: a connection may now rest or stream for hours.
    pub(super) fn release(&mut self) {
        self.buffer.drain(..self.start);
        self.buffer.shrink_to_fit();
        self.start = 0;
    }

    /// The next head. It must be whole by the deadline, however steadily its bytes drip.
    pub(super) fn head(&mut self, deadline: Instant) -> Result<Head, ReadEnd> {
        let mut seen = 0;
        let (blank, end) = loop {
            let bytes = self.unused();
            // Empty lines before a request are ignored (RFC 9112, 2.2), but they count as bytes of its head.
            let blank = 2 * bytes.chunks(2).take_while(|two| *two == b"\r\n").count();
            let is_begun = !matches!(bytes[blank..], [] | [b'\r']);
            if is_begun && !bytes[blank].is_ascii_graphic() {
                let why =
                    "these bytes are no HTTP request: speak plain HTTP here, TLS ends in front";
                return Err(bad(why).into());
            }
            // The end may lie across two reads: `\n\r` and `\n`.
            if let Some(end) = head::end_of(bytes, blank.max(usize::saturating_sub(seen, 3))) {
                break (blank, end);
            }
            seen = bytes.len();
            if seen >= HEAD_MAX {
                break (blank, HEAD_MAX + 1);
            }
            self.fill(HEAD_READ, deadline).map_err(|error| {
                // Some clients send an empty line after a body; that begins no request.
                let late = "the request's head did not come in time";
                if is_begun { ended(error, late) } else { None }
            })?;
        };
        if end > HEAD_MAX {
            let text = format!("the request's head is over {HEAD_MAX} bytes: send less of it");
            return Err(error(431, &text).into());
        }
        let head = head::parse(&self.unused()[blank..end])?;
        self.start += end;
        Ok(head)
    }

    /// A chunked body of at most `max` bytes, decoded.
    pub(super) fn chunks(
        &mut self,
        body: &mut Body,
        max: usize,
        deadline: Instant,
    ) -> Result<(), ReadEnd> {
        loop {
            let line = self.line(CHUNK_LINE_MAX, deadline)?;
            let size = chunk_size(&line).ok_or_else(|| bad("a chunk's size is malformed"))?;
            if size == 0 {
                return self.trailers(deadline);
            }
            if size > (max - body.len()) as u64 {
                return Err(too_large(max).into());
            }
            self.take(size as usize, body, deadline)?;
            if !self.line(2, deadline)?.is_empty() {
                return Err(bad("a chunk is longer than its size says").into());
            }
        }
    }

    fn trailers(&mut self, deadline: Instant) -> Result<(), ReadEnd> {
        let mut left = TRAILERS_MAX;
        loop {
            let line = self.line(left, deadline)?;
            if line.is_empty() {
                return Ok(());
            }
            left -= line.len();
        }
    }

    /// One line without its CRLF, which must be within `max` bytes. A bare LF ends no line here: what another
    /// reader in front takes for part of a line must not end one for us.
    fn line(&mut self, max: usize, deadline: Instant) -> Result<Vec<u8>, ReadEnd> {
        loop {
            let unused = self.unused();
            if let Some(lf) = unused.iter().take(max).position(|&byte| byte == b'\n') {
                let line = unused[..lf].strip_suffix(b"\r").filter(|line| !line.contains(&b'\r'));
                let line = line.ok_or_else(|| bad("a chunked body's lines must end with CRLF"))?;
                let line = line.to_owned();
                self.start += lf + 1;
                return Ok(line);
            }
            if unused.len() >= max {
                return Err(bad("a line of the chunked body is too long").into());
            }
            self.fill_body(deadline)?;
        }
    }

    /// A body of so many bytes, or a part of one.
    pub(super) fn take(
        &mut self,
        mut missing: usize,
        body: &mut Body,
        deadline: Instant,
    ) -> Result<(), ReadEnd> {
        loop {
            let here = self.unused().len().min(missing);
            body.extend(&self.buffer[self.start..self.start + here])?;
            self.start += here;
            missing -= here;
            if missing == 0 {
                return Ok(());
            }
            self.fill_body(deadline)?;
        }
    }

    fn fill_body(&mut self, deadline: Instant) -> Result<(), ReadEnd> {
        self.fill(BODY_READ, deadline)
            .map_err(|error| ended(error, "the request's body did not come in time"))
    }

    /// Reads more. The end is an error: more is asked for in the middle of a request only.
    fn fill(&mut self, room: usize, deadline: Instant) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(room);
        match self.socket.read_into(&mut self.buffer, deadline)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// What is here already.
    pub(super) fn unused(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

fn ended(problem: io::Error, late: &'static str) -> ReadEnd {
    match problem.kind() {
        io::ErrorKind::TimedOut => error(408, &format!("{late}: send it again")).into(),
        _ => None,
    }
}

/// Up to 16 hexadecimal digits and no sign, which std would take; then nothing or an extension.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&byte| byte == b';').next()?.trim_ascii_end();
    let is_bare = digits.len() <= 16 && !digits.starts_with(b"+");
    u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| is_bare)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::memory::Budget;

    const BODY_MAX: usize = 1000;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn pair() -> (Reader, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Reader::new(Arc::new(Socket(ours.into()))), theirs)
    }

    /// The body, or the status of its refusal; 0 when the client has gone in the middle of it.
    fn chunked(bytes: &str) -> Result<String, u16> {
        let (mut reader, mut peer) = pair();
        peer.write_all(bytes.as_bytes()).unwrap();
        drop(peer);
        let mut body = Body::begin(&Budget::new(1 << 20));
        match reader.chunks(&mut body, BODY_MAX, soon()) {
            Ok(()) => Ok(String::from_utf8(body.to_vec()).unwrap()),
            Err(Some(refusal)) => Err(refusal.status),
            Err(None) => Err(0),
        }
    }

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(chunked("0\r\n\r\n"), Ok(String::new()));
        assert_eq!(chunked("1\r\na\r\n00002 ;x=\"y\"\r\nbc\r\n0\r\n\r\n"), Ok("abc".to_owned()));
        assert_eq!(
            chunked("A\r\n0123456789\r\n0\r\nT: 1\r\nU: 2\r\n\r\n"),
            Ok("0123456789".to_owned())
        );
        let whole = format!("3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000));
        assert_eq!(chunked(&whole).map(|body| body.len()), Ok(1000));
    }

    #[test]
    fn bad_chunks_are_refused() {
        let endless = format!("1;{}", "x".repeat(300));
        let trailers = format!("0\r\n{}", "T: x\r\n".repeat(2000));
        for (bytes, status) in [
            ("x\r\n", 400),
            ("\r\n", 400),
            ("-1\r\n", 400),
            ("+1\r\na\r\n0\r\n\r\n", 400),
            (" 1\r\na\r\n0\r\n\r\n", 400),
            ("0_1\r\na\r\n0\r\n\r\n", 400),
            (";x\r\na\r\n0\r\n\r\n", 400),
            ("00000000000000001\r\na\r\n0\r\n\r\n", 400),
            ("0x1\r\na\r\n", 400),
            ("1 1\r\na\r\n", 400),
            ("1\na\n0\n\n", 400),
            ("1\r\nab\r\n", 400),
            ("1\ra\r\n", 400),
            (&endless, 400),
            (&trailers, 400),
            ("3e9\r\n", 413),
            ("ffffffffffffffff\r\n", 413),
            ("11111111111111111\r\n", 400),
            ("3\r\nab", 0),
        ] {
            assert_eq!(chunked(bytes), Err(status), "{bytes:.40}");
        }
        assert_eq!(chunked(&"1\r\na\r\n".repeat(1001)), Err(413));
    }

    #[test]
    fn a_head_may_come_byte_by_byte_with_empty_lines_before_it() {
        let (mut reader, mut peer) = pair();
        let writer = std::thread::Builder::new().spawn(move || {
            for byte in b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nrest" {
                peer.write_all(&[*byte]).unwrap();
            }
        });

        let head = reader.head(soon()).unwrap();

        assert_eq!(head.first("host"), Some(&b"a"[..]));
        writer.unwrap().join().unwrap();
    }

    #[test]
    fn a_head_of_16_kib_passes_and_one_byte_more_does_not() {
        for (fill, fits) in [(HEAD_MAX - 32, true), (HEAD_MAX - 31, false)] {
            let (mut reader, mut peer) = pair();
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(fill));
            assert_eq!(bytes.len() <= HEAD_MAX, fits);
            peer.write_all(bytes.as_bytes()).unwrap();

            let status = match reader.head(soon()) {
                Ok(_) => 200,
                Err(Some(refusal)) => refusal.status,
                Err(None) => 0,
            };

            assert_eq!(status, if fits { 200 } else { 431 });
        }
    }

    #[test]
    fn empty_lines_before_a_request_count_towards_its_head() {
        let (mut reader, mut peer) = pair();
        peer.write_all("\r\n".repeat(HEAD_MAX / 2).as_bytes()).unwrap();

        let Err(Some(refusal)) = reader.head(soon()) else { panic!("not refused") };

        assert_eq!(refusal.status, 431);
    }

    #[test]
    fn a_connection_that_rests_keeps_no_buffer_but_what_waits_in_it() {
        let (mut reader, mut peer) = pair();
        let one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        peer.write_all([one, one].concat().as_bytes()).unwrap();
        reader.head(soon()).unwrap();

        reader.release();
        assert_eq!(reader.buffer, one.as_bytes());
        reader.head(soon()).unwrap();
        assert!(!reader.wait(Instant::now()).unwrap());

        assert_eq!(reader.buffer.capacity(), 0);
    }
}
