//! What is kept, for how long, and how those who missed something are told.

use std::time::{Duration, Instant};

use crate::support::*;

/// A session that only polls know and that keeps nothing but one `connected`.
/// Messages of so many bytes.
fn sent_big(link: &mut Link, count: usize, bytes: usize) {
    for _ in 0..count {
        link.message(CHAT, &quote(&"x".repeat(bytes)));
    }
    link.settle();
}

/// The first answer, with the messages of all that follow it.
fn kept(bridge: &Bridge, path: &str) -> Poll {
    let mut first = bridge.get(&format!("{path}?after=0&timeout=1")).poll();
    let mut last = first.json.clone();
    while last.number("queue_length") > 0 {
        let after = last.text("last_event_id");
        let next = bridge.get(&format!("{path}?after={after}&timeout=1")).poll();
        assert!(!next.messages.is_empty() && next.json.number("dropped") == 0);
        first.messages.extend(next.messages);
        last = next.json;
    }
    first
}

/// Reads to the marker; the `received` and what `dropped` told.
fn until_marker(stream: &mut Stream) -> (u64, u64) {
    let (mut received, mut dropped) = (0, 0);
    loop {
        let event = stream.next();
        match event.name() {
            "dropped" => dropped += event.json().number("dropped"),
            "message" if event.json().raw("message") == "\"marker\"" => return (received, dropped),
            "message" => received += 1,
            "heartbeat" => {}
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_session_keeps_the_last_max_queue_messages() {
    let (_upstream, bridge, stream, mut link) = opened(&["--max-queue", "3"]);
    stream.leave();

    sent(&mut link, 0..10);

    let poll = kept(&bridge, "/a");
    assert_eq!(poll.bodies(), ["7", "8", "9"]);
}

#[test]
fn max_queue_is_1024_by_default() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    stream.leave();

    sent(&mut link, 0..1100);

    let poll = kept(&bridge, "/a");
    assert_eq!((poll.messages.len(), poll.bodies()[0].as_str()), (1024, "76"));
}

#[test]
fn a_session_keeps_the_last_max_queue_bytes() {
    let (_upstream, bridge, stream, mut link) = opened(&["--max-queue-bytes", "10000"]);
    stream.leave();

    sent_big(&mut link, 20, 1000);

    let poll = kept(&bridge, "/a");
    assert!((5..10).contains(&poll.messages.len()), "{}", poll.messages.len());
    assert_eq!(poll.messages.len() as u64 + poll.json.number("dropped"), 21);
}

#[test]
fn max_queue_bytes_is_a_mebibyte_by_default() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    stream.leave();

    sent_big(&mut link, 30, 100_000);

    let messages = kept(&bridge, "/a").messages.len();
    assert!((9..=10).contains(&messages), "{messages}");
}

#[test]
fn the_newest_message_is_kept_whatever_its_size() {
    let (_upstream, bridge, stream, mut link) = opened(&["--max-queue-bytes", "10"]);
    stream.leave();

    sent_big(&mut link, 2, 100_000);

    let poll = kept(&bridge, "/a");
    assert_eq!((poll.messages.len(), poll.json.number("dropped")), (1, 2));
}

#[test]
fn what_every_listener_was_sent_more_than_twice_the_resume_window_ago_is_forgotten() {
    let options = ["-r", "--resume-window", "200ms", "--heartbeat", "100ms"];
    let (_upstream, bridge, mut stream, mut link) = opened(&options);
    let id = stream.last_id.clone();
    sent(&mut link, 0..3);
    (0..3).for_each(|_| drop(stream.received()));

    for _ in 0..10 {
        stream.expect_named("heartbeat");
    }

    assert_eq!(back(&bridge, &id).stream().expect_joined().number("dropped"), 3);
}

#[test]
fn what_was_sent_within_the_resume_window_is_kept() {
    let (_upstream, bridge, mut stream, mut link) = opened(&["-r"]);
    let id = stream.last_id.clone();
    sent(&mut link, 0..3);
    (0..3).for_each(|_| drop(stream.received()));

    assert_eq!(back(&bridge, &id).stream().expect_joined().number("dropped"), 0);
}

#[test]
fn while_a_session_has_no_listener_nothing_is_forgotten_by_age() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--resume-window", "100ms", "--heartbeat", "100ms"]);
    let mut link = bridge.confirmed_by_post(&upstream, "/a");
    assert_eq!(bridge.get("/a").poll().kinds(), ["connected"]);
    sent(&mut link, 0..3);
    assert_eq!(bridge.get("/a").poll().messages.len(), 3);
    let (mut clock, _clock_link) = bridge.open(&upstream, "/clock");

    for _ in 0..8 {
        clock.expect_named("heartbeat");
    }

    assert_eq!(kept(&bridge, "/a").messages.len(), 4);
}

