//! The head of one request: parsed by httparse, then held to the rules that it leaves to us ("The bytes of HTTP" in
//! `src/api.md`).
//!
//! Owns: `Head`, what makes one invalid, and how long the body behind it is (`Framing`).
//! Never: touches a socket. Everything here is bytes in, a verdict out.
//! Stricter than most servers where two readers could disagree about where a request ends (RFC 9112, 6.3):
//! a proxy in front must never see another request than we do.

use super::answer::{Answer, ResponseMode, error};
use httparse::Error;

/// Bytes of a head, its request line included. One more is a 431.
pub(super) const HEAD_MAX: usize = 16 * 1024;

/// Header lines of a head; one more is a 431. Browsers behind two proxies send some 40.
const HEADERS_MAX: usize = 100;

/// The head of one request. Names keep their spelling and are compared without case; values are the client's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    /// Visible ASCII, as sent; of an absolute `http://host/path?query` the path and the query. May be `*`, and
    /// after CONNECT it is `host:port`; else it starts with `/`.
    pub target: String,
    pub http10: bool,
    /// All names, one behind the other, and all values. Not one allocation each: what a thread frees in small pieces stays with
    /// it (glibc's `tcache`), however long it then streams.
    names: String,
    values: Vec<u8>,
    /// Where each name ends, and its value.
    ends: Vec<(u16, u16)>,
}

const _: () = assert!(HEAD_MAX <= u16::MAX as usize);

impl Head {
    /// Of a GET with these header lines.
    #[cfg(test)]
    pub fn with(lines: impl AsRef<[u8]>) -> Head {
        parse(&[b"GET / HTTP/1.1\r\n", lines.as_ref(), b"\r\n"].concat()).unwrap()
    }

    /// The target up to its `?`, and what follows that.
    pub fn path_and_query(&self) -> (&str, &str) {
        self.target.split_once('?').unwrap_or((&self.target, ""))
    }

    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let starts = std::iter::once((0, 0)).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|((name, value), (name_end, value_end))| {
            let name = &self.names[name.into()..(*name_end).into()];
            (name, &self.values[value.into()..(*value_end).into()])
        })
    }

    /// The elements of a comma separated header.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// How its request is answered: HTTP/1.1 keeps the connection unless told to close it, HTTP/1.0 if asked (RFC 9112, 9.3).
    pub(super) fn response_mode(&self) -> ResponseMode {
        let says = |token: &[u8]| self.list("connection").any(|it| it.eq_ignore_ascii_case(token));
        let keep = !says(b"close") && (!self.http10 || says(b"keep-alive"));
        ResponseMode { http10: self.http10, head_only: self.method == "HEAD", keep }
    }
}

/// What follows the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// 0 where nothing says that there is a body.
    Length(usize),
    Chunked,
}

/// Where the head in `bytes` ends, looking only from `from` on: after an empty line. One that ends with a bare LF is found
/// too, so that its client hears at once that `parse` refuses it.
pub(super) fn end_of(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = bytes[at..].iter().position(|&byte| byte == b'\n') {
        at += found + 1;
        match bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Parses a whole head. It must be a head to its last byte: httparse and `end_of` have to agree where it ends.
pub(super) fn parse(bytes: &[u8]) -> Result<Head, Answer> {
    // httparse takes a bare LF for the end of a line; what another reader in front takes for part of one must not end it.
    if bytes.starts_with(b"\n") || bytes.windows(2).any(|two| two[0] != b'\r' && two[1] == b'\n') {
        return Err(bad("the lines of a request must end with CRLF"));
    }
    // Not an array: the stack of a thread that then waits for hours has one page less of it.
    let mut headers = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(bad("the request's head is malformed: check where its lines end")),
        Err(error) => return Err(refusal(error, bytes)),
    }
    let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version)
    else {
        return Err(bad(REQUEST_LINE));
    };
    let mut head = Head {
        method: method.to_owned(),
        target: target(method, path)?,
        http10: version == 0,
        names: String::with_capacity(bytes.len()),
        values: Vec::with_capacity(bytes.len()),
        ends: Vec::with_capacity(request.headers.len()),
    };
    for header in request.headers {
        head.names.push_str(header.name);
        head.values.extend_from_slice(header.value);
        head.ends.push((head.names.len() as u16, head.values.len() as u16));
    }
    Ok(head)
}

/// How the body is framed, once nothing about the request is ambiguous.
pub(super) fn framing(head: &Head, body_max: usize) -> Result<Framing, Answer> {
    check_host(head)?;
    let length = content_length(head)?;
    let framing = match (is_chunked(head)?, length) {
        (true, Some(_)) => {
            return Err(bad("Content-Length and Transfer-Encoding exclude each other: send one"));
        }
        (true, None) => Framing::Chunked,
        (false, Some(length)) if length > body_max as u64 => return Err(too_large(body_max)),
        (false, length) => Framing::Length(length.unwrap_or(0) as usize),
    };
    let is_known = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    if !head.http10 && !head.all("expect").all(is_known) {
        return Err(error(417, "only `Expect: 100-continue` is understood: leave other ones out"));
    }
    Ok(framing)
}

