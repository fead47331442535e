//! What a session's first request is answered, whatever the upstream does.

use std::time::Duration;

use crate::support::*;

/// It has the form of an event id, and no bridge wrote it.
const UNKNOWN_ID: &str = "00112233445566778899aabbccddeeff.7";

const NOT_FOR_GOOD: [u16; 8] = [200, 302, 408, 429, 500, 502, 503, 504];
const FOR_GOOD: [u16; 5] = [400, 401, 403, 404, 410];

#[test]
fn the_first_get_connects_with_actioncables_subprotocols() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let _asked = bridge.get("/a").sse().begin();
    let handshake = upstream.accept().handshake;

    assert_eq!(handshake.request_line, "GET /cable HTTP/1.1");
    assert_eq!(
        handshake.header("Sec-WebSocket-Protocol").unwrap(),
        "actioncable-v1-json, actioncable-unsupported"
    );
}

#[test]
fn a_post_with_poll_queue_opens_the_session() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.post("/a?poll-queue=5", &format!("[{}]", subscribe(CHAT))).begin();
    let mut link = upstream.welcome();

    assert_eq!(asked.response().done()[0].raw("error"), "null");
    link.expect_subscribe(CHAT);
}

#[test]
fn a_post_without_poll_queue_opens_nothing() {
    let bridge = Bridge::start(&FakeUpstream::start());

    bridge.post("/a", &format!("[{}]", subscribe(CHAT))).send().refused(404);
}

#[test]
fn nothing_is_answered_before_the_welcome() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a").sse().begin();
    let mut link = upstream.accept();
    link.upgrade();

    // Another session, opened and answered meanwhile, is the marker.
    let (_stream, _other) = bridge.open(&upstream, "/b");

    assert!(asked.is_waiting());
    link.welcome();
    asked.stream().expect_joined();
}

#[test]
fn an_upstream_without_a_subprotocol_in_its_answer_is_taken() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").sse().begin();
    let mut link = upstream.accept();
    link.upgrade_without_subprotocol();
    link.welcome();

    asked.stream().expect_joined();
}

#[test]
fn a_handshake_refused_for_good_is_403_and_names_the_status() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for status in FOR_GOOD {
        for request in [
            bridge.get("/a").sse(),
            bridge.get("/b"),
            bridge.post("/c?poll-queue=1", &format!("[{}]", subscribe(CHAT))),
        ] {
            let asked = request.begin();
            upstream.accept().answer(status);
            let error = asked.response().refused(403);
            assert!(error.contains(&status.to_string()), "{error}");
        }
    }
}

#[test]
fn a_404_of_the_upstream_is_explained_by_the_origins_that_rails_allows() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").sse().begin();
    upstream.accept().answer(404);

    let error = asked.response().refused(403);
    assert!(error.contains("allowed_request_origins"), "{error}");
}

#[test]
fn a_disconnect_for_good_before_the_welcome_is_403_and_names_the_reason() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for request in [
        bridge.get("/a").sse(),
        bridge.get("/b"),
        bridge.post("/c?poll-queue=1", &format!("[{}]", subscribe(CHAT))),
    ] {
        let asked = request.begin();
        let mut link = upstream.accept();
        link.upgrade();
        link.disconnect("unauthorized", Some(false));
        let error = asked.response().refused(403);
        assert!(error.contains("unauthorized"), "{error}");
    }
}

#[test]
fn after_a_403_no_session_stays_behind() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").sse().begin();
    upstream.accept().answer(401);
    asked.response().refused(403);

    bridge.delete("/a").send().refused(404);
}

#[test]
fn any_other_status_is_502_with_retry_after_for_a_poll_and_a_post() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for status in NOT_FOR_GOOD {
        for request in
            [bridge.get("/b"), bridge.post("/c?poll-queue=1", &format!("[{}]", subscribe(CHAT)))]
        {
            let asked = request.begin();
            upstream.accept().answer(status);
            let response = asked.response();
            response.refused(502);
            assert!(response.header("retry-after").unwrap().parse::<u32>().is_ok());
        }
    }
}

#[test]
fn an_upstream_that_cannot_be_reached_is_502_for_a_poll_and_a_post() {
    let upstream = FakeUpstream::absent();
    let bridge = Bridge::start(&upstream);

    bridge.get("/a").send().refused(502);
    bridge.post("/b?poll-queue=1", &format!("[{}]", subscribe(CHAT))).send().refused(502);
}

