//! How long a session lives without a listener, and what becomes of its id.

use std::time::{Duration, Instant};

use crate::support::*;

const HOUR: &str = "1h";

#[test]
fn a_session_outlives_its_last_stream_by_the_resume_window() {
    let (_upstream, _bridge, stream, mut link) = opened(&["--resume-window", "1s", "-S", "100ms"]);
    let start = Instant::now();

    drop(stream);
    link.expect_close();

    let lived = start.elapsed();
    assert!(lived >= Duration::from_secs(1) && lived < Duration::from_secs(3), "{lived:?}");
}

#[test]
fn a_session_can_be_come_back_to_within_the_resume_window() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    let id = stream.last_id.clone();
    drop(stream);
    link.message(CHAT, "1");

    let mut again = back(&bridge, &id).stream();

    assert!(again.expect_joined().flag("resumed"));
    assert_eq!(again.received(), "1");
}

#[test]
fn a_session_outlives_its_last_poll_by_dash_s() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--resume-window", "100ms", "-S", "2s"]);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    link.confirm(CHAT);
    let start = Instant::now();
    bridge.get("/a").poll();

    link.expect_close();

    let lived = start.elapsed();
    assert!(lived >= Duration::from_secs(2) && lived < Duration::from_secs(4), "{lived:?}");
}

#[test]
fn a_session_that_was_polled_and_streamed_lives_until_the_later_of_both() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--resume-window", "200ms", "-S", HOUR]);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    link.confirm(CHAT);
    let poll = bridge.get("/a").poll();
    let mut stream = back(&bridge, &poll.json.text("last_event_id")).stream();
    stream.expect_joined();
    let id = stream.last_id.clone();
    drop(stream);

    // Another that had a stream only is gone: so much time has passed.
    let (marker, mut marker_link) = bridge.open(&upstream, "/b");
    drop(marker);
    marker_link.expect_close();

    assert!(back(&bridge, &id).stream().expect_joined().flag("resumed"));
}

#[test]
fn a_session_with_a_listener_does_not_expire() {
    let options = ["--resume-window", "500ms", "-S", "500ms", "--heartbeat", "2s"];
    let (_upstream, _bridge, mut stream, mut link) = opened(&options);

    // Eight times as long as it may be without one.
    for _ in 0..2 {
        stream.expect_named("heartbeat");
    }

    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
}

#[test]
fn posts_do_not_lengthen_the_life_of_a_session() {
    let (_upstream, bridge, stream, mut link) = opened(&["--resume-window", "500ms"]);
    drop(stream);

    let start = Instant::now();
    let body = format!("[{}]", subscribe(CHAT));
    wait_until(PATIENCE, || bridge.post("/a", &body).send().status == 404);

    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    link.expect_close();
}

#[test]
fn the_id_of_a_session_that_expired_is_free() {
    let (upstream, bridge, stream, mut link) = opened(&["--resume-window", "100ms"]);
    let id = stream.session_id();
    drop(stream);
    link.expect_close();

    let (again, _link) = bridge.open(&upstream, "/a");

    assert_ne!(again.session_id(), id);
}

#[test]
fn a_session_that_expired_was_not_ended_for_good_and_its_event_id_opens_a_new_one() {
    let (upstream, bridge, stream, mut link) = opened(&["--resume-window", "100ms"]);
    let id = stream.last_id.clone();
    drop(stream);
    link.expect_close();

    let asked = bridge.get("/a").sse().header("Last-Event-ID", &id).begin();
    let _link = upstream.welcome();

    assert!(!asked.stream().expect_joined().flag("resumed"));
}

#[test]
fn the_upstream_of_a_session_that_expired_gets_a_close_frame() {
    let (_upstream, _bridge, stream, mut link) = opened(&["--resume-window", "100ms"]);

    drop(stream);

    assert_eq!(link.expect_close(), Some(1000));
}

#[test]
fn a_session_whose_client_left_while_it_connected_expires_too() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--resume-window", "100ms", "-S", "100ms"]);
    let asked = bridge.get("/a").sse().begin();
    let mut link = upstream.accept();

    drop(asked);
    link.welcome();

    link.expect_close();
}

#[test]
fn a_session_that_tries_for_nobody_expires_too() {
    let mut upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--resume-window", "300ms", "-S", "300ms"]);
    let (stream, link) = bridge.open(&upstream, "/a");
    upstream.go_away();
    link.cut();
    drop(stream);

    wait_until(PATIENCE, || bridge.log().contains("event=session-ended"));

    upstream.come_back();
    let (_other, _other_link) = bridge.open(&upstream, "/b");
    assert!(upstream.accept_within(Duration::from_secs(1)).is_none());
}

#[test]
fn a_poll_that_timed_out_lengthens_the_life_as_any_reply_does() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--resume-window", "100ms", "-S", "2500ms"]);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    link.confirm(CHAT);
    bridge.get("/a").poll();

    for _ in 0..3 {
        assert!(bridge.get("/a?timeout=1").poll().messages.is_empty());
    }

    link.message(CHAT, "1");
    assert_eq!(bridge.get("/a").poll().bodies(), ["1"]);
}

#[test]
fn a_session_that_never_had_a_stream_lives_for_dash_s_however_long_the_resume_window_is() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--resume-window", HOUR, "-S", "2s"]);
    let mut posted = bridge.open_by_post(&upstream, "/posted", CHAT);
    posted.confirm(CHAT);
    let mut polled = bridge.open_by_post(&upstream, "/polled", CHAT);
    polled.confirm(CHAT);
    bridge.get("/polled").poll();

    posted.expect_close();
    polled.expect_close();
}
