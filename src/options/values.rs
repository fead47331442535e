//! What a value on the command line may be: addresses, origins, durations, counts, sizes.
//!
//! Each function gives what was meant, or what is wrong and what to write instead; argh puts the option and the value in front.
//! Never: guesses. A value is taken as it is or refused.

use crate::gate::Address;
use crate::http;
use crate::tcp::SOCKET_PATH_MAX;
use std::net::Ipv6Addr;
use std::time::Duration;

/// Longest duration; more is a slip of the keyboard, and sums of such never overflow a clock.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Longest text of a duration. humantime panics where a sum passes 2^64 seconds, which takes more digits.
const DURATION_TEXT_MAX: usize = 20;

/// Largest count or size; more is a slip of the keyboard, and twice as much still fits a word of 64 or 32 bits.
const NUMBER_MAX: usize =
    if usize::BITS < 64 { 1_000_000_000 } else { 1_000_000_000_000_u64 as usize };

/// `host:port`, `:port`, `[v6]:port` or `unix:/path`. Port 0 lets the system choose one.
pub fn address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path);
    }
    let wrong = |why| format!("{why}, use host:port, :port, [::1]:port or unix:/path");
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("is no address"))?;
    let port = digits(port).and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| wrong("has no port from 0 to 65535"))?;
    match host_of(host) {
        Some(host) => Ok(Address::Tcp { host: host.to_owned(), port }),
        None if host.contains(':') => Err(wrong("has an IPv6 address that needs brackets")),
        None => Err(wrong("has no host name or address that could be one")),
    }
}

fn socket_path(path: &str) -> Result<Address, String> {
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err("is no absolute path of a socket, use unix:/path".to_owned());
    }
    if path.len() > SOCKET_PATH_MAX {
        return Err("is too long for a socket, use a path of at most 107 bytes".to_owned());
    }
    Ok(Address::Unix(path.into()))
}

/// The host as the system takes it: brackets of an IPv6 address gone. Empty: all interfaces.
fn host_of(host: &str) -> Option<&str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok().then_some(v6),
        None => host.bytes().all(fits).then_some(host),
    }
}

/// `http(s)://host[:port]`, as a browser serialises it (RFC 6454, 6.2): lower case, without the port that the scheme has anyway.
pub fn origin(text: &str) -> Result<String, String> {
    let wrong = |why| format!("{why}, use http://host, https://host or https://host:port");
    let lower = text.to_ascii_lowercase();
    let Some(("http" | "https", rest)) = lower.split_once("://") else {
        return Err(wrong("is no origin of a web page"));
    };
    if let Some((_, "")) = rest.split_once('/') {
        return Err(wrong("ends with a slash, which no browser sends in an Origin"));
    }
    if rest.contains(['/', '?', '#']) {
        return Err(wrong("has a path, which no browser sends in an Origin"));
    }
    let no_host = || wrong("has no host and port that could be those of an Origin");
    http::normalized(&lower).ok_or_else(no_host)
}

/// What a `Host` header may say: a name or an address, and a port where it is not the usual one.
pub fn host(text: &str) -> Result<String, String> {
    let known = http::host_and_port(text).map(|_| text.to_owned());
    known.ok_or("is no name for a Host header, use host or host:port".to_owned())
}

/// `250ms`, `30s`, `5m`, `1h`, `1m30s`; above zero, at most 365 days.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| Err(why.to_owned());
    if digits(text).is_some() {
        return wrong("has no unit, write 250ms, 30s, 5m, 1h or 1m30s");
    }
    // humantime knows months and nanoseconds too; a capital M for minutes must not be half a year.
    let units = text.bytes().all(|byte| byte.is_ascii_digit() || b"hms".contains(&byte));
    let short = units && text.len() <= DURATION_TEXT_MAX;
    match short.then(|| humantime::parse_duration(text)) {
        Some(Ok(Duration::ZERO)) => wrong("is out of range, use 1ms or more"),
        Some(Ok(length)) if length > DURATION_MAX => wrong("is out of range, use 8760h or less"),
        Some(Ok(length)) => Ok(length),
        _ => wrong("is no duration, write 250ms, 30s, 5m, 1h or 1m30s"),
    }
}

pub fn count(text: &str) -> Result<usize, String> {
    number(text, "is no whole number in digits, use 1 or more")
}

pub fn bytes(text: &str) -> Result<usize, String> {
    number(text, "is no number of bytes in plain digits, use 1 or more, 1048576 for 1 MiB")
}

fn number(text: &str, remedy: &str) -> Result<usize, String> {
    let digits = digits(text).ok_or(remedy)?;
    match digits.parse() {
        Ok(0) => Err("is out of range, use 1 or more".to_owned()),
        Ok(number) if number <= NUMBER_MAX => Ok(number),
        _ => Err(format!("is out of range, use {NUMBER_MAX} or less")),
    }
}

