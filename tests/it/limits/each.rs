//! What happens at each limit.

use std::time::{Duration, Instant};

use crate::support::*;

/// Sends that one channel holds before it is confirmed.
const HELD_MAX: usize = 64;

#[test]
fn over_max_sessions_a_poll_and_a_post_are_503_with_retry_after() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-sessions", "1"]);
    let (_stream, _link) = bridge.open(&upstream, "/a");

    for request in
        [bridge.get("/b"), bridge.post("/b?poll-queue=1", &format!("[{}]", subscribe(CHAT)))]
    {
        let response = request.send();
        response.refused(503);
        assert!(response.header("retry-after").unwrap().parse::<u32>().is_ok());
    }
}

#[test]
fn over_max_sessions_a_stream_is_a_200_with_nothing_but_a_retry_and_the_end() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-sessions", "1"]);
    let (_stream, _link) = bridge.open(&upstream, "/a");

    let mut short = bridge.get("/b").sse().stream();

    short.expect_end();
    assert_eq!(short.head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(short.head.header("x-session-id"), None);
    let retry = short.retry.unwrap();
    assert!((5_000..=15_000).contains(&retry), "{retry}");
}

#[test]
fn over_max_sessions_the_sessions_that_are_there_go_on() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-sessions", "1"]);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    bridge.get("/b").send().refused(503);

    link.message(CHAT, "1");

    assert_eq!(stream.received(), "1");
}

#[test]
fn a_session_that_ends_makes_room_for_another() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-sessions", "1"]);
    let (_stream, _link) = bridge.open(&upstream, "/a");
    bridge.delete("/a").send();

    let (_other, _other_link) = bridge.open(&upstream, "/b");
}

#[test]
fn over_max_connections_a_connection_is_answered_503_and_closed() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-connections", "2"]);
    let (_stream, _link) = bridge.open(&upstream, "/a");
    let (_other, _other_link) = bridge.open(&upstream, "/b");

    let answer = bridge.get("/-/health").begin().rest();

    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[test]
fn idle_connections_count_towards_max_connections() {
    let bridge = Bridge::with(&FakeUpstream::start(), &["--max-connections", "2"]);
    let _idle = [bridge.raw(""), bridge.raw("")];

    let answer = bridge.get("/-/health").begin().rest();

    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[test]
fn a_connection_that_leaves_makes_room_for_another() {
    let bridge = Bridge::with(&FakeUpstream::start(), &["--max-connections", "2"]);
    let idle = [bridge.raw(""), bridge.raw("")];
    assert!(bridge.get("/-/health").begin().rest().starts_with("HTTP/1.1 503"));

    drop(idle);

    wait_until(PATIENCE, || bridge.get("/-/health").send().status == 200);
}

#[test]
fn a_subscribe_over_max_channels_is_an_error_of_the_item() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-channels", "1"]);
    let (_stream, mut link) = bridge.open(&upstream, "/a");

    let answers = bridge.act("/a", &[subscribe(CHAT), subscribe(ROOM), subscribe(CHAT)]);

    assert_eq!((answers[0].raw("error"), answers[2].raw("error")), ("null", "null"));
    assert!(answers[1].text("error").contains("--max-channels"), "{}", answers[1].raw("error"));
    assert_eq!(answers[1].raw("chan_id"), "null");
    link.expect_subscribe(CHAT);
}

#[test]
fn a_channel_that_was_left_makes_room_for_another() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-channels", "1"]);
    let (_stream, _link) = bridge.open(&upstream, "/a");

    bridge.act("/a", &[subscribe(CHAT), unsubscribe(CHAT)]);

    bridge.subscribe("/a", ROOM);
}

