//! The address of the upstream, as it is typed after `--server`.
//!
//! Owns: which addresses are accepted, and the sentence for each that is not.
//! Never: resolves a name, or shows a query (a token may be in it).

use crate::report::Error;
use crate::tcp::SOCKET_PATH_MAX;
use std::fmt;

/// `ws://host:port/path?query` or `unix:/socket:/path?query`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `wss://`.
    pub tls: bool,
    /// The socket file that is connected to in place of `host` and `port`, which then only say what a `Host` is told.
    pub socket: Option<String>,
    /// A name or an address; one of IPv6 has no brackets here.
    pub host: String,
    pub port: u16,
    /// Starts with `/`.
    pub path: String,
    /// Without its `?`.
    pub query: Option<String>,
}

impl Url {
    /// Reads `ws://` and `wss://` addresses (RFC 6455, section 3): the port defaults to 80 or 443, the
    /// path to `/`. A fragment, a user name and any byte that does not belong into a request line are errors.
    /// Reads `unix:` addresses as nginx and puma write them, too; there the path defaults to `/cable`.
    pub fn parse(text: &str) -> Result<Url, Error> {
        if let Some(address) = text.strip_prefix("unix:") {
            return parse_unix(address);
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
            let odd = odd.escape_default();
            return unreadable(format!("holds the character '{odd}', percent-encode it"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return unreadable("is no URL, write it as ws://host:port/path".to_owned());
        };
        let tls = scheme_is_tls(scheme)?;
        if rest.contains('#') {
            return out_of_range("has a fragment, leave out what starts with '#'");
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = split_authority(authority)?;
        let (path, query) = split_target(target);
        Ok(Url { tls, socket: None, host, port: port.unwrap_or(default_port(tls)), path, query })
    }

    /// What a `Host` header says: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let v6 = self.host.contains(':');
        let host = if v6 { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }
}

/// The address as it would be typed, but for the query, of which only the `?` is shown.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        let query = if self.query.is_some() { "?…" } else { "" };
        if let Some(socket) = &self.socket {
            return write!(f, "unix:{socket}:{}{query}", self.path);
        }
        write!(f, "{scheme}://{}{}{query}", self.authority(), self.path)
    }
}

fn parse_unix(text: &str) -> Result<Url, Error> {
    let text = text.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(text);
    let (socket, target) = text.split_at(text.find(":/").unwrap_or(text.len()));
    let target = target.strip_prefix(':').unwrap_or("/cable");
    if !socket.starts_with('/') {
        return unreadable("has no absolute path, write it as unix:/run/puma.sock".to_owned());
    }
    if socket.len() > SOCKET_PATH_MAX {
        return out_of_range("has a socket path over 107 bytes, which no system takes");
    }
    if let Some(odd) = socket.chars().find(|c| c.is_control() || "?#".contains(*c)) {
        let odd = odd.escape_default();
        return unreadable(format!(
            "has '{odd}' in its socket path, a query comes after the path: unix:/run/puma.sock:/cable?a=b"
        ));
    }
    if let Some(odd) = target.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        return unreadable(format!("has '{}' in its path", odd.escape_default()));
    }
    let (path, query) = split_target(target);
    let (socket, host) = (Some(socket.to_owned()), "localhost".to_owned());
    Ok(Url { tls: false, socket, host, port: default_port(false), path, query })
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn scheme_is_tls(scheme: &str) -> Result<bool, Error> {
    match scheme.to_ascii_lowercase().as_str() {
        "ws" => Ok(false),
        "wss" => Ok(true),
        "http" => out_of_range("starts with http://, write ws:// instead"),
        "https" => out_of_range("starts with https://, write wss:// instead"),
        _ => out_of_range("starts with neither ws://, wss:// nor unix:/"),
    }
}

fn split_authority(authority: &str) -> Result<(String, Option<u16>), Error> {
    if authority.contains('@') {
        return out_of_range(
            "has a user name, leave out what ends with '@': the upstream gets the client's Authorization",
        );
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => split_v6(v6)?,
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return unreadable("has no host, write it as ws://host:port/path".to_owned());
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if let Some(odd) = host.chars().find(|&c| !fits(c as u8)) {
        return unreadable(format!("has the character '{odd}' in its host"));
    }
    Ok((host.to_owned(), port.map(read_port).transpose()?))
}

fn split_v6(text: &str) -> Result<(&str, Option<&str>), Error> {
    let Some((host, rest)) = text.split_once(']') else {
        return unreadable("has a '[' without its ']'".to_owned());
    };
    if host.parse::<std::net::Ipv6Addr>().is_err() {
        return unreadable(format!("[{host}] is no IPv6 address"));
    }
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => unreadable(format!("has '{rest}' after ']', where only a port may be")),
    }
}

fn read_port(text: &str) -> Result<u16, Error> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => unreadable(format!("has the port '{text}', it is a number from 1 to 65535")),
    }
}

