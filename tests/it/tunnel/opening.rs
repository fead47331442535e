//! How a tunnel opens, and what it is told that opens none.

use super::*;

#[test]
fn the_subprotocols_are_offered_to_the_upstream() {
    for (protocol, offered) in [
        ("p1", Some("p1")),
        (OFFER, Some("actioncable-v1-json, actioncable-unsupported")),
        ("p1%2Cp2", Some("p1, p2")),
        ("", None),
    ] {
        let upstream = FakeUpstream::start();
        let bridge = Bridge::start(&upstream);
        let _asked = bridge.get(&format!("/t?protocol={protocol}")).sse().begin();

        let link = upstream.accept();

        assert_eq!(link.handshake.header("Sec-WebSocket-Protocol").as_deref(), offered);
    }
}

#[test]
fn on_101_the_first_event_is_open_without_a_welcome() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/t?protocol=p1,p2").sse().begin();
    upstream.accept().upgrade_with("Sec-WebSocket-Protocol: p2\r\n");

    let mut stream = asked.stream();

    assert_eq!(stream.head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let open = stream.expect_named("open");
    assert_eq!(open.keys(), ["protocol", "resumed", "session_id"]);
    assert_eq!((open.text("protocol").as_str(), open.flag("resumed")), ("p2", false));
    assert_eq!(open.text("session_id"), stream.session_id());
}

#[test]
fn nothing_is_answered_before_the_101() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let stream = bridge.get("/t?protocol=p1").sse().begin();
    let poll = bridge.get("/u?protocol=p1").begin();
    let _links = [upstream.accept(), upstream.accept()];
    bridge.settle();

    assert!(stream.is_waiting() && poll.is_waiting());
}

#[test]
fn a_101_that_chooses_no_subprotocol_opens_with_an_empty_one() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/t?protocol=").sse().begin();
    upstream.accept().upgrade_without_subprotocol();

    assert_eq!(asked.stream().expect_named("open").text("protocol"), "");
}

#[test]
fn the_first_poll_answers_as_soon_as_the_101_is_there() {
    let (_upstream, _bridge, _link, first) = polled_tunnel(&[]);

    let keys =
        ["close", "dropped", "last_event_id", "messages", "msg_id", "protocol", "session_id"];
    assert_eq!(first.json.keys(), keys);
    assert_eq!(first.json.text("protocol"), "p1");
    assert!(first.messages.is_empty() && first.close().is_none());
}

#[test]
fn an_upstream_that_refuses_is_403_as_json_and_nothing_stays_behind() {
    for status in [400, 401, 403, 404, 410] {
        let upstream = FakeUpstream::start();
        let bridge = Bridge::start(&upstream);
        for request in [bridge.get("/t?protocol=p1").sse(), bridge.get("/t?protocol=p1")] {
            let asked = request.begin();
            upstream.accept().answer(status);

            assert!(asked.response().refused(403).contains(&status.to_string()));
            bridge.delete("/t").send().refused(404);
        }
    }
}

#[test]
fn an_upstream_that_fails_is_502_as_json_and_nothing_stays_behind() {
    for status in [200, 302, 408, 429, 500, 503] {
        let upstream = FakeUpstream::start();
        let bridge = Bridge::start(&upstream);
        for request in [bridge.get("/t?protocol=p1").sse(), bridge.get("/t?protocol=p1")] {
            let asked = request.begin();
            upstream.accept().answer(status);

            let response = asked.response();
            response.refused(502);
            assert!(response.header("retry-after").is_some());
            bridge.delete("/t").send().refused(404);
        }
    }
}

#[test]
fn an_upstream_that_cannot_be_reached_is_502_as_json() {
    let bridge = Bridge::with(&FakeUpstream::absent(), &[]);

    bridge.get("/t?protocol=p1").sse().send().refused(502);
    bridge.get("/t?protocol=p1").send().refused(502);
}

#[test]
fn an_upstream_that_chooses_what_was_not_offered_is_502() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/t?protocol=p1,p2").sse().begin();

    upstream.accept().upgrade_with("Sec-WebSocket-Protocol: p3\r\n");

    asked.response().refused(502);
}

#[test]
fn a_protocol_that_is_no_list_of_tokens_is_a_400() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for protocol in ["p1,,p2", "p%201", "a/b", "p1%0d%0aX-Evil:%201", "p%00", "%ff", "(p)", ","] {
        bridge.get(&format!("/t?protocol={protocol}")).sse().send().refused(400);
        bridge.get(&format!("/t?protocol={protocol}")).send().refused(400);
    }

    assert!(!upstream_was_asked(&upstream));
}

fn upstream_was_asked(upstream: &FakeUpstream) -> bool {
    upstream.accept_within(std::time::Duration::ZERO).is_some()
}

#[test]
fn a_get_or_a_post_of_the_wrong_kind_for_the_id_is_a_409() {
    let (upstream, bridge, mut stream, mut link) = opened_tunnel(&[]);
    let (_managed, _managed_link) = bridge.open(&upstream, "/m");

    bridge.get("/t").sse().send().refused(409);
    bridge.get("/t").send().refused(409);
    bridge.post("/t", &format!("[{}]", subscribe(CHAT))).send().refused(409);
    bridge.get("/m?protocol=p1").sse().send().refused(409);
    bridge.get("/m?protocol=p1").send().refused(409);
    bridge.post("/m?protocol=p1", "\"x\"").send().refused(409);
    bridge.post("/m?seq=1", "\"x\"").send().refused(409);

    frames_sent(&mut link, &["1"]);
    expect_frame(&mut stream, "1");
}

#[test]
fn the_handshake_carries_the_same_headers_and_query_as_a_sessions() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let request = bridge.get("/t?protocol=p1&token=7&padding=1").sse();
    let request = request.header("Cookie", "c=1").header("X-Other", "no");
    let _asked = request.header("Origin", "http://a.example").begin();

    let link = upstream.accept();

    assert_eq!(link.handshake.target(), "/cable?token=7");
    assert_eq!(link.handshake.header("Cookie").as_deref(), Some("c=1"));
    assert_eq!(link.handshake.header("Origin").as_deref(), Some("http://a.example"));
    assert_eq!(link.handshake.header("X-Other"), None);
}

#[test]
fn reuse_does_not_concern_tunnels() {
    let (_upstream, bridge, mut stream, mut link) = opened_tunnel(&["-r"]);

    bridge.get("/t?protocol=p1").sse().send().refused(403);
    bridge.get("/t?protocol=p1").send().refused(403);

    frames_sent(&mut link, &["1"]);
    expect_frame(&mut stream, "1");
}

#[test]
fn over_max_sessions_a_tunnel_meets_the_same_answers_as_a_session() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-sessions", "1"]);
    let (_stream, _link) = bridge.open(&upstream, "/a");

    bridge.get("/t?protocol=p1").sse().stream().expect_end();
    bridge.get("/t?protocol=p1").send().refused(503);
}

#[test]
fn with_strict_headers_another_cookie_is_403_for_a_tunnel_too() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--strict-headers"]);
    let asked = bridge.get("/t?protocol=p1").sse().header("Cookie", "c=1").begin();
    let _link = accepted(&upstream);
    let mut stream = asked.stream();
    stream.expect_named("open");

    back_to_tunnel(&bridge, &stream.last_id).header("Cookie", "c=2").send().refused(403);
    bridge.post("/t", "\"x\"").header("Cookie", "c=2").send().refused(403);
    bridge.delete("/t").header("Cookie", "c=2").send().refused(403);
    assert_eq!(bridge.post("/t", "\"x\"").header("Cookie", "c=1").send().status, 204);
}
