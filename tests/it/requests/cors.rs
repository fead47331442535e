//! What a browser is told about origins.

use crate::support::*;

const ORIGIN: &str = "https://app.example";

/// The headers that every answer to a request with an Origin has.
const ALWAYS: [(&str, &str); 8] = [
    ("access-control-allow-origin", ORIGIN),
    ("vary", "Origin"),
    ("access-control-allow-credentials", "true"),
    ("access-control-allow-methods", "GET, POST, DELETE, OPTIONS"),
    ("access-control-allow-headers", "Content-Type, Last-Event-ID, Cache-Control, Authorization"),
    ("access-control-expose-headers", "X-Session-Id, Retry-After"),
    ("access-control-max-age", "7200"),
    ("timing-allow-origin", ORIGIN),
];

fn assert_cors(head: &Response) {
    for (name, value) in ALWAYS {
        assert_eq!(head.header(name), Some(value), "{head:?}");
    }
}

fn assert_no_cors(head: &Response) {
    let cors = head.headers.iter().filter(|(name, _)| name.starts_with("access-control"));
    assert_eq!(cors.count(), 0, "{head:?}");
    assert_eq!(head.header("timing-allow-origin"), None);
}

#[test]
fn a_preflight_has_the_headers() {
    let bridge = Bridge::start(&FakeUpstream::start());

    assert_cors(&bridge.request("OPTIONS", "/a").header("Origin", ORIGIN).send());
}

#[test]
fn a_stream_has_the_headers() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").sse().header("Origin", ORIGIN).begin();
    let _link = upstream.welcome();

    assert_cors(&asked.stream().head);
}

#[test]
fn a_poll_and_a_post_have_the_headers() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let _link = bridge.open_by_post(&upstream, "/a", CHAT);
    let body = format!("[{}]", subscribe(CHAT));

    assert_cors(&bridge.post("/a", &body).header("Origin", ORIGIN).send());
    assert_cors(&bridge.get("/a?timeout=1").header("Origin", ORIGIN).send());
}

#[test]
fn an_error_has_the_headers_too() {
    let bridge = Bridge::start(&FakeUpstream::start());

    let response = bridge.post("/a", "[]").header("Origin", ORIGIN).send();

    assert!(response.status >= 400);
    assert_cors(&response);
}

#[test]
fn an_origin_null_is_echoed() {
    let bridge = Bridge::start(&FakeUpstream::start());

    let response = bridge.request("OPTIONS", "/a").header("Origin", "null").send();

    assert_eq!(response.header("access-control-allow-origin"), Some("null"));
}

#[test]
fn without_an_origin_there_is_no_cors_header() {
    let bridge = Bridge::start(&FakeUpstream::start());

    assert_no_cors(&bridge.request("OPTIONS", "/a").send());
}

#[test]
fn with_allow_origin_another_origin_is_403_without_a_cors_header() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--allow-origin", ORIGIN]);

    for request in [
        bridge.get("/a").sse(),
        bridge.post("/a?poll-queue=1", "[]"),
        bridge.request("OPTIONS", "/a"),
        bridge.delete("/a"),
    ] {
        let response = request.header("Origin", "https://evil.example").send();
        response.refused(403);
        assert_no_cors(&response);
    }
}

#[test]
fn a_refused_origin_opens_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--allow-origin", ORIGIN]);

    bridge.get("/a").sse().header("Origin", "https://evil.example").send().refused(403);

    let _marker = bridge.get("/a?token=marker").sse().begin();
    assert_eq!(upstream.accept().handshake.target(), "/cable?token=marker");
}

#[test]
fn with_several_allow_origins_each_is_allowed() {
    let bridge = Bridge::with(
        &FakeUpstream::start(),
        &["--allow-origin", "https://other.example", "--allow-origin", ORIGIN],
    );

    for origin in ["https://other.example", ORIGIN] {
        let response = bridge.request("OPTIONS", "/a").header("Origin", origin).send();
        assert_eq!(response.header("access-control-allow-origin"), Some(origin));
    }
}

