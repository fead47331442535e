//! What of a request reaches the upstream's handshake, and what never does.

use crate::support::*;

/// The handshake that a GET with these headers leads to.
fn handshake(options: &[&str], target: &str, headers: &[(&str, &str)]) -> Handshake {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, options);
    let request = bridge.get(target).sse();
    let request = headers.iter().fold(request, |r, (name, value)| r.header(name, value));
    let _asked = request.begin();
    upstream.accept().handshake
}

fn origin(options: &[&str], headers: &[(&str, &str)]) -> Option<String> {
    handshake(options, "/a", headers).header("Origin")
}

#[test]
fn the_headers_that_rails_looks_at_are_handed_on() {
    let handed_on = [
        ("Cookie", "_app=abc; user=%7B1%7D"),
        ("Origin", "https://app.example"),
        ("Authorization", "Bearer abc=="),
        ("User-Agent", "Mozilla/5.0 (X11)"),
        ("Accept-Language", "de-DE,de;q=0.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "app.example"),
        ("X-Forwarded-Anything", "at all"),
        ("Forwarded", "for=192.0.2.1;proto=https"),
        ("X-Real-IP", "192.0.2.1"),
        ("Host", "app.example:8443"),
    ];

    let handshake = handshake(&[], "/a", &handed_on);

    for (name, value) in handed_on {
        assert_eq!(handshake.header(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn a_cookie_with_bytes_over_127_is_handed_on_unchanged() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let cookie = b"name=Andr\xe9; \xff\x80=\xc3\xa9";

    let _asked = bridge.get("/a").sse().header("Cookie", cookie).begin();

    assert_eq!(upstream.accept().handshake.all("Cookie"), [cookie]);
}

#[test]
fn no_other_header_is_handed_on() {
    let others = [
        ("Referer", "https://app.example/secret"),
        ("X-Custom", "1"),
        ("Last-Event-ID", "17"),
        ("Cache-Control", "no-cache"),
        ("Accept-Encoding", "gzip"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Sec-Fetch-Mode", "cors"),
        ("Pragma", "no-cache"),
        ("TE", "trailers"),
        ("X-Session-Id", "1"),
        ("X-Ticket", "1"),
        ("X-Forwarded", "1"),
    ];

    let handshake = handshake(&[], "/a", &others);

    for (name, _) in others.iter().filter(|(name, _)| *name != "Referer") {
        assert!(handshake.all(name).is_empty(), "{name}");
    }
    assert!(handshake.all("Referer").is_empty());
    assert!(handshake.all("Accept").is_empty());
}

#[test]
fn a_handshake_has_one_of_each_header_that_a_websocket_needs() {
    let hostile =
        [("Sec-WebSocket-Key", "x"), ("Sec-WebSocket-Protocol", "evil"), ("Upgrade", "h2c")];

    let handshake = handshake(&[], "/a", &hostile);

    assert_eq!(handshake.header("Sec-WebSocket-Version").unwrap(), "13");
    assert_eq!(handshake.header("Upgrade").unwrap().to_ascii_lowercase(), "websocket");
    assert_eq!(handshake.header("Connection").unwrap().to_ascii_lowercase(), "upgrade");
    assert_ne!(handshake.header("Sec-WebSocket-Key").unwrap(), "x");
    assert!(!handshake.header("Sec-WebSocket-Protocol").unwrap().contains("evil"));
}

#[test]
fn hop_by_hop_headers_are_never_handed_on() {
    let hops = [
        ("Connection", "keep-alive, X-Real-IP, Cookie"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("Proxy-Authenticate", "Basic"),
        ("TE", "trailers"),
        ("Trailer", "X-Custom"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ("Expect", "100-continue"),
        ("Max-Forwards", "1"),
        ("Via", "1.1 a"),
    ];

    let handshake = handshake(&[], "/a", &hops);

    for (name, _) in &hops[1..] {
        let own = *name == "Upgrade";
        assert_eq!(handshake.all(name).len(), usize::from(own), "{name}");
    }
    assert_eq!(handshake.header("Upgrade").unwrap(), "websocket");
    assert_eq!(handshake.header("Connection").unwrap(), "Upgrade");
}

#[test]
fn the_peers_address_is_appended_to_x_forwarded_for() {
    let handshake = handshake(&[], "/a", &[("X-Forwarded-For", "192.0.2.1, 192.0.2.2")]);

    let all = handshake.all("X-Forwarded-For").join(&b", "[..]);
    assert_eq!(String::from_utf8(all).unwrap(), "192.0.2.1, 192.0.2.2, 127.0.0.1");
}

#[test]
fn without_x_forwarded_for_it_is_the_peers_address() {
    assert_eq!(handshake(&[], "/a", &[]).header("X-Forwarded-For").unwrap(), "127.0.0.1");
}

#[test]
fn of_several_x_forwarded_for_all_are_kept_in_order() {
    let twice = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.2")];

    let all = handshake(&[], "/a", &twice).all("X-Forwarded-For").join(&b", "[..]);

    assert_eq!(String::from_utf8(all).unwrap(), "192.0.2.1, 192.0.2.2, 127.0.0.1");
}

#[test]
fn a_missing_origin_is_derived_from_the_referer() {
    let cases = [
        ("https://app.example/page?x=http://evil.example#y", "https://app.example"),
        ("http://app.example:3000", "http://app.example:3000"),
        ("https://app.example:8443/", "https://app.example:8443"),
    ];

    for (referer, derived) in cases {
        assert_eq!(origin(&[], &[("Referer", referer)]).as_deref(), Some(derived));
    }
}

#[test]
fn a_referer_that_is_no_address_of_a_page_gives_no_origin() {
    for referer in ["about:client", "/page", "data:text/html,x", "", "https://"] {
        assert_eq!(origin(&[], &[("Referer", referer)]), None, "{referer}");
    }
}

#[test]
fn a_missing_origin_without_a_referer_is_what_origin_says() {
    let options = ["--origin", "https://app.example"];

    assert_eq!(origin(&options, &[]).as_deref(), Some("https://app.example"));
    let same = [("Sec-Fetch-Site", "same-origin")];
    assert_eq!(origin(&options, &same).as_deref(), Some("https://app.example"));
}

#[test]
fn the_referer_comes_before_what_origin_says() {
    let options = ["--origin", "https://app.example"];

    let derived = origin(&options, &[("Referer", "https://other.example/x")]);

    assert_eq!(derived.as_deref(), Some("https://other.example"));
}

#[test]
fn what_origin_says_does_not_count_for_any_other_site() {
    let options = ["--origin", "https://app.example"];

    assert_eq!(origin(&options, &[("Sec-Fetch-Site", "none")]), None);
}

#[test]
fn a_missing_origin_that_nothing_tells_stays_out() {
    assert_eq!(origin(&[], &[]), None);
}

#[test]
fn an_origin_null_is_an_origin_never_derived_and_never_replaced() {
    let options = ["--origin", "https://app.example"];

    let handed_on = origin(&options, &[("Origin", "null"), ("Referer", "https://app.example/")]);

    assert_eq!(handed_on.as_deref(), Some("null"));
}

#[test]
fn query_parameters_are_appended_as_they_came() {
    let target = handshake(&[], "/a?token=a%20b%2f&x&y==&%0a=1&token=2", &[]).target().to_owned();

    assert_eq!(target, "/cable?token=a%20b%2f&x&y==&%0a=1&token=2");
}

#[test]
fn the_parameters_that_the_bridge_owns_are_not_handed_on() {
    let target = "/a?timeout=1&poll-queue=2&token=3&after=0&padding=1&seq=1";

    assert_eq!(handshake(&[], target, &[]).target(), "/cable?token=3");
}

#[test]
fn a_parameter_that_the_server_address_has_is_not_handed_on() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::at(&format!("{}?room=1&v=2", upstream.url()), &[]);

    let _asked = bridge.get("/a?room=9&token=3&v").sse().begin();

    assert_eq!(upstream.accept().handshake.target(), "/cable?room=1&v=2&token=3");
}

#[test]
fn a_control_character_in_the_query_is_a_400_or_a_close_and_opens_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for control in ["\u{1}", "\u{7f}", "\u{b}", "\0"] {
        let request = format!("GET /a?x={control} HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = bridge.raw(request).rest();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{control:?}: {answer}");
    }

    let _marker = bridge.get("/a?token=marker").sse().begin();
    assert_eq!(upstream.accept().handshake.target(), "/cable?token=marker");
}

#[test]
fn the_address_and_the_path_never_come_from_a_request() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let head = "GET http://evil.example/a?x=1 HTTP/1.1\r\nHost: evil.example\r\n\
                Accept: text/event-stream\r\nX-Forwarded-Host: evil.example\r\n\r\n";
    let _asked = bridge.raw(head);

    assert_eq!(upstream.accept().handshake.request_line, "GET /cable?x=1 HTTP/1.1");
}

#[test]
fn without_a_host_the_upstream_gets_that_of_the_server_address() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let _asked = bridge.raw("GET /a HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");

    assert_eq!(upstream.accept().handshake.header("Host"), Some(upstream.host()));
}