#[test]
fn over_max_memory_the_session_that_keeps_most_loses_its_oldest() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-memory", "100000"]);
    let mut big = bridge.confirmed_by_post(&upstream, "/big");
    sent_big(&mut big, 8, 10_000);
    let mut small = bridge.confirmed_by_post(&upstream, "/small");

    sent_big(&mut small, 4, 10_000);

    assert_eq!(kept(&bridge, "/small").messages.len(), 5);
    let poll = kept(&bridge, "/big");
    assert!((4..8).contains(&poll.messages.len()), "{}", poll.messages.len());
    assert_eq!(poll.messages.len() as u64 + poll.json.number("dropped"), 9);
}

/// A session that keeps nothing but one message of so many bytes.
fn with_one(upstream: &FakeUpstream, bridge: &Bridge, path: &str, bytes: usize) -> (Link, String) {
    let mut link = bridge.confirmed_by_post(upstream, path);
    let id = bridge.get(&format!("{path}?timeout=1")).poll().json.text("last_event_id");
    bridge.get(&format!("{path}?after={id}&timeout=1")).send();
    sent_big(&mut link, 1, bytes);
    (link, id)
}

#[test]
fn over_max_memory_where_none_has_two_messages_the_newest_goes_too_and_is_told() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-memory", "100000"]);
    let (_big_link, big) = with_one(&upstream, &bridge, "/big", 70_000);

    let (_small_link, small) = with_one(&upstream, &bridge, "/small", 50_000);

    let poll = bridge.get(&format!("/big?after={big}&timeout=1")).poll();
    assert_eq!((poll.messages.len(), poll.json.number("dropped")), (0, 1));
    let poll = bridge.get(&format!("/small?after={small}&timeout=1")).poll();
    assert_eq!((poll.messages.len(), poll.json.number("dropped")), (1, 0));
}

#[test]
fn over_max_memory_a_session_with_one_large_message_does_not_end_the_search() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-memory", "100000"]);
    let (_big_link, big) = with_one(&upstream, &bridge, "/big", 50_000);
    let mut small = bridge.confirmed_by_post(&upstream, "/small");

    sent_big(&mut small, 8, 10_000);

    let poll = bridge.get(&format!("/big?after={big}&timeout=1")).poll();
    assert_eq!((poll.messages.len(), poll.json.number("dropped")), (1, 0));
    assert!(kept(&bridge, "/small").messages.len() < 6);
}

#[test]
fn over_max_memory_many_small_messages_do_not_keep_the_large_ones() {
    let upstream = FakeUpstream::start();
    let options = ["--max-memory", "1000000", "--stale-after", "60s"];
    let bridge = Bridge::with(&upstream, &options);
    let path = |number| format!("/{number}");
    let open = |number| bridge.confirmed_by_post(&upstream, &path(number));
    let mut links: Vec<Link> = (0..300).map(open).collect();

    links[..14].iter_mut().for_each(|link| sent_big(link, 1, 100_000));

    // Ten of them fit.
    let newest_is_kept = |number: &usize| kept(&bridge, &path(*number)).messages.iter().any(is_big);
    let large = (0..14).filter(newest_is_kept).count();
    assert!((1..=10).contains(&large), "{large}");
}

fn is_big(message: &Json) -> bool {
    message.raw("message").len() > 100_000
}