/// The text when it is digits and nothing else: no sign, no blank, no underscore.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// A URL as an error line repeats it: what may be a secret, in the query or before an `@`, left out.
pub fn shown_url(text: &str) -> String {
    let (text, query) = text.split_once('?').map_or((text, ""), |(text, _)| (text, "?…"));
    let scheme = text.find("://").map_or(0, |end| end + 3);
    match text.rfind('@').filter(|at| *at >= scheme) {
        Some(at) => format!("{}…{}{query}", &text[..scheme], &text[at..]),
        None => format!("{text}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn tcp(text: &str, host: &str, port: u16) {
        match address(text) {
            Ok(Address::Tcp { host: h, port: p }) => assert_eq!((h.as_str(), p), (host, port)),
            Ok(Address::Unix(_)) => panic!("{text} became a path"),
            Err(why) => panic!("{why}"),
        }
    }

    #[test]
    fn an_address_is_host_and_port() {
        tcp("127.0.0.1:8080", "127.0.0.1", 8080);
        tcp("localhost:0", "localhost", 0);
        tcp(":8080", "", 8080);
        tcp("[::1]:8080", "::1", 8080);
        tcp("[::]:80", "::", 80);
    }

    #[test]
    fn an_address_is_a_path() {
        let Ok(Address::Unix(path)) = address("unix:/run/bridge.sock") else { panic!() };

        assert_eq!(path.to_str(), Some("/run/bridge.sock"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("unix:/{}", "x".repeat(107));
        for text in [
            "",
            "nonsense",
            "8080",
            "host",
            "host:",
            "host:port",
            "host:65536",
            "host:-1",
            "host:+1",
            "::1:8080",
            "[::1]",
            "[x]:80",
            "[]:80",
            "a b:80",
            "http://host:80",
            "unix:",
            "unix:x",
            "unix:/",
            "unix:/a\0b",
            &long,
        ] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_ipv6_address_without_brackets_is_told_so() {
        let Err(why) = address("::1:8080") else { panic!() };

        assert_eq!(
            why,
            "has an IPv6 address that needs brackets, \
             use host:port, :port, [::1]:port or unix:/path"
        );
    }

    #[test]
    fn what_may_be_a_secret_in_a_url_is_not_repeated() {
        assert_eq!(shown_url("http://u:pw@host/p?token=1"), "http://…@host/p?…");
        assert_eq!(shown_url("u:pw@host"), "…@host");
        assert_eq!(shown_url("http://host/p"), "http://host/p");
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_maybe_a_port() {
        for text in ["app", "www.example.com", "a:3000", "[::1]:80", "10.0.0.1"] {
            assert_eq!(host(text).as_deref(), Ok(text));
        }
        for text in ["", "a b", "a/b", "a:", "a:0", "::1", "http://a", "a\r\nb"] {
            assert!(host(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_origin_is_what_a_browser_would_send() {
        assert_eq!(origin("https://WWW.Example.com").unwrap(), "https://www.example.com");
        assert_eq!(origin("HTTP://localhost:3000").unwrap(), "http://localhost:3000");
        assert_eq!(origin("https://a:443").unwrap(), "https://a");
        assert_eq!(origin("http://a:80").unwrap(), "http://a");
        assert_eq!(origin("http://a:443").unwrap(), "http://a:443");
        assert_eq!(origin("http://[0:0::1]:3000").unwrap(), "http://[::1]:3000");
        assert_eq!(origin("http://[::1]").unwrap(), "http://[::1]");
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "null",
            "*",
            "example.com",
            "ws://a",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "https://a b",
            "https://:80",
            "https://a:",
            "https://a:0",
            "https://a:x",
            "https://a:99999",
            "https://[x]",
            "https://ä.de",
            "https://a, https://b",
        ] {
            assert!(origin(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_slash_after_an_origin_is_named() {
        assert!(origin("https://a/").unwrap_err().contains("ends with a slash"));
        assert!(origin("https://a/b/").unwrap_err().contains("has a path"));
    }

    #[test]
    fn a_duration_has_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("8760h"), Ok(DURATION_MAX));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "0",
            "30",
            "0s",
            "0m0s",
            "-5s",
            "5M",
            "5 m",
            "1d",
            "1y",
            "1us",
            "ms",
            "5mm",
            "1.5h",
            "8761h",
            "99999999999999999h",
            "18446744073709551615s1000ms",
        ] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert!(duration("30").unwrap_err().contains("has no unit"));
    }

    #[test]
    fn a_number_is_digits_above_zero() {
        assert_eq!(count("1"), Ok(1));
        assert_eq!(bytes("1048576"), Ok(1 << 20));
        let huge = "9".repeat(40);
        for text in ["", "0", "00", "-1", "+1", "1.0", "1k", "1MiB", "1_000", " 1", "٣", &huge] {
            assert!(count(text).is_err() && bytes(text).is_err(), "{text:?}");
        }
    }
}
