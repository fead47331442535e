//! `--strict-headers`: what opened a session is what may use it.

use crate::support::*;

const COOKIE: &str = "user=1";
const ORIGIN: &str = "https://app.example";

struct Strict {
    bridge: Bridge,
    _stream: Stream,
    _link: Link,
}

/// A session at `/a` that was opened with a cookie and an origin.
fn strict(options: &[&str]) -> Strict {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, options);
    let request = bridge.get("/a").sse().header("Cookie", COOKIE).header("Origin", ORIGIN);
    let asked = request.begin();
    let link = upstream.welcome();
    Strict { bridge, _stream: asked.stream(), _link: link }
}

fn requests(bridge: &Bridge) -> [Request; 3] {
    let body = format!("[{}]", subscribe(CHAT));
    [bridge.post("/a", &body), bridge.get("/a?timeout=1"), bridge.delete("/a")]
}

#[test]
fn a_later_request_with_another_cookie_is_403() {
    let session = strict(&["-r", "--strict-headers"]);

    for request in requests(&session.bridge) {
        request.header("Cookie", "user=2").header("Origin", ORIGIN).send().refused(403);
    }
}

#[test]
fn a_later_request_with_another_origin_is_403() {
    let session = strict(&["-r", "--strict-headers"]);

    for request in requests(&session.bridge) {
        let request = request.header("Cookie", COOKIE).header("Origin", "https://evil.example");
        request.send().refused(403);
    }
}

#[test]
fn a_later_request_without_them_is_403() {
    let session = strict(&["-r", "--strict-headers"]);

    for request in requests(&session.bridge) {
        request.send().refused(403);
    }
}

#[test]
fn a_later_request_with_the_same_is_served() {
    let session = strict(&["-r", "--strict-headers"]);

    for request in requests(&session.bridge) {
        let response = request.header("Cookie", COOKIE).header("Origin", ORIGIN).send();
        assert!(response.status < 300, "{response:?}");
    }
}

#[test]
fn an_origin_derived_from_the_referer_is_the_same_origin() {
    let session = strict(&["--strict-headers"]);

    let request = session.bridge.delete("/a").header("Cookie", COOKIE);
    let response = request.header("Referer", format!("{ORIGIN}/page")).send();

    assert_eq!(response.status, 204);
}

#[test]
fn absent_equals_absent() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--strict-headers"]);
    let (_stream, _link) = bridge.open(&upstream, "/a");

    bridge.delete("/a").header("Cookie", COOKIE).send().refused(403);
    assert_eq!(bridge.delete("/a").send().status, 204);
}

#[test]
fn without_the_option_any_cookie_will_do() {
    let session = strict(&[]);

    let response = session.bridge.delete("/a").header("Cookie", "user=2").send();

    assert_eq!(response.status, 204);
}