fn split_target(target: &str) -> (String, Option<String>) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    (if path.is_empty() { "/".to_owned() } else { path.to_owned() }, query)
}

/// A URL, but of a kind that this program does not take.
fn out_of_range<T>(text: &str) -> Result<T, Error> {
    Err(Error::Usage(text.to_owned()))
}

/// No URL at all.
fn unreadable<T>(text: String) -> Result<T, Error> {
    Err(Error::Start(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (bool, String, u16, String, Option<String>) {
        let url = Url::parse(text).unwrap();
        (url.tls, url.host, url.port, url.path, url.query)
    }

    #[test]
    fn port_and_path_have_defaults() {
        assert_eq!(parts("ws://example.org"), (false, "example.org".into(), 80, "/".into(), None));
        assert_eq!(parts("WSS://10.0.0.1"), (true, "10.0.0.1".into(), 443, "/".into(), None));
    }

    #[test]
    fn everything_that_is_typed_is_kept() {
        let (_, host, port, path, query) = parts("ws://[::1]:3000/cable?token=a?b&c=%20");

        assert_eq!((host.as_str(), port, path.as_str()), ("::1", 3000, "/cable"));
        assert_eq!(query.as_deref(), Some("token=a?b&c=%20"));
    }

    #[test]
    fn a_query_may_follow_the_host() {
        let (_, host, _, path, query) = parts("ws://h?a=/b");

        assert_eq!((host.as_str(), path.as_str(), query.as_deref()), ("h", "/", Some("a=/b")));
    }

    #[test]
    fn another_kind_of_url_is_out_of_range() {
        for text in ["http://h/", "https://h/", "ftp://h/", "ws://h/#x", "ws://user:pw@h/"] {
            assert!(matches!(Url::parse(text), Err(Error::Usage(_))), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_unreadable() {
        let bad = [
            "",
            "nonsense",
            "h:3000",
            "ws://",
            "ws:///cable",
            "ws://:80/",
            "ws://h:/",
            "ws://h:0/",
            "ws://h:65536/",
            "ws://h:+1/",
            "ws://h:x/",
            "ws://[::1/",
            "ws://[h]/",
            "ws://[::1]x/",
            "ws://h/a b",
            "ws://h/\u{7f}",
            "ws://h/\r\n",
            "ws://h/\u{e9}",
            "ws://a:b:c/",
            "ws://a,b/",
            "ws://[fe80::1%eth0]/",
        ];
        for text in bad {
            assert!(matches!(Url::parse(text), Err(Error::Start(_))), "{text}");
        }
    }

    #[test]
    fn a_socket_file_is_written_as_nginx_and_puma_write_it() {
        for (typed, socket, path, query) in [
            ("unix:/run/puma.sock", "/run/puma.sock", "/cable", None),
            ("unix:///run/puma.sock", "/run/puma.sock", "/cable", None),
            ("unix:/run/a:b.sock:/", "/run/a:b.sock", "/", None),
            (
                "unix:/run/é p.sock:/other/cable?x=:/1",
                "/run/é p.sock",
                "/other/cable",
                Some("x=:/1"),
            ),
        ] {
            let url = Url::parse(typed).unwrap();
            assert_eq!(url.socket.as_deref(), Some(socket), "{typed}");
            assert_eq!((url.path.as_str(), url.query.as_deref()), (path, query), "{typed}");
            assert_eq!(url.authority(), "localhost");
        }
    }

    #[test]
    fn what_is_no_socket_file_is_refused() {
        let long = format!("unix:/{}", "s".repeat(SOCKET_PATH_MAX));
        assert!(matches!(Url::parse(&long), Err(Error::Usage(_))));
        assert!(Url::parse(&long[..long.len() - 1]).is_ok());
        for text in
            ["unix:", "unix:puma.sock", "unix:/a?x=1", "unix:/a\n:/", "unix:/a:/b c", "unix:/a:/#x"]
        {
            assert!(matches!(Url::parse(text), Err(Error::Start(_))), "{text}");
        }
    }

    #[test]
    fn shown_without_the_default_port_and_without_the_query() {
        for (typed, shown) in [
            ("ws://h:80", "ws://h/"),
            ("wss://h:443/cable", "wss://h/cable"),
            ("wss://h:80/cable", "wss://h:80/cable"),
            ("ws://[::1]:3000/cable?token=secret", "ws://[::1]:3000/cable?…"),
            ("unix:///run/puma.sock", "unix:/run/puma.sock:/cable"),
            ("unix:/s:/cable?token=secret", "unix:/s:/cable?…"),
        ] {
            assert_eq!(Url::parse(typed).unwrap().to_string(), shown);
        }
    }
}