/// Whether the client waits for a `100 Continue` before it sends its body. HTTP/1.0 knows none.
pub(super) fn expects_continue(head: &Head) -> bool {
    !head.http10 && head.first("expect").is_some()
}

pub(super) fn too_large(body_max: usize) -> Answer {
    error(413, &format!("the body is over {body_max} bytes: send less in one request"))
}

pub(super) fn bad(text: &'static str) -> Answer {
    error(400, text)
}

fn refusal(problem: Error, bytes: &[u8]) -> Answer {
    match problem {
        Error::Version if names_a_version(bytes) => error(505, "speak HTTP/1.1 or HTTP/1.0 here"),
        Error::TooManyHeaders => {
            error(431, &format!("the request has over {HEADERS_MAX} headers: send fewer"))
        }
        Error::HeaderName => bad("a header's name is malformed: send NAME: VALUE on one line"),
        Error::HeaderValue => bad("a header's value has a control character: remove it"),
        _ => bad(REQUEST_LINE),
    }
}

const REQUEST_LINE: &str = "the request line is malformed: send METHOD TARGET HTTP/1.1";

/// Whether the third word of the request line is a version, and not the rest of a target with a space in it.
fn names_a_version(bytes: &[u8]) -> bool {
    let mut words = bytes.split(|&byte| byte == b' ' || byte == b'\n').skip(2);
    words.next().is_some_and(|word| word.starts_with(b"HTTP/"))
}

/// httparse lets bytes over 127 into a target; a URL has none (RFC 3986, 2).
fn target(method: &str, path: &str) -> Result<String, Answer> {
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad("the target has bytes that no URL has: percent-encode them"));
    }
    if path.starts_with('/') || path == "*" || method == "CONNECT" {
        return Ok(path.to_owned());
    }
    absolute(path).ok_or_else(|| bad("the target must start with a slash: send /PATH"))
}

/// `http://host/path?query`: what comes after the host. None if it is something else.
fn absolute(path: &str) -> Option<String> {
    let (scheme, rest) = path.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let path = &rest[rest.find(['/', '?']).unwrap_or(rest.len())..];
    Some(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
}

/// RFC 9112, 3.2: one Host with HTTP/1.1, none missing, none ambiguous.
fn check_host(head: &Head) -> Result<(), Answer> {
    let is_host = |byte: &u8| byte.is_ascii_graphic() && !b"/?#@\\,\"<>".contains(byte);
    let mut hosts = head.all("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if head.http10 => Ok(()),
        (None, _) => Err(bad("HTTP/1.1 needs a Host header: send one")),
        (Some(_), Some(_)) => Err(bad("there are two Host headers: send one")),
        (Some(host), None) if host.iter().all(is_host) => Ok(()),
        (Some(_), None) => Err(bad("the Host header is no host: send NAME or NAME:PORT")),
    }
}

/// Digits only, and the same ones each time. A number that no machine holds is merely too large.
fn content_length(head: &Head) -> Result<Option<u64>, Answer> {
    let mut lengths = head.all("content-length");
    let Some(first) = lengths.next() else { return Ok(None) };
    if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return Err(bad("Content-Length is no number: send digits only"));
    }
    if lengths.any(|other| other != first) {
        return Err(bad("there are two Content-Length headers: send one"));
    }
    let digits = std::str::from_utf8(first).unwrap_or_default();
    Ok(Some(digits.parse().unwrap_or(u64::MAX)))
}

