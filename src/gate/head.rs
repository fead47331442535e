//! The head of one request: parsed by httparse, then held to the rules that it leaves to us.
//!
//! Owns: `Head`, what makes one invalid, and how long the body behind it is (`Framing`).
//! Never: touches a socket. Everything here is bytes in, a verdict out.
//! Stricter than most servers where two readers could disagree about where a request ends (RFC 9112, 6.3):
//! a proxy in front must never see another request than we do.

use httparse::Error;

use super::answer::Refusal;

/// Bytes of a head, its request line included. One more is a 431.
pub(super) const HEAD_MAX: usize = 16 * 1024;

/// Header lines of a head; one more is a 431. Browsers behind two proxies send some 40. 3 KiB of stack.
const HEADERS_MAX: usize = 100;

/// The head of one request. Names keep their spelling and are compared without case; values are the client's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub method: String,
    /// Visible ASCII, as sent; of an absolute `http://host/path?query` the path and the query. May be `*`, and
    /// after CONNECT it is `host:port`; else it starts with `/`.
    pub target: String,
    pub http10: bool,
    headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The value of the first header of this name.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice())
    }

    /// The values of all headers of this name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_slice())
    }

    /// All headers, in order.
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    /// Whether a comma separated header names this token, in any case.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// What follows the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Nothing,
    Length(usize),
    Chunked,
}

/// Where the head in `bytes` ends, looking only from `from` on: after an empty line, whichever way lines end.
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
pub(super) fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(bad("the request's head is malformed: check where its lines end")),
        Err(error) => return Err(refusal(error)),
    }
    let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version)
    else {
        return Err(bad("the request line is malformed: send METHOD TARGET HTTP/1.1"));
    };
    Ok(Head {
        method: method.to_owned(),
        target: target(method, path)?,
        http10: version == 0,
        headers: request.headers.iter().map(|h| (h.name.to_owned(), h.value.to_vec())).collect(),
    })
}

/// How the body is framed, once nothing about the request is ambiguous.
pub(super) fn framing(head: &Head, body_max: usize) -> Result<Framing, Refusal> {
    check_host(head)?;
    let length = content_length(head)?;
    let framing = match (is_chunked(head)?, length) {
        (true, Some(_)) => {
            return Err(bad("Content-Length and Transfer-Encoding exclude each other: send one"));
        }
        (true, None) => Framing::Chunked,
        (false, None | Some(0)) => Framing::Nothing,
        (false, Some(length)) if length > body_max as u64 => return Err(too_large(body_max)),
        (false, Some(length)) => Framing::Length(length as usize),
    };
    check_expect(head)?;
    Ok(framing)
}

/// Whether the client waits for a `100 Continue` before it sends its body. HTTP/1.0 knows none.
pub(super) fn expects_continue(head: &Head) -> bool {
    !head.http10 && head.first("expect").is_some()
}

pub(super) fn too_large(body_max: usize) -> Refusal {
    Refusal::new(413, format!("the body is over {body_max} bytes: send less in one request"))
}

pub(super) fn bad(text: &'static str) -> Refusal {
    Refusal::new(400, text)
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::Version => Refusal::new(505, "speak HTTP/1.1 or HTTP/1.0 here"),
        Error::TooManyHeaders => {
            Refusal::new(431, format!("the request has over {HEADERS_MAX} headers: send fewer"))
        }
        Error::HeaderName => bad("a header's name is malformed: send NAME: VALUE on one line"),
        Error::HeaderValue => bad("a header's value has a control character: remove it"),
        _ => bad("the request line is malformed: send METHOD TARGET HTTP/1.1"),
    }
}

/// httparse lets bytes over 127 into a target; a URL has none (RFC 3986, 2).
fn target(method: &str, path: &str) -> Result<String, Refusal> {
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
    match rest.find(['/', '?']) {
        None => Some("/".to_owned()),
        Some(at) if rest[at..].starts_with('/') => Some(rest[at..].to_owned()),
        Some(at) => Some(format!("/{}", &rest[at..])),
    }
}

/// RFC 9112, 3.2: one Host with HTTP/1.1, none missing, none ambiguous.
fn check_host(head: &Head) -> Result<(), Refusal> {
    let mut hosts = head.all("host");
    match (hosts.next(), hosts.next()) {
        (None, _) if head.http10 => Ok(()),
        (None, _) => Err(bad("HTTP/1.1 needs a Host header: send one")),
        (Some(_), Some(_)) => Err(bad("there are two Host headers: send one")),
        (Some(host), None) if host.iter().all(|&byte| is_host(byte)) => Ok(()),
        (Some(_), None) => Err(bad("the Host header is no host: send NAME or NAME:PORT")),
    }
}

fn is_host(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"/?#@\\,\"<>".contains(&byte)
}

/// Digits only, and the same ones each time. A number that no machine holds is merely too large.
fn content_length(head: &Head) -> Result<Option<u64>, Refusal> {
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

fn is_chunked(head: &Head) -> Result<bool, Refusal> {
    let mut codings = head.all("transfer-encoding");
    let Some(first) = codings.next() else { return Ok(false) };
    if head.http10 {
        return Err(bad("HTTP/1.0 has no Transfer-Encoding: send a Content-Length"));
    }
    if codings.next().is_some() {
        return Err(bad("there are two Transfer-Encoding headers: send one"));
    }
    if !first.eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::new(
            501,
            "only `Transfer-Encoding: chunked` is understood: send that",
        ));
    }
    Ok(true)
}

fn check_expect(head: &Head) -> Result<(), Refusal> {
    let fine =
        head.http10 || head.all("expect").all(|value| value.eq_ignore_ascii_case(b"100-continue"));
    if fine {
        return Ok(());
    }
    Err(Refusal::new(417, "only `Expect: 100-continue` is understood: leave other ones out"))
}