#[test]
fn a_tunnel_whose_newest_frame_does_not_fit_closes_with_1013() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-memory", "100000"]);
    let (_other_link, _) = with_one(&upstream, &bridge, "/other", 30_000);
    let asked = bridge.get("/t?protocol=p1").begin();
    let mut link = upstream.accept();
    link.upgrade_with("Sec-WebSocket-Protocol: p1\r\n");
    asked.response();

    link.raw(&"x".repeat(90_000));

    assert_eq!(link.expect_close(), Some(1000));
    let gone = bridge.post("/t?seq=1", "\"one\"").send();
    assert_eq!(gone.status, 410);
    assert!(gone.text().contains("1013"), "{}", gone.text());
}

#[test]
fn what_clients_hold_has_half_of_max_memory_and_more_is_an_error_of_the_item_or_a_503() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-memory", "100000"]);
    let _link = bridge.open_by_post(&upstream, "/a", CHAT);
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000));

    let answers: Vec<Json> = (0..10).flat_map(|_| bridge.act("/a", &[send(CHAT, &data)])).collect();

    let held = answers.iter().filter(|answer| answer.raw("error") == "null").count();
    assert!((2..=4).contains(&held), "{held}");
    assert!(answers[9].text("error").contains("--max-memory"));
    let cookie = "c".repeat(12_000);
    let post = format!("[{}]", subscribe(CHAT));
    let refused = (0..4).map(|n| {
        let request = bridge.post(&format!("/{n}?poll-queue=1"), &post).header("Cookie", &cookie);
        let asked = request.begin();
        if let Some(mut link) = upstream.accept_within(Duration::from_millis(300)) {
            link.welcome();
        }
        asked.response().status == 503
    });
    assert!(refused.collect::<Vec<_>>().contains(&true));
    let mut honest = bridge.get("/a").sse().stream();
    honest.expect_joined();
}

#[test]
fn an_unsubscribe_frees_memory_and_passes_where_nothing_else_does() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-memory", "100000"]);
    let _link = bridge.open_by_post(&upstream, "/a", CHAT);
    let is_held = |length| {
        let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(length));
        let answer = bridge.post("/a", &format!("[{}]", send(CHAT, &data))).send();
        answer.status == 200 && answer.done()[0].raw("error") == "null"
    };
    // Less and less fits, and in the end nothing.
    for length in [10_000, 4_000, 1_500, 500, 0] {
        assert!((0..40).any(|_| !is_held(length)));
    }
    let error = bridge.act("/a", &[send(CHAT, "{}")])[0].text("error");
    assert!(error.contains("--max-memory"), "{error}");

    let answer = bridge.act("/a", &[unsubscribe(CHAT)]).remove(0);

    assert_eq!(answer.raw("error"), "null");
    bridge.subscribe("/a", CHAT);
    assert!(is_held(1_000));
}

#[test]
fn a_listener_that_missed_something_is_told_how_many_before_the_next_message() {
    let (_upstream, _bridge, mut stream, mut link) = opened(&["--max-queue", "4"]);

    sent_big(&mut link, 200, 100_000);
    link.message(CHAT, "\"marker\"");

    let (received, dropped) = until_marker(&mut stream);
    assert!(dropped > 0, "nothing was dropped of 20 MB for a stream that nobody read");
    assert_eq!(received + dropped, 200);
}

#[test]
fn a_listener_is_told_how_many_it_missed_since_it_was_last_told() {
    let (_upstream, _bridge, mut stream, mut link) = opened(&["--max-queue", "4"]);

    for _ in 0..3 {
        sent_big(&mut link, 200, 100_000);
        link.message(CHAT, "\"marker\"");
        let (received, dropped) = until_marker(&mut stream);
        assert!(dropped > 0);
        assert_eq!(received + dropped, 200);
    }
}

