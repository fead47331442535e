//! Where a request comes from: CORS ("CORS" in `src/api.md`), and the `Origin` that the upstream sees.
//!
//! Owns: what is an origin, which ones may use the bridge, and the headers that tell a browser so.
//! Never: echoes a value that no browser sends: a long one fills the header buffer of a proxy in front, which then takes
//! the bridge for broken.

use crate::gate::{Answer, Head, error};
use crate::upstream::is_token;
use std::net::Ipv6Addr;

/// Bytes of a host name (RFC 1035, 2.3.4).
const HOST_MAX: usize = 253;

/// Bytes of a scheme. The longest in use are those of browser extensions and of apps that are named after a domain.
const SCHEME_MAX: usize = 64;

/// Bytes of the header names that a preflight asks for and gets, beside those in `HEADERS`.
const ASKED_MAX: usize = 1024;

const HEADERS: &str = "Content-Type, Last-Event-ID, Cache-Control, Authorization";

/// What the options say about origins.
#[derive(Clone, Debug)]
pub struct Origins {
    /// `--allow-origin`; none given means any.
    pub allowed: Vec<String>,
    /// `--origin`: for requests that have none and cannot be of another site.
    pub default: Option<String>,
}

impl Origins {
    /// The headers by which a browser lets the page of an `Origin` read the answer (Fetch standard, 3.3): none for a request
    /// without one. An error is the answer to an `Origin` that no browser sends, or that may not use the bridge; the site's
    /// own may always.
    pub fn cors(&self, head: &Head) -> Result<String, Answer> {
        let Some(sent) = head.first("origin") else { return Ok(String::new()) };
        let origin = std::str::from_utf8(sent).unwrap_or_default();
        // Of a page without an origin of its own; a web view calls that of a file `file://`.
        let is_null = matches!(origin, "null" | "file://");
        if !is_null && normalized(origin).is_none() {
            let why = "this Origin is none: send SCHEME://HOST or SCHEME://HOST:PORT";
            return Err(error(400, why));
        }
        let is_listed = self.allowed.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed));
        if !self.allowed.is_empty() && !is_listed && !is_own(origin, head) {
            let why =
                "this Origin may not use the bridge; its operator can add it with --allow-origin";
            return Err(error(403, why));
        }
        let headers = allowed_headers(head);
        Ok(format!(
            "Access-Control-Allow-Origin: {origin}\r\n\
             Vary: Origin\r\n\
             Access-Control-Allow-Credentials: true\r\n\
             Access-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r\n\
             Access-Control-Allow-Headers: {headers}\r\n\
             Access-Control-Expose-Headers: X-Session-Id, Retry-After\r\n\
             Access-Control-Max-Age: 7200\r\n\
             Timing-Allow-Origin: {origin}\r\n"
        ))
    }

    /// The `Origin` that the upstream sees, and that strict headers compare: the client's; else that of its `Referer`; else
    /// `--origin`, but only where no other site can have made the request.
    pub fn origin_for_upstream(&self, head: &Head) -> Option<Vec<u8>> {
        if let Some(origin) = head.first("origin") {
            return Some(origin.to_vec());
        }
        if let Some(origin) = head.first("referer").and_then(origin_of) {
            return Some(origin.into_bytes());
        }
        let site = head.first("sec-fetch-site");
        let own = site.is_none_or(|site| site.eq_ignore_ascii_case(b"same-origin"));
        self.default.as_ref().filter(|_| own).map(|origin| origin.clone().into_bytes())
    }
}

/// An origin in the spelling by which two of them are compared (RFC 6454, 6.2): small letters, no default port.
pub fn normalized(origin: &str) -> Option<String> {
    let origin = origin.to_ascii_lowercase();
    let (scheme, authority) = origin.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.len() <= SCHEME_MAX
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let (host, port) = host_and_port(authority)?;
    let port = match (scheme, port) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    is_scheme.then(|| format!("{scheme}://{host}{port}"))
}

/// The host as a browser writes it, and the port, if there is one.
pub fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    // The colons of an IPv6 address are within brackets.
    let colon = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match colon {
        Some(at) => (&authority[..at], Some(port_of(&authority[at + 1..])?)),
        None => (authority, None),
    };
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Some((format!("[{}]", address.parse::<Ipv6Addr>().ok()?), port));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let is_name = (1..=HOST_MAX).contains(&host.len()) && host.bytes().all(fits);
    is_name.then(|| (host.to_owned(), port))
}

fn port_of(digits: &str) -> Option<u16> {
    let port = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?;
    port.filter(|port| *port > 0)
}

/// Whether an origin is that of the site which the request came to, as the browser calls it: by `Host`, or by what a proxy
/// says of it. A page of another site can set none of these headers.
fn is_own(origin: &str, head: &Head) -> bool {
    let origin = normalized(origin).unwrap_or_default();
    let scheme = list(head, "x-forwarded-proto").next();
    let scheme = scheme.or_else(|| forwarded(head, "proto").next()).unwrap_or("http");
    // Looked at first: there may be thousands of hosts.
    if !origin.split_once("://").is_some_and(|(own, _)| own.eq_ignore_ascii_case(scheme)) {
        return false;
    }
    let host = head.first("host").and_then(|host| std::str::from_utf8(host).ok());
    let mut hosts =
        host.into_iter().chain(list(head, "x-forwarded-host")).chain(forwarded(head, "host"));
    hosts.any(|host| normalized(&format!("{scheme}://{host}")).is_some_and(|own| own == origin))
}

