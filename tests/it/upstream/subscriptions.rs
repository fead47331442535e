//! A `subscribe` that the server has not answered, and what follows it (contract: Subscriptions).

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::*;

const SUBSCRIBE: &str = r#"[{"identifier":{"channel":"ChatChannel"},"subscribe":true}]"#;
const UNSUBSCRIBE: &str = r#"[{"identifier":{"channel":"ChatChannel"},"unsubscribe":true}]"#;
const AGAIN: &str = r#"[{"identifier":{"channel":"ChatChannel"},"unsubscribe":true},{"identifier":{"channel":"ChatChannel"},"subscribe":true}]"#;
const SEND: &str =
    r#"[{"identifier":{"channel":"ChatChannel"},"send":{"action":"speak","text":"hello"}}]"#;

/// A session whose one `subscribe` has no answer yet.
fn pending() -> (FakeUpstream, Bridge, Stream, Link) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (stream, mut link) = bridge.open(&upstream, "/a");
    bridge.post("/a", SUBSCRIBE).send().done();
    link.expect_subscribe(CHAT);
    (upstream, bridge, stream, link)
}

#[test]
fn a_subscribe_without_an_answer_is_sent_again_and_again_more_and_more_rarely() {
    let (_upstream, _bridge, mut stream, mut link) = pending();
    let mut asked = Instant::now();

    let pauses: Vec<Duration> = (0..3)
        .map(|_| {
            link.expect_subscribe(CHAT);
            std::mem::replace(&mut asked, Instant::now()).elapsed()
        })
        .collect();

    assert!(pauses[0] >= Duration::from_millis(400), "{pauses:?}");
    assert!(pauses[1] > pauses[0] && pauses[2] > pauses[1], "{pauses:?}");
    link.confirm(CHAT);
    assert_eq!(stream.next().json().kind(), "connected");
}

#[test]
fn another_subscribe_of_a_pending_channel_is_sent_at_once_but_not_twice_within_half_a_second() {
    let (_upstream, bridge, _stream, mut link) = pending();
    (0..3).for_each(|_| link.expect_subscribe(CHAT));
    let repeated = Instant::now();

    bridge.post("/a", SUBSCRIBE).send().done();
    bridge.post("/a", SUBSCRIBE).send().done();
    // Within half a second of the repeat both say nothing; after it one is enough, long before the next repeat.
    while repeated.elapsed() < Duration::from_millis(500) {
        assert!(!readable(link.stream(), Duration::from_millis(20)));
    }
    bridge.post("/a", SUBSCRIBE).send().done();
    link.expect_subscribe(CHAT);

    assert!(repeated.elapsed() < Duration::from_secs(2), "{:?}", repeated.elapsed());
    bridge.post("/a", SUBSCRIBE).send().done();
    link.confirm(CHAT);
    bridge.post("/a", SEND).send().done();
    link.expect_send(CHAT);
}

#[test]
fn an_unsubscribe_waits_for_the_answer_to_the_subscribe_before_it() {
    let (_upstream, bridge, _stream, mut link) = pending();

    bridge.post("/a", UNSUBSCRIBE).send().done();
    // Longer than a subscribe waits before it is repeated: an unsubscribe ends the repeats.
    assert!(!readable(link.stream(), Duration::from_millis(900)));
    link.confirm(CHAT);

    link.expect_unsubscribe(CHAT);
}