fn is_chunked(head: &Head) -> Result<bool, Answer> {
    let mut codings = head.all("transfer-encoding");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        _ if head.http10 => Err(bad("HTTP/1.0 has no Transfer-Encoding: send a Content-Length")),
        (Some(_), Some(_)) => Err(bad("there are two Transfer-Encoding headers: send one")),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(error(501, "only `Transfer-Encoding: chunked` is understood: send that")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY_MAX: usize = 100;

    fn head(lines: &str) -> Result<Head, u16> {
        let bytes = format!("{}\r\n\r\n", lines.replace('\n', "\r\n"));
        parse(bytes.as_bytes()).map_err(|refusal| refusal.status)
    }

    fn framed(lines: &str) -> Result<Framing, u16> {
        framing(&head(lines)?, BODY_MAX).map_err(|refusal| refusal.status)
    }

    #[test]
    fn headers_are_found_without_case_and_keep_their_bytes() {
        let head = parse(b"GET /a?b HTTP/1.1\r\nHoSt: x\r\nCookie: a=\xff\r\ncookie:  b \r\n\r\n");
        let head = head.unwrap();

        assert_eq!((head.method.as_str(), head.target.as_str()), ("GET", "/a?b"));
        assert_eq!(head.first("host"), Some(&b"x"[..]));
        assert_eq!(head.all("COOKIE").collect::<Vec<_>>(), [&b"a=\xff"[..], b"b"]);
        assert_eq!(head.headers().next(), Some(("HoSt", &b"x"[..])));
    }

    #[test]
    fn the_end_is_found_wherever_the_reads_were_cut() {
        for (text, end) in [("a\r\n\r\nb", 5), ("a\n\nb", 3), ("a\r\n\nb", 4), ("a\n\r\nb", 4)] {
            let bytes = text.as_bytes();
            for cut in 0..=bytes.len() {
                let early = end_of(&bytes[..cut], 0);
                let found = early.or_else(|| end_of(bytes, cut.saturating_sub(3)));
                assert_eq!(found, Some(end), "{text:?} cut at {cut}");
            }
        }
        assert_eq!(end_of(b"a\r\nb\r\n", 0), None);
    }

    #[test]
    fn targets_are_paths_or_are_made_paths() {
        let target = |text: &str| head(&format!("GET {text} HTTP/1.1")).map(|head| head.target);

        assert_eq!(target("/a#b\"<"), Ok("/a#b\"<".to_owned()));
        assert_eq!(target("*"), Ok("*".to_owned()));
        assert_eq!(target("http://h:1/p?q"), Ok("/p?q".to_owned()));
        assert_eq!(target("HTTPS://h"), Ok("/".to_owned()));
        assert_eq!(target("http://h?q"), Ok("/?q".to_owned()));
        assert_eq!(head("CONNECT h:443 HTTP/1.1").map(|head| head.target), Ok("h:443".to_owned()));
        for bad in ["a", "ftp://h/", "/\u{e9}", "/\u{7f}", "//\u{0}", "/a b"] {
            assert_eq!(target(bad), Err(400), "{bad:?}");
        }
    }

    #[test]
    fn what_two_readers_could_read_differently_is_no_head() {
        for bad in [
            "GET / HTTP/1.1\n Host: a",
            "GET / HTTP/1.1\nHost: a\n folded",
            "GET / HTTP/1.1\nHost : a",
            "GET / HTTP/1.1\n: a",
            "GET / HTTP/1.1\nno colon",
            "GET / HTTP/1.1\nA: \u{b}b",
            "GET / HTTP/1.1 \nA: b",
            "GET  / HTTP/1.1",
            "GET /",
            "G(T / HTTP/1.1",
        ] {
            assert_eq!(head(bad), Err(400), "{bad:?}");
        }
        assert_eq!(head("GET / HTTP/1.2"), Err(505));
        assert_eq!(head("GET / HTTP/3.0"), Err(505));
    }

    #[test]
    fn a_body_has_one_length_or_is_chunked() {
        let post = |headers: &str| framed(&format!("POST / HTTP/1.1\nHost: a\n{headers}"));

        assert_eq!(post("A: b"), Ok(Framing::Length(0)));
        assert_eq!(post("Content-Length: 0"), Ok(Framing::Length(0)));
        assert_eq!(post("Content-Length: 100"), Ok(Framing::Length(100)));
        assert_eq!(post("Content-Length: 007\nContent-Length: 007"), Ok(Framing::Length(7)));
        assert_eq!(post("Transfer-Encoding: Chunked"), Ok(Framing::Chunked));
        for (headers, status) in [
            ("Content-Length: 101", 413),
            ("Content-Length: 99999999999999999999999999", 413),
            ("Content-Length: -1", 400),
            ("Content-Length: +1", 400),
            ("Content-Length: 1_0", 400),
            ("Content-Length: 0x1", 400),
            ("Content-Length: 5, 5", 400),
            ("Content-Length:", 400),
            ("Content-Length: 5\nContent-Length: 6", 400),
            ("Content-Length: 5\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: chunked\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: identity", 501),
            ("Transfer-Encoding: xchunked", 501),
            ("Transfer-Encoding:", 501),
            ("Expect: the worst", 417),
        ] {
            assert_eq!(post(headers), Err(status), "{headers}");
        }
        assert_eq!(framed("POST / HTTP/1.0\nTransfer-Encoding: chunked"), Err(400));
    }

    #[test]
    fn there_is_one_host_and_it_looks_like_one() {
        let host = |headers: &str| framed(&format!("GET / HTTP/1.1{headers}"));

        assert_eq!(host("\nHost: a:1"), Ok(Framing::Length(0)));
        assert_eq!(host("\nHost: [::1]:80"), Ok(Framing::Length(0)));
        assert_eq!(host("\nHost:"), Ok(Framing::Length(0)));
        for bad in ["", "\nHost: a\nhost: a", "\nHost: a b", "\nHost: a/b", "\nHost: u@a"] {
            assert_eq!(host(bad), Err(400), "{bad:?}");
        }
        assert_eq!(framed("GET / HTTP/1.0"), Ok(Framing::Length(0)));
        assert_eq!(framed("GET / HTTP/1.0\nHost: a\nHost: b"), Err(400));
    }
}