#[test]
fn with_reuse_a_reader_that_stops_loses_its_own_messages_and_nobody_elses() {
    let (_upstream, bridge, mut stuck, mut link) = opened(&["-r", "--max-queue", "4"]);
    let mut other = bridge.get("/a").sse().stream();
    other.expect_joined();
    stuck.expect_joined();

    for _ in 0..200 {
        sent_big(&mut link, 1, 100_000);
        assert_eq!(other.received().len(), 100_002);
    }
    link.message(CHAT, "\"marker\"");

    assert_eq!(other.received(), "\"marker\"");
    let (received, dropped) = until_marker(&mut stuck);
    assert!(dropped > 0);
    assert_eq!(received + dropped, 200);
}

#[test]
fn a_reader_that_stops_does_not_hold_up_the_upstreams_reader() {
    let (_upstream, _bridge, stream, mut link) = opened(&["--max-queue", "4"]);
    let start = Instant::now();

    sent_big(&mut link, 300, 100_000);

    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    drop(stream);
}

#[test]
fn a_dropped_event_has_an_id_after_what_is_gone() {
    let (_upstream, bridge, mut stream, mut link) = opened(&["--max-queue", "4"]);
    sent_big(&mut link, 200, 100_000);
    // Only what came last is kept, and that begins after the last `dropped`.
    let mut id = String::new();
    link.message(CHAT, "\"marker\"");
    link.settle();
    loop {
        let event = stream.next();
        if event.name() == "dropped" {
            id = event.id.unwrap();
        } else if event.json().raw("message") == "\"marker\"" {
            break;
        }
    }
    drop(stream);

    let mut again = back(&bridge, &id).stream();

    assert_eq!(again.expect_joined().number("dropped"), 0);
    assert_eq!(again.received().len(), 100_002);
}

#[test]
#[ignore = "takes half a minute"]
fn a_write_that_is_stuck_for_30_s_ends_that_stream() {
    let (_upstream, _bridge, stream, mut link) = opened(&["--resume-window", "100ms"]);
    sent_big(&mut link, 20, 1 << 20);
    let start = Instant::now();

    link.stream().set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    link.expect_close();

    let waited = start.elapsed();
    assert!(waited > Duration::from_secs(25), "{waited:?}");
    drop(stream);
}

#[test]
fn a_message_that_can_never_fit_costs_the_link() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-memory", "1000000"]);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    link.message(CHAT, &format!("\"{}\"", "x".repeat(800_000)));
    assert_eq!(stream.received().len(), 800_002);
    // The head of a frame of 1,200,000 bytes: the link is cut before more of it could be written.
    link.bytes(&[0x81, 127, 0, 0, 0, 0, 0, 0x12, 0x4f, 0x80]);

    let told = stream.expect_upstream("disconnected");
    assert!(told.text("reason").contains("--max-memory"), "{}", told.text("reason"));
}

/// Sends the first part of a message, 400,000 bytes.
fn begun(link: &mut Link) {
    link.bytes(&[0x01, 127, 0, 0, 0, 0, 0, 6, 0x1a, 0x80]);
    link.bytes(&[b' '; 400_000]);
    link.settle();
}

#[test]
fn long_messages_that_are_not_whole_wait_for_one_another() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-memory", "1000000", "--stale-after", "1s"]);
    let (_first, mut half) = bridge.open_with(&upstream, "/a", CHAT);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/b", CHAT);

    // Another message of that length has no room beside it.
    begun(&mut half);
    link.message(CHAT, &format!("\"{}\"", "x".repeat(400_000)));

    // The first one is not stale meanwhile.
    wait_until(PATIENCE, || {
        half.settle();
        bridge.log().contains("no room for a long message")
    });
    let told = stream.expect_upstream("disconnected");
    assert!(told.text("reason").contains("--max-memory"), "{}", told.text("reason"));
}

#[test]
fn a_short_message_waits_for_no_long_one() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-memory", "1000000", "--stale-after", "60s"]);
    let (_first, mut half) = bridge.open_with(&upstream, "/a", CHAT);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/b", CHAT);
    // It takes all the room that long ones have.
    begun(&mut half);

    for size in [4_200, 9_000, 65_000] {
        link.message(CHAT, &quote(&"x".repeat(size)));

        assert_eq!(stream.received().len(), size + 2);
    }
}