#[test]
fn after_a_502_no_session_stays_behind() {
    let upstream = FakeUpstream::absent();
    let bridge = Bridge::start(&upstream);
    bridge.get("/a").send().refused(502);

    bridge.delete("/a").send().refused(404);
}

#[test]
fn any_other_status_is_a_stream_for_sse_whose_joined_is_followed_by_upstream() {
    for status in NOT_FOR_GOOD {
        let upstream = FakeUpstream::start();
        let bridge = Bridge::start(&upstream);

        let asked = bridge.get("/a").sse().begin();
        upstream.accept().answer(status);

        let mut stream = asked.stream();
        stream.expect_joined();
        let told = stream.expect_upstream("disconnected");
        assert!(told.flag("reconnect"));
        assert_eq!(told.text("session_id"), stream.session_id());
    }
}

#[test]
fn an_upstream_that_cannot_be_reached_is_a_stream_for_sse() {
    let upstream = FakeUpstream::absent();
    let bridge = Bridge::start(&upstream);

    let mut stream = bridge.get("/a").sse().stream();

    stream.expect_joined();
    assert!(!stream.expect_upstream("disconnected").text("reason").is_empty());
}

#[test]
fn an_upstream_that_closes_before_the_welcome_is_502_for_a_poll() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").begin();
    let mut link = upstream.accept();
    link.upgrade();
    link.close(1011, "busy");

    asked.response().refused(502);
}

#[test]
fn a_disconnect_that_allows_to_come_back_before_the_welcome_is_502_for_a_poll() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").begin();
    let mut link = upstream.accept();
    link.upgrade();
    link.disconnect("server_restart", Some(true));

    asked.response().refused(502);
}

#[test]
fn a_welcome_that_does_not_come_in_time_is_502_for_a_poll_and_closes_the_link() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--connect-timeout", "1s"]);

    let asked = bridge.get("/a").begin();
    let mut link = upstream.accept();
    link.upgrade();

    asked.response().refused(502);
    link.expect_close();
}

#[test]
fn a_welcome_that_does_not_come_in_time_is_a_stream_for_sse() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--connect-timeout", "1s"]);

    let asked = bridge.get("/a").sse().begin();
    let mut link = upstream.accept();
    link.upgrade();

    let mut stream = asked.stream();
    stream.expect_joined();
    stream.expect_upstream("disconnected");
}

#[test]
fn a_handshake_that_is_never_answered_is_given_up_after_the_connect_timeout() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--connect-timeout", "1s"]);

    let asked = bridge.get("/a").begin();
    let mut link = upstream.accept();

    asked.response().refused(502);
    link.expect_close();
}

#[test]
fn pings_do_not_put_off_the_connect_timeout() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--connect-timeout", "1s"]);

    let asked = bridge.get("/a").begin();
    let mut link = upstream.accept();
    link.upgrade();
    link.ping();

    asked.response().refused(502);
}

#[test]
fn the_bridge_goes_on_trying_for_a_stream_and_says_when_it_is_up() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a").sse().begin();
    upstream.accept().answer(503);
    let mut stream = asked.stream();
    stream.expect_joined();
    stream.expect_upstream("disconnected");

    let _link = upstream.welcome();

    assert_eq!(stream.expect_upstream("connected").text("session_id"), stream.session_id());
}

#[test]
fn a_session_that_tries_since_its_opening_takes_a_4xx_for_a_passing_one() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a").sse().begin();
    upstream.accept().answer(503);
    let mut stream = asked.stream();
    stream.expect_joined();
    stream.expect_upstream("disconnected");

    upstream.accept().answer(404);
    let _link = upstream.welcome();

    stream.expect_upstream("connected");
}

#[test]
fn a_stream_that_comes_back_with_an_event_id_known_or_not_outlives_a_4xx() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").sse().header("Last-Event-ID", UNKNOWN_ID).begin();
    upstream.accept().answer(404);

    let mut stream = asked.stream();
    stream.expect_joined();
    stream.expect_upstream("disconnected");
    let _link = upstream.welcome();
    stream.expect_upstream("connected");
}

#[test]
fn requests_for_an_id_that_connects_wait_for_that_one_attempt() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let first = bridge.get("/a").sse().begin();
    let mut link = upstream.accept();

    let post = bridge.post("/a", &format!("[{}]", subscribe(CHAT))).begin_seen();
    bridge.settle();
    assert!(post.is_waiting());
    link.welcome();

    let stream = first.stream();
    let response = post.response();
    response.done();
    assert_eq!(response.header("x-session-id"), Some(stream.session_id().as_str()));
}

