//! Ends: for good, by DELETE, by a signal; and what those find who come back.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::*;

const DRAIN_RETRY: RangeInclusive<u64> = 1_000..=5_000;
const COOKIE: &str = "login=1";

fn opened_as_user(options: &[&str]) -> (FakeUpstream, Bridge, Stream, Link) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, options);
    let (stream, link) = open_as_user(&upstream, &bridge, "/a");
    (upstream, bridge, stream, link)
}

fn open_as_user(upstream: &FakeUpstream, bridge: &Bridge, path: &str) -> (Stream, Link) {
    let asked = bridge.get(path).sse().header("Cookie", COOKIE).begin();
    let link = upstream.welcome();
    let mut stream = asked.stream();
    stream.expect_joined();
    (stream, link)
}

/// A session that was ended for good, and its last event id.
fn ended(options: &[&str]) -> (FakeUpstream, Bridge, String) {
    let (upstream, bridge, mut stream, mut link) = opened_as_user(options);
    link.disconnect("unauthorized", Some(false));
    assert!(!stream.expect_upstream("disconnected").flag("reconnect"));
    stream.expect_end();
    let id = stream.last_id.clone();
    (upstream, bridge, id)
}

fn back_as_user(bridge: &Bridge, id: &str) -> Request {
    bridge.get("/a").sse().header("Cookie", COOKIE).header("Last-Event-ID", id)
}

fn expect_new_session(upstream: &FakeUpstream, request: Request) {
    let asked = request.begin();
    let _link = upstream.welcome();
    assert!(!asked.stream().expect_joined().flag("resumed"));
}

#[test]
fn every_listener_is_told_when_the_upstream_ends_the_session_for_good() {
    let (_upstream, bridge, mut first, mut link) = opened_as_user(&["-r", "--heartbeat", "2s"]);
    let mut second = bridge.get("/a").sse().stream();
    second.expect_joined();
    first.expect_joined();
    let poll = bridge.waiting_poll("/a");

    link.disconnect("unauthorized", Some(false));

    for stream in [&mut first, &mut second] {
        let told = stream.until_end().into_iter().find(|event| event.name() == "upstream");
        let told = told.unwrap().json();
        assert_eq!((told.flag("reconnect"), told.text("reason").as_str()), (false, "unauthorized"));
    }
    let told = Json::parse(poll.poll().json.raw("upstream"));
    assert_eq!((told.flag("reconnect"), told.text("reason").as_str()), (false, "unauthorized"));
    bridge.delete("/a").send().refused(404);
}

#[test]
fn what_came_before_the_end_is_told_before_it() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    for n in 0..100 {
        link.message(CHAT, &n.to_string());
    }
    link.disconnect("unauthorized", Some(false));

    for n in 0..100 {
        assert_eq!(stream.received(), n.to_string());
    }
    stream.expect_upstream("disconnected");
    stream.expect_end();
}

#[test]
fn a_stream_with_an_event_id_of_a_dead_session_is_a_204() {
    let (_upstream, bridge, id) = ended(&[]);

    for _ in 0..3 {
        let response = back_as_user(&bridge, &id).send();
        assert_eq!(response.status, 204);
        assert_eq!(response.header("x-session-id"), None);
        assert_eq!(response.header("cache-control"), Some("no-store, no-transform"));
    }
}

#[test]
fn an_event_id_in_after_of_a_dead_session_is_a_204_too() {
    let (_upstream, bridge, id) = ended(&[]);

    let request = bridge.get(&format!("/a?after={id}")).sse().header("Cookie", COOKIE);

    assert_eq!(request.send().status, 204);
}

#[test]
fn a_poll_with_an_event_id_of_a_dead_session_is_a_403_that_names_the_reason() {
    let (_upstream, bridge, id) = ended(&[]);

    let response = bridge.get(&format!("/a?after={id}")).header("Cookie", COOKIE).send();

    assert!(response.refused(403).contains("unauthorized"));
    assert_eq!(response.header("x-session-id"), None);
}

#[test]
fn an_event_id_of_a_dead_session_opens_a_new_one_for_another_cookie() {
    for cookie in [Some("login=2"), None] {
        let (upstream, bridge, id) = ended(&[]);
        let mut request = bridge.get("/a").sse().header("Last-Event-ID", &id);
        if let Some(cookie) = cookie {
            request = request.header("Cookie", cookie);
        }

        expect_new_session(&upstream, request);
    }
}

#[test]
fn an_event_id_of_a_dead_session_opens_a_new_one_for_another_authorization() {
    let (upstream, bridge, id) = ended(&[]);

    expect_new_session(&upstream, back_as_user(&bridge, &id).header("Authorization", "Bearer 2"));
}

#[test]
fn a_stream_without_an_event_id_of_the_dead_session_opens_a_new_one() {
    let (upstream, bridge, _id) = ended(&[]);
    expect_new_session(&upstream, bridge.get("/a").sse().header("Cookie", COOKIE));

    let (upstream, bridge, _id) = ended(&[]);
    expect_new_session(&upstream, back_as_user(&bridge, "00000000000000000000000000000000.1"));
}