#[test]
fn max_channels_is_256_by_default() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, _link) = bridge.open(&upstream, "/a");
    let rooms: Vec<String> = (0..257)
        .map(|n| subscribe(&format!(r#"{{"channel":"RoomChannel","room":{n}}}"#)))
        .collect();

    let answers = bridge.act("/a", &rooms);

    assert!(answers[..256].iter().all(|answer| answer.raw("error") == "null"));
    assert_ne!(answers[256].raw("error"), "null");
}

#[test]
fn a_send_over_64_held_for_one_channel_is_an_error_of_the_item() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, mut link) = bridge.open(&upstream, "/a");
    bridge.subscribe("/a", CHAT);
    link.expect_subscribe(CHAT);

    let answers = bridge.act("/a", &vec![send(CHAT, "{}"); HELD_MAX + 1]);

    assert!(answers[..HELD_MAX].iter().all(|answer| answer.raw("error") == "null"));
    assert!(!answers[HELD_MAX].text("error").is_empty());
    link.confirmed(CHAT);
    for _ in 0..HELD_MAX {
        link.expect_send(CHAT);
    }
}

#[test]
fn an_upstream_message_over_max_message_drops_the_link_and_the_reason_is_told() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-message", "10000"]);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");

    link.message(CHAT, &quote(&"x".repeat(10_000)));

    let told = stream.expect_upstream("disconnected");
    assert!(told.flag("reconnect"));
    assert!(told.text("reason").contains("--max-message"), "{}", told.text("reason"));
    let _link = upstream.welcome();
    stream.expect_upstream("connected");
}

#[test]
fn an_upstream_message_in_pieces_counts_as_a_whole() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-message", "1000"]);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");

    // A text frame without FIN, then continuations: 100 bytes each.
    for n in 0..12 {
        let opcode = if n == 0 { 0x01 } else { 0x00 };
        link.bytes(&[&[opcode, 100], [b' '; 100].as_slice()].concat());
    }

    stream.expect_upstream("disconnected");
}

#[test]
fn a_request_head_over_16_kib_is_431() {
    let bridge = Bridge::start(&FakeUpstream::start());

    let big = "x".repeat(17 * 1024);
    let mut asked = bridge.raw(format!("GET /a HTTP/1.1\r\nHost: a\r\nX: {big}\r\n\r\n"));

    assert_eq!(asked.next_response().status, 431);
    asked.rest();
}

#[test]
fn a_request_head_of_15_kib_is_served() {
    let bridge = Bridge::start(&FakeUpstream::start());

    let response = bridge.get("/-/health").header("X", "x".repeat(15 * 1024)).send();

    assert_eq!(response.status, 200);
}

#[test]
fn a_request_head_that_is_not_whole_within_10_s_is_408() {
    let bridge = Bridge::start(&FakeUpstream::start());
    let start = Instant::now();

    let asked = bridge.raw("GET /a HTTP/1.1\r\nHost:").patient(Duration::from_secs(15));

    assert_eq!(asked.response().status, 408);
    let waited = start.elapsed();
    assert!(waited > Duration::from_secs(9) && waited < Duration::from_secs(12), "{waited:?}");
}

#[test]
fn a_byte_now_and_then_does_not_put_off_the_10_s() {
    let bridge = Bridge::start(&FakeUpstream::start());
    let mut asked = bridge.raw("GET /a HTTP/1.1\r\nX: ");
    let start = Instant::now();

    while !asked.has_answer_within(Duration::from_millis(500)) {
        assert!(start.elapsed() < Duration::from_secs(13), "no end to the head");
        let _ = asked.more(b"x");
    }

    assert_eq!(asked.response().status, 408);
}

#[test]
fn a_413_is_not_lost_to_a_reset_although_the_body_was_not_read() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-body", "1000"]);

    for _ in 0..5 {
        let mut asked = bridge.raw("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
        let _ = asked.more(&[b' '; 300_000]);
        asked.response().refused(413);
    }
}

#[test]
fn a_503_is_not_lost_to_a_reset_although_the_request_was_not_read() {
    let bridge = Bridge::with(&FakeUpstream::start(), &["--max-connections", "1"]);
    let _idle = bridge.raw("");

    for _ in 0..5 {
        let answer = bridge.get("/a").header("X", "x".repeat(10_000)).begin().rest();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
}

#[test]
fn a_reader_that_stops_reading_holds_up_nobody_else() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stuck, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    let (mut other, mut other_link) = bridge.open_with(&upstream, "/b", CHAT);
    let big = quote(&"x".repeat(1 << 20));

    for _ in 0..20 {
        link.message(CHAT, &big);
    }

    link.settle();
    other_link.message(CHAT, "1");
    assert_eq!(other.received(), "1");
}