#[test]
fn a_post_that_waited_for_an_attempt_that_failed_gets_404() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let first = bridge.get("/a").begin();
    let link = upstream.accept();

    let post = bridge.post("/a", &format!("[{}]", subscribe(CHAT))).begin_seen();
    bridge.settle();
    link.answer(503);

    first.response().refused(502);
    post.response().refused(404);
}

#[test]
fn a_post_with_poll_queue_that_waited_gets_the_answer_of_the_attempt_that_failed() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let first = bridge.get("/a").begin();
    let link = upstream.accept();

    let post = bridge.post("/a?poll-queue=1", &format!("[{}]", subscribe(CHAT))).begin_seen();
    bridge.settle();
    link.answer(401);

    first.response().refused(403);
    post.response().refused(403);
}

#[test]
fn a_poll_that_waited_gets_the_answer_of_the_attempt_that_failed() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let post = format!("[{}]", subscribe(CHAT));
    let first = bridge.post("/a?poll-queue=1", &post).begin();
    let link = upstream.accept();

    let poll = bridge.get("/a").begin_seen();
    bridge.settle();
    assert!(poll.is_waiting());
    link.answer(503);

    first.response().refused(502);
    poll.response().refused(502);
}

#[test]
fn a_stream_that_waited_for_a_poll_that_failed_opens_the_session_itself() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let poll = bridge.get("/a").begin();
    let link = upstream.accept();

    let asked = bridge.get("/a").sse().begin_seen();
    bridge.settle();
    link.answer(503);

    poll.response().refused(502);
    let _link = upstream.welcome();
    asked.stream().expect_joined();
}

#[test]
fn fifty_attempts_that_hang_hold_up_no_other_id() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let hanging: Vec<_> = (0..50)
        .map(|n| (bridge.get(&format!("/hangs/{n}")).sse().begin(), upstream.accept()))
        .collect();

    let (_stream, _link) = bridge.open(&upstream, "/other");

    assert!(hanging.iter().all(|(asked, _)| asked.is_waiting()));
}

#[test]
fn a_client_that_leaves_while_its_session_connects_is_no_trouble() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--resume-window", "200ms", "-S", "200ms"]);
    let asked = bridge.get("/a").sse().begin();
    let mut link = upstream.accept();

    drop(asked);
    link.welcome();

    link.expect_close();
}

#[test]
fn an_error_changes_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, mut link) = bridge.open(&upstream, "/a");

    bridge.post("/a", &format!("[{},", subscribe(ROOM))).send().refused(400);

    bridge.subscribe("/a", CHAT);
    link.expect_subscribe(CHAT);
}

#[test]
#[ignore = "takes a minute"]
fn a_session_that_gets_nothing_but_4xx_since_its_opening_ends_after_a_minute() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "5m"]);
    let asked = bridge.get("/a").sse().header("Last-Event-ID", UNKNOWN_ID).begin();
    upstream.accept().answer(401);
    let mut stream = asked.stream().patient(Duration::from_secs(30));
    stream.expect_joined();
    assert!(stream.expect_upstream("disconnected").flag("reconnect"));

    while let Some(link) = upstream.accept_within(Duration::from_secs(20)) {
        link.answer(401);
    }

    let told = stream.expect_upstream("disconnected");
    assert!(!told.flag("reconnect"));
    assert!(told.text("reason").contains("401"), "{}", told.text("reason"));
    stream.expect_end();
}

#[test]
fn a_stream_that_opens_a_session_says_that_it_resumed_nothing_whatever_its_after() {
    for after in ["0", "7"] {
        let upstream = FakeUpstream::start();
        let bridge = Bridge::start(&upstream);
        let asked = bridge.get(&format!("/a?after={after}")).sse().begin();
        let _link = upstream.welcome();

        assert!(!asked.stream().expect_joined().flag("resumed"), "{after}");
    }
}

#[test]
fn of_streams_that_wait_for_a_new_session_the_one_that_opened_it_joins() {
    for _ in 0..20 {
        let upstream = FakeUpstream::start();
        let bridge = Bridge::start(&upstream);
        let first = bridge.get("/a").sse().begin_seen();
        let mut link = upstream.accept();
        let others: Vec<_> = (0..4).map(|_| bridge.get("/a").sse().begin_seen()).collect();
        bridge.settle();

        link.welcome();

        let mut stream = first.stream();
        stream.expect_joined();
        others.into_iter().for_each(|other| drop(other.response().refused(403)));
    }
}
