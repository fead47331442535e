//! One listener or many: who joins, who takes over, who is refused.

use std::time::{Duration, Instant};

use crate::support::*;

#[test]
fn a_stranger_is_403_while_a_stream_is_there() {
    let (_upstream, bridge, mut stream, mut link) = opened(&[]);

    bridge.get("/a").sse().send().refused(403);
    bridge.get("/a").send().refused(403);

    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
}

#[test]
fn a_stranger_is_403_while_a_poll_is_there() {
    let (_upstream, bridge, mut link, _) = polled(&["--heartbeat", "100ms"]);
    let asked = bridge.waiting_poll("/a");

    bridge.get("/a").sse().send().refused(403);

    link.message(CHAT, "1");
    assert_eq!(asked.poll().bodies(), ["1"]);
}

#[test]
fn an_event_id_that_is_none_of_this_session_proves_nothing() {
    let (_upstream, bridge, stream, _link) = opened(&[]);

    for id in ["1", "17", "x", &stream.session_id(), "", " ", &stream.last_id[1..]] {
        bridge.get("/a").sse().header("Last-Event-ID", id).send().refused(403);
    }
}

#[test]
fn a_bare_number_in_after_proves_nothing() {
    let (_upstream, bridge, _stream, _link) = opened(&[]);

    bridge.get("/a?after=1").sse().send().refused(403);
    bridge.get("/a?after=1").send().refused(403);
}

#[test]
fn an_event_id_of_another_session_proves_nothing() {
    let (upstream, bridge, _stream, _link) = opened(&[]);
    let (other, _other_link) = bridge.open(&upstream, "/b");

    bridge.get("/a").sse().header("Last-Event-ID", &other.last_id).send().refused(403);
}

#[test]
fn a_fin_of_the_listener_frees_its_place_at_once() {
    let (_upstream, bridge, stream, _link) = opened(&[]);

    drop(stream);

    assert!(bridge.get("/a?timeout=1").poll().head.status == 200);
}

#[test]
fn a_listener_that_closed_its_sending_side_has_gone() {
    let (_upstream, bridge, stream, _link) = opened(&[]);

    stream.half_close();

    bridge.get("/a?timeout=1").poll();
}

#[test]
fn a_reset_of_the_listener_frees_its_place_at_once() {
    let (_upstream, bridge, stream, _link) = opened(&[]);

    stream.abort();

    bridge.get("/a?timeout=1").poll();
}

#[test]
fn a_stream_that_is_killed_and_started_again_is_a_200_ten_times_of_ten() {
    let upstream = Auto::start();
    let bridge = Bridge::at(&upstream.url(), &[]);
    let mut stream = bridge.get("/a").sse().stream();
    stream.expect_joined();

    for n in 0..10 {
        if n % 2 == 0 {
            drop(stream)
        } else {
            stream.abort()
        }
        stream = bridge.get("/a").sse().stream();
        stream.expect_joined();
    }

    wait_until(PATIENCE, || upstream.open() == 1);
}

#[test]
fn a_stream_without_an_event_id_for_a_session_that_had_a_stream_opens_a_new_session() {
    let (upstream, bridge, stream, mut link) = opened(&[]);
    let old = stream.session_id();
    stream.leave();

    let (new, _new_link) = bridge.open(&upstream, "/a");

    link.expect_close();
    assert_ne!(new.session_id(), old);
}

#[test]
fn a_stream_without_an_event_id_joins_a_session_that_never_had_a_stream() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    link.message(CHAT, "1");
    link.confirm(CHAT);

    let mut stream = bridge.get("/a").sse().stream();

    stream.expect_joined();
    assert_eq!(stream.received(), "1");
    stream.expect("connected");
    link.message(CHAT, "2");
    assert_eq!(stream.received(), "2");
}

#[test]
fn a_stream_that_joins_after_a_poll_starts_with_what_no_listener_was_sent_yet() {
    let (_upstream, bridge, mut link, _) = polled(&[]);
    link.message(CHAT, "1");
    assert_eq!(bridge.get("/a").poll_and_leave().bodies(), ["1"]);
    link.message(CHAT, "2");
    link.settle();

    let mut stream = bridge.get("/a").sse().stream();

    stream.expect_joined();
    assert_eq!(stream.received(), "2");
}