#[test]
fn the_requests_own_origin_is_always_allowed() {
    let bridge = Bridge::with(&FakeUpstream::start(), &["--allow-origin", ORIGIN]);

    let plain = bridge.request("OPTIONS", "/a").header("Host", "own.example:8080");
    assert_eq!(plain.header("Origin", "http://own.example:8080").send().status, 204);
    let tls = bridge.request("OPTIONS", "/a").header("Host", "own.example");
    let tls = tls.header("X-Forwarded-Proto", "https").header("Origin", "https://own.example");
    assert_eq!(tls.send().status, 204);
}

#[test]
fn the_requests_own_origin_with_another_scheme_is_another_origin() {
    let bridge = Bridge::with(&FakeUpstream::start(), &["--allow-origin", ORIGIN]);

    let request = bridge.request("OPTIONS", "/a").header("Host", "own.example");

    request.header("Origin", "https://own.example").send().refused(403);
}

#[test]
fn a_request_without_an_origin_is_not_stopped_by_allow_origin() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--allow-origin", ORIGIN]);

    let (_stream, _link) = bridge.open(&upstream, "/a");
}

#[test]
fn an_origin_that_no_browser_sends_is_400_and_not_echoed() {
    let bridge = Bridge::start(&FakeUpstream::start());
    let long = format!("https://{}", "a".repeat(2500));

    for origin in [&long, "app.example", "https://", "https://a/b", "https://a b", ""] {
        for request in
            [bridge.request("OPTIONS", "/a"), bridge.get("/a").sse(), bridge.get("/-/client.js")]
        {
            let response = request.header("Origin", origin).send();
            response.refused(400);
            assert_no_cors(&response);
        }
    }
}

#[test]
fn an_origin_of_a_file_counts_as_null() {
    let bridge = Bridge::start(&FakeUpstream::start());

    let response = bridge.request("OPTIONS", "/a").header("Origin", "file://").send();

    assert_eq!(response.status, 204);
    // What a web view compares with is what it sent.
    assert_eq!(response.header("access-control-allow-origin"), Some("file://"));
}

#[test]
fn a_preflight_allows_the_tokens_that_it_asks_for_but_never_what_proxies_say() {
    let bridge = Bridge::start(&FakeUpstream::start());
    let asked = |headers: &str| {
        let request = bridge.request("OPTIONS", "/a").header("Origin", ORIGIN);
        let response = request.header("Access-Control-Request-Headers", headers).send();
        response.header("access-control-allow-headers").unwrap().to_owned()
    };
    let always = ALWAYS[4].1;

    assert_eq!(
        asked("traceparent,x-csrf-token, content-type,forwarded,x-forwarded-host,X-Real-IP,a b,é"),
        format!("{always}, traceparent, x-csrf-token")
    );
    let many: Vec<String> = (0..1000).map(|n| format!("x-{n}")).collect();
    assert!(asked(&many.join(",")).len() <= always.len() + 1024);
}

#[test]
fn the_requests_own_origin_is_known_by_what_proxies_tell() {
    let bridge = Bridge::with(&FakeUpstream::start(), &["--allow-origin", ORIGIN]);

    for (origin, headers) in [
        ("https://own.example", &[("Host", "own.example:443"), ("X-Forwarded-Proto", "https")][..]),
        ("http://own.example:80", &[("Host", "own.example")]),
        (
            "https://own.example",
            &[("Host", "own.example"), ("Forwarded", "for=1.2.3.4;Proto=https")],
        ),
        (
            "https://own.example",
            &[
                ("Host", "inner:3000"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "own.example"),
            ],
        ),
        (
            "https://own.example:8443",
            &[("Host", "inner"), ("Forwarded", "proto=https; host=\"own.example:8443\"")],
        ),
    ] {
        let request = bridge.request("OPTIONS", "/a").header("Origin", origin);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        assert_eq!(request.send().status, 204, "{origin} {headers:?}");
    }
    let request = bridge.request("OPTIONS", "/a").header("Host", "own.example:8443");
    request.header("Origin", "http://own.example").send().refused(403);
}
