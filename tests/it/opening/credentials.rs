//! What a request shows of who it is, and what the next handshake carries of it.

use crate::support::*;

const COOKIE: &str = "login=1";

/// A stream with credentials of each kind, and its event id.
fn opened_as_user(options: &[&str]) -> (FakeUpstream, Bridge, Stream, Link) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, options);
    let asked = bridge.get("/a?jid=1").sse().header("Cookie", COOKIE).header("Authorization", "A1");
    let asked = asked.header("Origin", "https://app.example").begin();
    let link = upstream.welcome();
    let mut stream = asked.stream();
    stream.expect_joined();
    (upstream, bridge, stream, link)
}

fn shows(link: &Link) -> (String, Option<String>, Option<String>) {
    let handshake = &link.handshake;
    (handshake.target().to_owned(), handshake.header("cookie"), handshake.header("authorization"))
}

fn shown(
    target: &str,
    cookie: &str,
    authorization: &str,
) -> (String, Option<String>, Option<String>) {
    (target.to_owned(), Some(cookie.to_owned()), Some(authorization.to_owned()))
}

/// A stream that comes back to it with the place's own event id.
fn back_to(bridge: &Bridge, target: &str, id: &str) -> Request {
    bridge.get(target).sse().header("Last-Event-ID", id).header("Origin", "https://app.example")
}

#[test]
fn the_next_handshake_carries_what_the_stream_that_resumed_showed() {
    let (upstream, bridge, stream, link) = opened_as_user(&[]);
    let id = stream.last_id.clone();
    let request = back_to(&bridge, "/a?jid=2", &id).header("Cookie", "login=2");
    let mut stream = request.header("Authorization", "A2").stream();
    assert!(stream.expect_joined().flag("resumed"));

    link.cut();

    assert_eq!(shows(&upstream.accept()), shown("/cable?jid=2", "login=2", "A2"));
}

#[test]
fn what_the_stream_that_resumed_does_not_show_stays() {
    for (target, cookie, expected) in [
        ("/a?jid=2", None, shown("/cable?jid=2", COOKIE, "A1")),
        ("/a", Some("login=2"), shown("/cable?jid=1", "login=2", "A1")),
    ] {
        let (upstream, bridge, stream, link) = opened_as_user(&[]);
        let mut request = back_to(&bridge, target, &stream.last_id);
        if let Some(cookie) = cookie {
            request = request.header("Cookie", cookie);
        }
        request.stream().expect_joined();

        link.cut();

        assert_eq!(shows(&upstream.accept()), expected);
    }
}

#[test]
fn a_poll_that_joined_shows_credentials_too() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let link = bridge.open_by_post(&upstream, "/a", CHAT);
    bridge.get("/a?timeout=1&jid=2").header("Cookie", "login=2").send();

    link.cut();

    let handshake = upstream.accept().handshake;
    assert_eq!(handshake.target(), "/cable?jid=2");
    assert_eq!(handshake.header("cookie").as_deref(), Some("login=2"));
}

#[test]
fn a_get_of_another_origin_changes_nothing() {
    let (upstream, bridge, stream, link) = opened_as_user(&[]);
    let request = bridge.get("/a?jid=2").sse().header("Last-Event-ID", &stream.last_id);
    request.header("Origin", "https://evil.example").header("Cookie", "login=2").stream();

    link.cut();

    assert_eq!(shows(&upstream.accept()), shown("/cable?jid=1", COOKIE, "A1"));
}

#[test]
fn a_get_that_is_refused_and_a_post_change_nothing() {
    let (upstream, bridge, _stream, link) = opened_as_user(&[]);
    let other = |request: Request| {
        request.header("Cookie", "login=2").header("Origin", "https://app.example").send()
    };
    other(bridge.get("/a?jid=2").sse()).refused(403);
    assert_eq!(other(bridge.post("/a?jid=2", &format!("[{}]", subscribe(CHAT)))).status, 200);

    link.cut();

    assert_eq!(shows(&upstream.accept()), shown("/cable?jid=1", COOKIE, "A1"));
}

#[test]
fn with_strict_headers_the_first_credentials_stay() {
    let (upstream, bridge, stream, link) = opened_as_user(&["--strict-headers"]);
    let request = back_to(&bridge, "/a?jid=2", &stream.last_id).header("Cookie", COOKIE);
    request.header("Authorization", "A2").stream().expect_joined();

    link.cut();

    assert_eq!(shows(&upstream.accept()), shown("/cable?jid=1", COOKIE, "A1"));
}

#[test]
fn while_the_link_is_away_a_client_that_comes_back_with_a_new_token_gets_in() {
    let (upstream, bridge, mut stream, link) = opened_as_user(&[]);
    let id = stream.last_id.clone();
    link.cut();
    upstream.accept().answer(401);
    stream.expect_upstream("disconnected");
    back_to(&bridge, "/a?jid=2", &id).stream().expect_joined();

    let mut targets = (0..10).map(|_| upstream.accept().handshake.target().to_owned());

    assert!(targets.any(|target| target == "/cable?jid=2"));
}

#[test]
fn an_event_id_of_a_dead_session_opens_a_new_one_for_another_token_in_the_query() {
    let (upstream, bridge, mut stream, mut link) = opened_as_user(&[]);
    link.disconnect("token_expired", Some(false));
    stream.expect_upstream("disconnected");
    stream.expect_end();
    let request = |target| {
        let request = back_to(&bridge, target, &stream.last_id).header("Cookie", COOKIE);
        request.header("Authorization", "A1")
    };

    assert_eq!(request("/a?jid=1").send().status, 204);
    let asked = request("/a?jid=2").begin();
    let link = upstream.welcome();

    assert_eq!(link.handshake.target(), "/cable?jid=2");
    assert!(!asked.stream().expect_joined().flag("resumed"));
}

#[test]
fn what_a_session_is_refused_for_at_last_is_what_it_showed_last() {
    let (upstream, bridge, stream, link) = opened_as_user(&[]);
    let again = |id: &str| {
        let request = back_to(&bridge, "/a?jid=2", id).header("Cookie", "login=2");
        request.header("Authorization", "A2")
    };
    let mut stream = again(&stream.last_id).stream();
    stream.expect_joined();
    link.cut();
    let mut link = upstream.welcome();
    link.disconnect("token_expired", Some(false));
    let id = stream.until_end().last().unwrap().id.clone().unwrap();

    assert_eq!(again(&id).send().status, 204);
}
