//! The files that browsers load: the transport (`client.js`), and the page to try it with.
//!
//! Owns: their text, their `ETag`, how long a cache may keep them, what the page may load.
//! Never: opens a file. They are in the binary.

use crate::gate::{Answer, Head};
use std::hash::{DefaultHasher, Hasher};

/// For ten minutes after an upgrade pages may run the old transport, which works: the API is the same.
const CACHED: &str = "public, max-age=600";

/// Asked for again each time, so that the page and its scripts are of one version.
const CHECKED: &str = "no-cache";

/// The page loads its own files and connects: to its bridge, and to the WebSocket that is typed in.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The file at this path, if there is one: 304 to a browser that has it, with the headers that a cache updates its copy with
/// (RFC 9110, 15.4.5).
pub fn file(path: &str, head: &Head, demo: bool) -> Option<Answer> {
    let answer = match path {
        "/-/" => {
            let page = offered(include_str!("try.html"), demo);
            body("text/html", CHECKED, page.replace("VERSION", env!("CARGO_PKG_VERSION")))
                .with("Content-Security-Policy", POLICY)
                .with("Referrer-Policy", "same-origin")
        }
        "/-/try.css" => body("text/css", CHECKED, include_str!("try.css")),
        "/-/try.js" => body("text/javascript", CHECKED, include_str!("try.js")),
        "/-/get.js" => body("text/javascript", CHECKED, include_str!("get.js")),
        "/-/log.js" => body("text/javascript", CHECKED, include_str!("log.js")),
        "/-/client.js" => script(include_str!("client.js")),
        // A module: it replaces nothing, and its bridge is where it came from. By the name of the function that it exports, which
        // is there before the rest runs, the script knows that it was meant to be one.
        "/-/client.mjs" => script(concat!(include_str!("client.js"), include_str!("export.js"))),
        _ => return None,
    };
    // Else a shared cache gives what it got without CORS headers to a page that needs them.
    let vary = if head.first("origin").is_none() { answer.with("Vary", "Origin") } else { answer };
    let tag = etag(&vary.body);
    let there = has_tag(head, &tag);
    let answer = vary.with("ETag", tag);
    Some(if there { Answer { status: 304, body: Vec::new(), ..answer } } else { answer })
}

/// Without `--demo` no channel is offered that only `--demo` has.
fn offered(page: &str, demo: bool) -> String {
    page.split_inclusive('\n').filter(|line| demo || !line.contains("class=\"demo")).collect()
}

/// Pages of other origins load the transport too, also those whose COEP demands a CORP header. With `Timing-Allow-Origin`
/// it sees the version of HTTP, and by that knows how many requests it can hold open.
fn script(source: impl Into<String>) -> Answer {
    body("text/javascript", CACHED, source)
        .with("Cross-Origin-Resource-Policy", "cross-origin")
        .with("Timing-Allow-Origin", "*")
}

fn body(kind: &str, cache: &str, text: impl Into<String>) -> Answer {
    Answer::new(200)
        .with("Content-Type", format!("{kind}; charset=utf-8"))
        .with("Cache-Control", cache)
        .with("X-Content-Type-Options", "nosniff")
        .body(text.into())
}

/// A weak tag, for a proxy that compresses makes a strong one weak (RFC 9110, 8.8.1). Two versions of one file must differ,
/// and there is nothing to gain by making them equal.
fn etag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("W/\"{:016x}\"", hasher.finish())
}

/// Compared weakly (RFC 9110, 13.1.2). None of our tags has a comma.
fn has_tag(head: &Head, ours: &str) -> bool {
    let ours = ours.trim_start_matches("W/").as_bytes();
    let mut tags = head.list("if-none-match");
    tags.any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transport_stays_small() {
        let size = include_str!("client.js").len();

        assert!(size <= 18 * 1024, "client.js has {size} bytes");
    }

    #[test]
    fn the_channels_of_the_demo_are_offered_with_it_only() {
        let page = include_str!("try.html");

        assert!(offered(page, true).contains("ClockChannel"));
        assert!(!offered(page, false).contains("ClockChannel"));
        assert!(offered(page, false).contains("ChatChannel"));
    }

    #[test]
    fn tags_are_compared_weakly() {
        let ours = etag(b"text");
        let has = |tags: &str| has_tag(&Head::with(format!("If-None-Match: {tags}\r\n")), &ours);

        assert!(has(&ours));
        assert!(has(&format!("\"a\", {}", &ours[2..])));
        assert!(has("*"));
        assert!(!has("\"a\", W/\"b\""));
        assert_ne!(etag(b"texts"), ours);
    }
}