#[test]
fn after_five_seconds_an_unsubscribe_waits_no_longer() {
    let (_upstream, bridge, _stream, mut link) = pending();
    let asked = Instant::now();

    bridge.post("/a", UNSUBSCRIBE).send().done();
    assert!(!readable(link.stream(), Duration::from_millis(4500)));
    link.expect_unsubscribe(CHAT);

    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[test]
fn a_rejected_subscribe_needs_no_unsubscribe() {
    let (_upstream, bridge, mut stream, mut link) = pending();
    bridge.post("/a", UNSUBSCRIBE).send().done();

    link.reject(CHAT);
    bridge.subscribe("/a", ROOM);

    link.subscribed(ROOM);
    assert_eq!(stream.next().json().raw("identifier"), ROOM);
}

#[test]
fn what_is_subscribed_again_before_the_answer_is_asked_for_after_it() {
    let (_upstream, bridge, mut stream, mut link) = pending();
    let ids = bridge.post("/a", AGAIN).send().done();
    assert_ne!(ids[0].text("chan_id"), ids[1].text("chan_id"));

    // The first subscription's, and its message: neither is the second one's.
    link.message(CHAT, r#""of the first""#);
    link.confirm(CHAT);
    link.expect_unsubscribe(CHAT);
    link.expect_subscribe(CHAT);
    link.message(CHAT, r#""of the second""#);
    link.confirm(CHAT);

    let received = stream.next().json();
    assert_eq!(received.raw("message"), r#""of the second""#);
    assert_eq!(received.text("chan_id"), ids[1].text("chan_id"));
    assert_eq!(stream.next().json().kind(), "connected");
}

#[test]
fn a_confirmation_of_what_is_not_wanted_any_more_is_answered_with_an_unsubscribe() {
    let (_upstream, bridge, _stream, mut link) = pending();
    link.confirm(CHAT);
    bridge.post("/a", UNSUBSCRIBE).send().done();
    link.expect_unsubscribe(CHAT);

    link.confirm(CHAT);

    link.expect_unsubscribe(CHAT);
}

#[test]
fn a_second_confirmation_tells_nothing_and_a_late_rejection_drops_no_send() {
    let (_upstream, bridge, mut stream, mut link) = pending();
    bridge.post("/a", AGAIN).send().done();
    bridge.post("/a", SEND).send().done();

    link.reject(CHAT);
    link.expect_subscribe(CHAT);
    link.confirm(CHAT);
    link.expect_send(CHAT);
    link.confirm(CHAT);
    link.message(CHAT, "1");

    assert_eq!(stream.next().json().kind(), "connected");
    assert_eq!(stream.received(), "1");
}

#[test]
fn a_link_that_does_not_hold_makes_the_pauses_longer() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, link) = bridge.open(&upstream, "/a");
    let began = Instant::now();
    link.cut();

    // Without a longer pause each time, five take two and a half seconds at most.
    for _ in 0..5 {
        let mut link = upstream.accept_within(Duration::from_secs(15)).expect("another attempt");
        link.upgrade();
        link.welcome();
        link.cut();
    }

    assert!(began.elapsed() > Duration::from_millis(2_500), "{:?}", began.elapsed());
}

#[test]
fn a_frame_that_is_no_object_says_nothing() {
    let (_upstream, _bridge, mut stream, mut link) = pending();

    for frame in [r#"["disconnect",null,null,"x",false]"#, r#"["welcome"]"#, "5", "null", "{", ""] {
        link.raw(frame);
    }
    link.confirm(CHAT);

    assert_eq!(stream.next().json().kind(), "connected");
}

#[test]
fn a_long_reason_is_cut_short_wherever_it_is_told() {
    let (_upstream, bridge, mut stream, mut link) = pending();

    link.disconnect(&"x".repeat(1_000_000), Some(true));

    let told = stream.expect_upstream("disconnected");
    assert!(told.text("reason").len() <= 200);
    bridge.wait_for_log("event=upstream-lost");
    assert!(bridge.log().lines().all(|line| line.len() <= 2048));
}

#[test]
fn a_byte_now_and_then_is_no_sign_of_life() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--stale-after", "200ms"]);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");

    // The start of a text frame of 65,535 bytes, then a byte each tenth of a second.
    link.bytes(&[0x81, 126, 0xff, 0xff]);
    let began = Instant::now();
    while !bridge.log().contains("event=upstream-lost") {
        assert!(began.elapsed() < Duration::from_secs(10));
        // The pace. The link may be cut meanwhile, which is what is waited for.
        let _ = readable(link.stream(), Duration::from_millis(100));
        let _ = link.stream().write(b"x");
    }

    let told = stream.expect_upstream("disconnected");
    assert!(told.text("reason").contains("stale"), "{}", told.text("reason"));
}
