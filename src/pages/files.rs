//! The files that browsers load: the transport (`client.js`), and the page to try it with.
//!
//! Owns: their text, their `ETag`, how long a cache may keep them, what the page may load.
//! Never: opens a file. They are in the binary.

use crate::gate::{Answer, Head};

/// A page that has the old one for so long after an upgrade works: the API is the same.
const CACHED: &str = "public, max-age=600";

/// The page that tries the transport runs one that fits it.
const CHECKED: &str = "no-cache";

/// The page loads its own files and connects: to its bridge, and to the WebSocket that is typed in.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What makes a module of the transport: it replaces nothing, and its bridge is where it came from. By the name of this
/// function, which is there before the rest runs, the script knows that it was meant to be a module.
const EXPORT: &str = "export default function bridgeClient(settings) {
  return bridgeWebSocket({ bridge: new URL(\"..\", import.meta.url).href, ...settings })
}
";

/// The file at this path, if there is one: 304 to a browser that has it.
pub fn file(path: &str, head: &Head, demo: bool) -> Option<Answer> {
    let answer = match path {
        "/-/" => html(&offered(include_str!("try.html"), demo), env!("CARGO_PKG_VERSION")),
        "/-/try.css" => body("text/css", CHECKED, include_str!("try.css")),
        "/-/try.js" => body("text/javascript", CHECKED, include_str!("try.js")),
        "/-/get.js" => body("text/javascript", CHECKED, include_str!("get.js")),
        "/-/log.js" => body("text/javascript", CHECKED, include_str!("log.js")),
        "/-/client.js" => script(include_str!("client.js")),
        "/-/client.mjs" => script([include_str!("client.js"), EXPORT].concat()),
        _ => return None,
    };
    // Else a shared cache gives what it got without CORS headers to a page that needs them.
    let vary = if head.first("origin").is_none() { answer.with("Vary", "Origin") } else { answer };
    Some(unless_there(vary, head))
}

/// Without `--demo` no channel is offered that only `--demo` has.
fn offered(page: &str, demo: bool) -> String {
    page.split_inclusive('\n').filter(|line| demo || !line.contains("class=\"demo")).collect()
}

fn html(page: &str, version: &str) -> Answer {
    body("text/html", CHECKED, page.replace("VERSION", version))
        .with("Content-Security-Policy", POLICY)
        .with("Referrer-Policy", "same-origin")
}

/// The transport is for the pages of other origins too, also for those that load nothing which does not say so, and
/// they may see over which HTTP it came: by that it knows how many requests it can hold open.
fn script(source: impl Into<String>) -> Answer {
    body("text/javascript", CACHED, source)
        .with("Cross-Origin-Resource-Policy", "cross-origin")
        .with("Timing-Allow-Origin", "*")
}

fn body(kind: &str, cache: &str, text: impl Into<String>) -> Answer {
    let text = text.into();
    Answer::new(200)
        .with("Content-Type", format!("{kind}; charset=utf-8"))
        .with("Cache-Control", cache)
        .with("ETag", etag(text.as_bytes()))
        .with("X-Content-Type-Options", "nosniff")
        .body(text)
}

/// A weak tag, for a proxy that compresses makes a strong one weak (RFC 9110, 8.8.1). FNV-1a: two versions of one file
/// must differ, and there is nothing to gain by making them equal.
fn etag(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("W/\"{hash:016x}\"")
}

/// A 304 has the headers that a cache updates its copy with, and no body (RFC 9110, 15.4.5).
fn unless_there(answer: Answer, head: &Head) -> Answer {
    let tag = answer.headers.iter().find(|(name, _)| *name == "ETag").map(|(_, tag)| tag.as_str());
    let there = head.all("if-none-match").any(|tags| has_tag(tags, tag.unwrap_or_default()));
    if there { Answer { status: 304, body: Vec::new(), ..answer } } else { answer }
}

/// Compared weakly (RFC 9110, 13.1.2). None of our tags has a comma.
fn has_tag(tags: &[u8], ours: &str) -> bool {
    let bare = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let ours = bare(ours.as_bytes());
    tags.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || bare(tag) == ours)
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

        assert!(has_tag(ours.as_bytes(), &ours));
        assert!(has_tag(format!("\"a\", {}", &ours[2..]).as_bytes(), &ours));
        assert!(has_tag(b"*", &ours));
        assert!(!has_tag(b"\"a\", W/\"b\"", &ours));
        assert_ne!(etag(b"texts"), ours);
    }
}
