//! Where a request comes from: CORS, and the `Origin` that the upstream sees.

use crate::gate::Head;

/// What the options say about origins.
#[derive(Clone, Debug)]
pub struct Origins {
    /// `--allow-origin`; none given means any.
    pub allowed: Vec<String>,
    /// `--origin`: for requests that have none and cannot be somebody else's.
    pub default: Option<String>,
}

impl Origins {
    /// Whether the request's `Origin` may use the bridge. Its own is always one of those, and so is none.
    pub fn admits(&self, head: &Head) -> bool {
        let Some(origin) = head.first("origin") else { return true };
        self.allowed.is_empty()
            || self.allowed.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()))
            || own_origin(head).is_some_and(|own| origin.eq_ignore_ascii_case(&own))
    }

    /// The headers by which a browser lets the page of an admitted `Origin` read the answer (Fetch standard, 3.3).
    pub fn cors(&self, head: &Head) -> Vec<(&'static str, String)> {
        let Some(origin) = head.first("origin").and_then(|origin| std::str::from_utf8(origin).ok())
        else {
            return Vec::new();
        };
        // A header that no browser sends cannot be echoed either.
        if !self.admits(head) || !origin.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Vec::new();
        }
        vec![
            ("Access-Control-Allow-Origin", origin.to_owned()),
            ("Vary", "Origin".to_owned()),
            ("Access-Control-Allow-Credentials", "true".to_owned()),
            ("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS".to_owned()),
            (
                "Access-Control-Allow-Headers",
                "Content-Type, Last-Event-ID, Cache-Control, Authorization".to_owned(),
            ),
            ("Access-Control-Expose-Headers", "X-Session-Id, Retry-After".to_owned()),
            ("Access-Control-Max-Age", "7200".to_owned()),
            ("Timing-Allow-Origin", origin.to_owned()),
        ]
    }

    /// The `Origin` that the upstream sees, and that strict headers compare: the client's; else that of its `Referer`; else
    /// `--origin`, but only where no other site can have made the request.
    pub fn effective(&self, head: &Head) -> Option<Vec<u8>> {
        if let Some(origin) = head.first("origin") {
            return Some(origin.to_vec());
        }
        if let Some(origin) = head.first("referer").and_then(origin_of) {
            return Some(origin);
        }
        let site = head.first("sec-fetch-site");
        let own = site.is_none_or(|site| site.eq_ignore_ascii_case(b"same-origin"));
        self.default.as_ref().filter(|_| own).map(|origin| origin.clone().into_bytes())
    }
}

fn own_origin(head: &Head) -> Option<Vec<u8>> {
    let forwarded = head.first("x-forwarded-proto").unwrap_or(b"http");
    let scheme = forwarded.split(|byte| *byte == b',').next().unwrap_or(forwarded).trim_ascii();
    Some([scheme, b"://", head.first("host")?].concat())
}

/// Scheme, host and port of an http(s) URL.
fn origin_of(url: &[u8]) -> Option<Vec<u8>> {
    let scheme: &[u8] = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        url.len() > scheme.len() && url[..scheme.len()].eq_ignore_ascii_case(scheme)
    })?;
    let rest = &url[scheme.len()..];
    let authority = rest.split(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\')).next()?;
    let host = authority.rsplit(|byte| *byte == b'@').next()?;
    let plain = !host.is_empty() && host.iter().all(u8::is_ascii_graphic);
    plain.then(|| [scheme.to_ascii_lowercase().as_slice(), host].concat())
}

#[cfg(test)]
mod tests {
    use super::origin_of;

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
            assert_eq!(
                origin_of(url.as_bytes()),
                origin.map(|text| text.as_bytes().to_vec()),
                "{url}"
            );
        }
    }
}