#[test]
fn an_event_id_of_a_dead_session_is_a_204_although_a_new_one_has_its_path() {
    let (upstream, bridge, id) = ended(&[]);
    let (mut stream, mut link) = open_as_user(&upstream, &bridge, "/a");
    bridge.subscribe("/a", CHAT);
    link.subscribed(CHAT);
    stream.expect("connected");

    assert_eq!(back_as_user(&bridge, &id).send().status, 204);

    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
}

#[test]
fn a_session_that_was_deleted_counts_as_dead() {
    let (_upstream, bridge, mut stream, mut link) = opened_as_user(&[]);

    assert_eq!(bridge.delete("/a").send().status, 204);

    assert!(!stream.expect_upstream("disconnected").flag("reconnect"));
    stream.expect_end();
    assert_eq!(link.expect_close(), Some(1000));
    assert_eq!(back_as_user(&bridge, &stream.last_id).send().status, 204);
}

#[test]
fn a_dead_session_is_remembered_for_dash_s() {
    let (upstream, bridge, id) = ended(&["-S", "2s", "--resume-window", "100ms"]);
    assert_eq!(back_as_user(&bridge, &id).send().status, 204);

    // Another session that nobody polls expires after as long a time: it has passed.
    let mut link = bridge.open_by_post(&upstream, "/b", CHAT);
    link.confirm(CHAT);
    link.expect_close();

    expect_new_session(&upstream, back_as_user(&bridge, &id));
}

#[test]
fn of_the_dead_the_last_max_sessions_are_remembered() {
    let (upstream, bridge, stream, _link) = opened_as_user(&["--max-sessions", "2"]);
    let oldest = stream.last_id.clone();
    bridge.delete("/a").send();
    let mut ids = Vec::new();
    for path in ["/b", "/c"] {
        let (stream, _link) = open_as_user(&upstream, &bridge, path);
        ids.push((path, stream.last_id.clone()));
        bridge.delete(path).send();
    }

    for (path, id) in &ids {
        let request = bridge.get(path).sse().header("Cookie", COOKIE);
        assert_eq!(request.header("Last-Event-ID", id).send().status, 204);
    }
    expect_new_session(&upstream, back_as_user(&bridge, &oldest));
}

#[test]
fn an_event_id_of_a_dead_session_proves_nothing_on_another_path() {
    let (upstream, bridge, id) = ended(&[]);
    let request = bridge.get("/b").sse().header("Cookie", COOKIE);

    expect_new_session(&upstream, request.header("Last-Event-ID", &id));
}

#[test]
fn sigterm_with_200_streams_and_polls_ends_each_in_order_and_exits_0_within_5_s() {
    let upstream = Auto::start();
    let options = ["--heartbeat", "200ms"];
    let mut bridge = Bridge::alone(&upstream.url(), &options);
    let mut streams: Vec<Stream> =
        (0..100).map(|n| bridge.get(&format!("/s/{n}")).sse().stream()).collect();
    streams.iter_mut().for_each(|stream| drop(stream.expect_joined()));
    let polls: Vec<Asked> = (0..100)
        .map(|n| {
            let path = format!("/p/{n}");
            let body = format!("[{}]", subscribe(CHAT));
            bridge.post(&format!("{path}?poll-queue=32"), &body).send().done();
            bridge.get(&path).poll();
            bridge.waiting_poll(&path)
        })
        .collect();

    bridge.signal(Signal::TERM);
    let start = Instant::now();

    assert_eq!(bridge.exit_code(Duration::from_secs(5)), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    polls.into_iter().for_each(|poll| assert!(poll.poll().messages.is_empty()));
    let mut retries: Vec<u64> = streams.iter_mut().map(drained_retry).collect();
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > 50, "{retries:?}");
    wait_until(PATIENCE, || upstream.open() == 0);
}

/// Reads a stream to its end, which is no event but a `retry:`.
fn drained_retry(stream: &mut Stream) -> u64 {
    let rest = stream.until_end();
    assert!(rest.iter().all(|event| event.name() == "heartbeat"), "{rest:?}");
    let retry = stream.retry.unwrap();
    assert!(DRAIN_RETRY.contains(&retry), "{retry}");
    retry
}

#[test]
fn sigint_drains_as_sigterm_does() {
    let (_upstream, mut bridge, mut stream, mut link) = opened_as_user(&[]);

    bridge.signal(Signal::INT);

    stream.expect_end();
    assert!(DRAIN_RETRY.contains(&stream.retry.unwrap()));
    assert!(link.expect_close().is_some());
    assert_eq!(bridge.exit_code(Duration::from_secs(5)), Some(0));
}

#[test]
fn what_came_before_the_signal_is_told_before_the_end() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    for n in 0..100 {
        link.message(CHAT, &n.to_string());
    }
    link.settle();

    bridge.signal(Signal::TERM);

    for n in 0..100 {
        assert_eq!(stream.received(), n.to_string());
    }
    stream.expect_end();
}