#[test]
fn a_get_that_comes_back_with_an_event_id_takes_the_place_over() {
    let (_upstream, bridge, mut old, mut link) = opened(&[]);

    let request = bridge.get("/a").sse().header("Last-Event-ID", &old.last_id);
    let mut new = request.stream();

    let replaced = old.next();
    assert_eq!((replaced.name(), old.retry), ("replaced", Some(3_600_000)));
    old.expect_end();
    new.expect_joined();
    link.message(CHAT, "1");
    assert_eq!(new.received(), "1");
}

#[test]
fn a_poll_that_comes_back_with_an_event_id_takes_the_place_over() {
    let (_upstream, bridge, mut old, mut link) = opened(&[]);

    let asked = bridge.get(&format!("/a?timeout=0&after={}", old.last_id)).begin();

    assert_eq!(old.next().name(), "replaced");
    link.message(CHAT, "1");
    assert_eq!(asked.poll().bodies(), ["1"]);
}

#[test]
fn a_stream_with_an_event_id_replaces_a_waiting_poll_which_answers_empty_at_once() {
    let (_upstream, bridge, mut link, _) = polled(&["--heartbeat", "100ms"]);
    link.message(CHAT, "1");
    let id = bridge.get("/a").poll().json.text("last_event_id");
    let asked = bridge.waiting_poll("/a");
    let start = Instant::now();

    let mut stream = bridge.get("/a").sse().header("Last-Event-ID", &id).stream();

    stream.expect_joined();
    assert!(asked.poll().messages.is_empty());
    assert!(start.elapsed() < Duration::from_millis(800), "{:?}", start.elapsed());
}

#[test]
fn with_reuse_any_number_of_streams_share_the_session() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-r"]);
    let (first, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    let mut streams = vec![first];
    for _ in 0..5 {
        let mut stream = bridge.get("/a").sse().stream();
        stream.expect_joined();
        for earlier in &mut streams {
            earlier.expect_joined();
        }
        streams.push(stream);
    }

    link.message(CHAT, "1");

    for stream in &mut streams {
        assert_eq!(stream.received(), "1");
    }
}

#[test]
fn with_reuse_a_stream_beside_another_starts_with_what_no_listener_was_sent_yet() {
    let (_upstream, bridge, mut first, mut link) = opened(&["-r"]);
    link.message(CHAT, "1");
    assert_eq!(first.received(), "1");

    let mut second = bridge.get("/a").sse().stream();

    second.expect_joined();
    link.message(CHAT, "2");
    assert_eq!(second.received(), "2");
}

#[test]
fn with_reuse_a_stream_without_an_event_id_joins_a_session_that_had_a_stream() {
    let (_upstream, bridge, stream, mut link) = opened(&["-r"]);
    let id = stream.session_id();
    drop(stream);

    let mut again = bridge.get("/a").sse().stream();

    again.expect_joined();
    assert_eq!(again.session_id(), id);
    link.message(CHAT, "1");
    assert_eq!(again.received(), "1");
}

#[test]
fn with_reuse_a_poll_may_be_beside_the_streams_and_each_has_a_place_of_its_own() {
    let (_upstream, bridge, mut stream, mut link) = opened(&["-r"]);
    assert_eq!(bridge.get("/a").poll().kinds(), ["connected"]);
    let asked = bridge.get("/a").begin();

    link.message(CHAT, "1");

    assert_eq!(stream.received(), "1");
    assert_eq!(asked.poll().bodies(), ["1"]);
}

#[test]
fn with_reuse_a_second_poll_replaces_the_first() {
    let (_upstream, bridge, mut link, _) = polled(&["-r", "--heartbeat", "100ms"]);
    let first = bridge.waiting_poll("/a");

    let second = bridge.waiting_poll("/a");

    link.message(CHAT, "1");
    assert_eq!(second.poll().bodies(), ["1"]);
    assert!(first.poll().messages.is_empty());
}

#[test]
fn with_reuse_a_listener_that_leaves_ends_nothing() {
    let (_upstream, bridge, mut first, mut link) = opened(&["-r"]);
    let second = bridge.get("/a").sse().stream();
    first.expect_joined();

    drop(second);

    link.message(CHAT, "1");
    assert_eq!(first.received(), "1");
}

#[test]
fn with_reuse_an_event_id_replaces_no_other_stream() {
    let (_upstream, bridge, mut first, mut link) = opened(&["-r"]);

    let mut second = bridge.get("/a").sse().header("Last-Event-ID", &first.last_id).stream();

    first.expect_joined();
    second.expect_joined();
    link.message(CHAT, "1");
    assert_eq!((first.received(), second.received()), ("1".to_owned(), "1".to_owned()));
}