/// The elements of a comma separated header, without the lines that are no text.
fn list<'a>(head: &'a Head, name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = head.all(name).filter_map(|line| std::str::from_utf8(line).ok());
    lines.flat_map(|line| line.split(',')).map(str::trim_ascii)
}

/// The values of one parameter of `Forwarded` (RFC 7239, 4).
fn forwarded<'a>(head: &'a Head, name: &'static str) -> impl Iterator<Item = &'a str> {
    let pairs = list(head, "forwarded").flat_map(|element| element.split(';'));
    pairs.filter_map(move |pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// `HEADERS`, and what a preflight asks for: a page with tracing or a CSRF token sends more. But never what a proxy says
/// about the client.
fn allowed_headers(head: &Head) -> String {
    let mut allowed = HEADERS.to_owned();
    for name in list(head, "access-control-request-headers") {
        let there = HEADERS.split(", ").any(|other| other.eq_ignore_ascii_case(name));
        if !there && is_token(name) && !is_of_proxies(name) {
            if allowed.len() + 2 + name.len() > HEADERS.len() + ASKED_MAX {
                break;
            }
            allowed = allowed + ", " + name;
        }
    }
    allowed
}

fn is_of_proxies(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("x-forwarded-") || name == "forwarded" || name == "x-real-ip"
}

/// Scheme, host and port of an http(s) URL.
fn origin_of(url: &[u8]) -> Option<String> {
    let (scheme, rest) = std::str::from_utf8(url).ok()?.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next()?;
    let scheme = scheme.to_ascii_lowercase();
    let origin = format!("{scheme}://{host}");
    (matches!(scheme.as_str(), "http" | "https") && normalized(&origin).is_some()).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::{Origins, allowed_headers, normalized, origin_of};
    use crate::gate::Head;
    use crate::testing::fastest;

    #[test]
    fn names_that_a_preflight_asks_for_again_and_again_are_read_as_fast_as_any_others() {
        let names: Vec<String> = (0..200).map(|n| format!("{n}")).collect();
        let time = |names: &str, again: &str| {
            let again = again.repeat(3_000);
            let head = Head::with(format!("Access-Control-Request-Headers: {names},{again}\r\n"));
            fastest(|| assert!(!allowed_headers(&head).is_empty()))
        };

        let (hostile, usual) = (time(&names.join(","), "199,"), time("x", "///,"));

        assert!(hostile < 10 * usual, "{hostile:?}, else {usual:?}");
    }

    #[test]
    fn many_hosts_of_proxies_with_a_long_scheme_are_read_as_fast_as_with_a_short_one() {
        let origins = Origins { allowed: vec!["http://b".to_owned()], default: None };
        let time = |scheme: &str| {
            let hosts = "c,".repeat(3_500);
            let head = Head::with(format!(
                "Origin: http://a\r\nX-Forwarded-Proto: {scheme}\r\nX-Forwarded-Host: {hosts}\r\n"
            ));
            fastest(|| assert!(origins.cors(&head).is_err()))
        };

        let (long, short) = (time(&"s".repeat(7_000)), time("http"));

        assert!(long < 10 * short, "{long:?}, else {short:?}");
    }

    #[test]
    fn a_line_that_is_no_text_names_no_host() {
        let admits = |junk: &[u8]| {
            let origins = Origins { allowed: vec!["http://b".to_owned()], default: None };
            let lines = [b"Origin: http://a\r\nX-Forwarded-Host: ", junk, b", a\r\n"];
            origins.cors(&Head::with(lines.concat())).is_ok()
        };

        assert!(admits(b"c"));
        assert!(!admits(b"\xff"));
    }

    #[test]
    fn the_origin_of_a_referer_is_its_scheme_host_and_port() {
        for (url, origin) in [
            ("https://app.example/chat?x=1", Some("https://app.example")),
            ("http://app.example:3000", Some("http://app.example:3000")),
            ("HTTPS://app.example#top", Some("https://app.example")),
            ("https://user:pass@app.example/", Some("https://app.example")),
            ("about:client", None),
            ("https://", None),
            ("https:///path", None),
            ("ftp://app.example/", None),
        ] {
            assert_eq!(origin_of(url.as_bytes()), origin.map(str::to_owned), "{url}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        let longest = format!("https://{}", "a".repeat(253));
        for origin in [
            "https://app.example",
            "http://localhost:3000",
            "http://[::1]:3000",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
            &longest,
        ] {
            assert!(normalized(origin).is_some(), "{origin}");
        }
        let long = format!("https://{}", "a".repeat(254));
        let scheme = format!("{}://a", "a".repeat(65));
        for none in [
            "",
            "https://",
            "app.example",
            "://app.example",
            "https://a/",
            "https://a b",
            "https://a:",
            "https://a:b",
            "https://a:65536",
            "https://a:1:2",
            "https://u@a",
            "https://[::1",
            "1s://a",
            &long,
            &scheme,
        ] {
            assert!(normalized(none).is_none(), "{none}");
        }
    }

    #[test]
    fn the_default_port_is_none() {
        assert!(normalized("https://a:443") == normalized("HTTPS://A"));
        assert!(normalized("http://a:80") == normalized("http://a"));
        assert!(normalized("https://a:80") != normalized("https://a"));
    }
}