#[test]
fn a_poll_is_answered_at_once_by_a_drain() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::with(&upstream, &["--heartbeat", "100ms"]);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    link.confirm(CHAT);
    bridge.get("/a").poll();
    let poll = bridge.waiting_poll("/a");

    bridge.signal(Signal::TERM);

    assert!(poll.poll().messages.is_empty());
    assert_eq!(bridge.exit_code(Duration::from_secs(5)), Some(0));
}

/// A stream that nobody reads, with more on its way than any buffer takes: a drain waits for it.
fn stuck(options: &[&str]) -> (FakeUpstream, Bridge, Stream, Link) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, options);
    let (stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    for _ in 0..20 {
        link.message(CHAT, &quote(&"x".repeat(1 << 20)));
    }
    link.settle();
    (upstream, bridge, stream, link)
}

#[test]
fn a_reader_that_stopped_reading_does_not_keep_the_process_over_5_s() {
    let (_upstream, mut bridge, _stream, _link) = stuck(&[]);

    bridge.signal(Signal::TERM);

    assert_eq!(bridge.exit_code(Duration::from_secs(5)), Some(0));
    bridge.wait_for_log("event=stopped");
    assert!(bridge.log().contains("event=cut-off connections=1"), "{}", bridge.log());
}

#[test]
fn a_second_signal_exits_at_once_with_1() {
    let (_upstream, mut bridge, _stream, _link) = stuck(&[]);
    bridge.signal(Signal::TERM);
    bridge.wait_for_log("event=draining");

    bridge.signal(Signal::TERM);

    assert_eq!(bridge.exit_code(Duration::from_secs(1)), Some(1));
}

#[test]
fn a_drain_takes_no_new_connections() {
    let (_upstream, bridge, _stream, mut link) = stuck(&[]);
    bridge.signal(Signal::TERM);
    link.expect_close();

    let refused = std::net::TcpStream::connect_timeout(&bridge.address, PATIENCE);

    assert!(refused.is_err());
}

#[test]
fn an_idle_connection_is_closed_by_a_drain() {
    let (_upstream, bridge, _stream, mut link) = stuck(&[]);
    let mut idle = bridge.get("/-/health").begin();
    assert_eq!(idle.next_response().status, 200);

    bridge.signal(Signal::TERM);

    assert_eq!(idle.rest(), "");
    link.expect_close();
}

#[test]
fn a_stream_that_meets_a_drain_while_it_opens_is_told_to_come_back() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a").sse().begin();
    let poll = bridge.get("/b").begin();
    let _links = [upstream.accept(), upstream.accept()];

    bridge.signal(Signal::TERM);

    let mut short = asked.stream();
    short.expect_end();
    let retry = short.retry.unwrap();
    assert!((1_000..=15_000).contains(&retry), "{retry}");
    assert_eq!(short.head.header("x-session-id"), None);
    poll.response().refused(503);
    assert_eq!(bridge.exit_code(Duration::from_secs(5)), Some(0));
}

#[test]
fn an_upstream_that_never_answers_the_close_does_not_keep_the_process() {
    let (_upstream, mut bridge, mut stream, _link) = opened_as_user(&[]);

    bridge.signal(Signal::TERM);

    stream.expect_end();
    assert_eq!(bridge.exit_code(Duration::from_secs(5)), Some(0));
}

#[test]
#[ignore = "takes a minute"]
fn a_welcomed_session_that_gets_nothing_but_4xx_ends_after_a_minute() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "5m"]);
    let (stream, link) = open_as_user(&upstream, &bridge, "/a");
    let mut stream = stream.patient(Duration::from_secs(30));
    link.close(1001, "");
    assert!(stream.expect_upstream("disconnected").flag("reconnect"));
    let start = Instant::now();

    while let Some(link) = upstream.accept_within(Duration::from_secs(20)) {
        link.answer(403);
    }

    let told = stream.expect_upstream("disconnected");
    assert!(!told.flag("reconnect"));
    assert!(told.text("reason").contains("403"), "{}", told.text("reason"));
    stream.expect_end();
    assert!(start.elapsed() > Duration::from_secs(59), "{:?}", start.elapsed());
    assert_eq!(back_as_user(&bridge, &stream.last_id).send().status, 204);
}

#[test]
#[ignore = "takes a minute"]
fn a_welcomed_session_that_gets_anything_else_in_that_minute_lives_on() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "5m"]);
    let (stream, link) = open_as_user(&upstream, &bridge, "/a");
    let mut stream = stream.patient(Duration::from_secs(30));
    link.close(1001, "");
    assert!(stream.expect_upstream("disconnected").flag("reconnect"));
    let start = Instant::now();

    while start.elapsed() < Duration::from_secs(70) {
        let status = if start.elapsed() < Duration::from_secs(20) { 503 } else { 403 };
        upstream.accept_within(Duration::from_secs(20)).expect("another attempt").answer(status);
    }

    upstream.accept_within(Duration::from_secs(20)).expect("another attempt").welcome();
    stream.expect_upstream("connected");
}