#[test]
fn identifiers_over_256_kib_in_a_session_are_an_error_of_the_item() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, mut link) = bridge.open(&upstream, "/a");
    let big = |n: usize| format!(r#"{{"channel":"C","n":"{n:03}","x":"{}"}}"#, "x".repeat(4000));
    let fit = 256 * 1024 / big(0).len();
    let items: Vec<String> = (0..=fit).map(|n| subscribe(&big(n))).collect();

    let answers = bridge.act("/a", &items);

    assert!(answers[..fit].iter().all(|answer| answer.raw("error") == "null"));
    assert!(answers[fit].text("error").contains("262144"), "{}", answers[fit].raw("error"));
    (0..fit).for_each(|n| link.expect_subscribe(&big(n)));
    bridge.act("/a", &[unsubscribe(&big(1))]);
    bridge.subscribe("/a", &big(fit));
}

/// Asks until there is room, and says how long that took.
fn until_room(request: impl Fn() -> Request, upstream: &FakeUpstream) -> (Link, Duration) {
    let (start, mut link) = (Instant::now(), None);
    wait_until(Duration::from_secs(10), || {
        let asked = request().begin();
        link = upstream.accept_within(Duration::from_millis(100));
        if let Some(link) = &mut link {
            link.welcome();
            assert_eq!(asked.response().status, 200);
        }
        link.is_some()
    });
    (link.unwrap(), start.elapsed())
}

#[test]
fn at_max_sessions_the_session_without_a_listener_for_longest_makes_room_those_first_that_never_had_one()
 {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-sessions", "3"]);
    let (_stream, _link) = bridge.open(&upstream, "/listens");
    let (left, _left_link) = bridge.open(&upstream, "/left");
    left.abort();
    let _never = bridge.open_by_post(&upstream, "/never", CHAT);

    bridge.get("/new").send().refused(503);
    let post = format!("[{}]", subscribe(CHAT));
    let (_new, waited) = until_room(|| bridge.post("/new?poll-queue=1", &post), &upstream);

    assert!(waited > Duration::from_secs(4), "{waited:?}");
    bridge.delete("/never").send().refused(404);
    for path in ["/listens", "/left", "/new"] {
        assert_eq!(bridge.delete(path).send().status, 204, "{path}");
    }
}

#[test]
fn the_id_of_a_session_that_made_room_opens_a_new_one() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-sessions", "1"]);
    let (stream, _link) = bridge.open(&upstream, "/a");
    let id = stream.last_id.clone();
    stream.abort();
    let post = format!("[{}]", subscribe(CHAT));
    let _b = until_room(|| bridge.post("/b?poll-queue=1", &post), &upstream);
    assert_eq!(bridge.delete("/b").send().status, 204);

    let asked = bridge.get("/a").sse().header("Last-Event-ID", &id).begin();
    let _link = upstream.welcome();

    assert!(!asked.stream().expect_joined().flag("resumed"));
}

#[test]
fn a_tunnel_that_made_room_is_410() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-sessions", "1"]);
    let asked = bridge.get("/t?protocol=p1").sse().begin();
    let mut link = upstream.accept();
    link.upgrade_with("Sec-WebSocket-Protocol: p1\r\n");
    let mut stream = asked.stream();
    stream.expect_named("open");
    let id = stream.last_id.clone();
    stream.abort();
    let post = format!("[{}]", subscribe(CHAT));
    until_room(|| bridge.post("/b?poll-queue=1", &post), &upstream);

    let back = bridge.get("/t?protocol=p1").sse().header("Last-Event-ID", &id);
    assert_eq!(back.send().status, 410);
    assert_eq!(bridge.post("/t?seq=1", "\"one\"").send().status, 410);
}
