//! The long poll: when it answers, with what, and what its session keeps meanwhile.

use std::time::{Duration, Instant};

use crate::support::*;

/// Sends these numbers as messages, and waits until the bridge has them.
fn sent_and_taken(bridge: &Bridge, link: &mut Link, numbers: std::ops::Range<u32>) {
    for n in numbers {
        link.message(CHAT, &n.to_string());
    }
    settled(bridge, link);
}

/// Once the bridge has answered a WebSocket ping, it has read everything that was sent before. The POST in
/// between is answered after the requests that came before it were looked at.
fn settled(bridge: &Bridge, link: &mut Link) {
    bridge.act("/a", &[send(CHAT, "{}")]);
    link.expect_send(CHAT);
    link.settle();
}

#[test]
fn an_answer_has_the_keys_of_the_contract() {
    let (_, bridge, _link, _) = polled(&[]);

    let poll = bridge.get("/a?timeout=1").poll();

    for key in ["messages", "session_id", "dropped", "queue_length", "channels"] {
        assert!(poll.json.has(key), "{key}");
    }
    assert_eq!((poll.json.number("dropped"), poll.json.number("queue_length")), (0, 0));
}

#[test]
fn an_answer_is_json() {
    let (_, bridge, _link, _) = polled(&[]);

    let poll = bridge.get("/a?timeout=1").poll();

    assert_eq!(poll.head.header("content-type"), Some("application/json"));
}

#[test]
fn a_poll_answers_at_once_when_messages_are_queued() {
    let (_, bridge, mut link, _) = polled(&[]);
    sent_and_taken(&bridge, &mut link, 0..3);

    assert_eq!(bridge.get("/a?timeout=0").poll().bodies(), ["0", "1", "2"]);
}

#[test]
fn a_poll_answers_as_soon_as_the_first_message_arrives() {
    let (_, bridge, mut link, _) = polled(&[]);
    let asked = bridge.get("/a?timeout=0").begin();

    link.message(CHAT, "1");

    assert_eq!(asked.poll().bodies(), ["1"]);
}

#[test]
fn a_poll_answers_empty_after_its_timeout() {
    let (_, bridge, _link, _) = polled(&[]);
    let start = Instant::now();

    let poll = bridge.get("/a?timeout=1").poll();

    assert!(poll.messages.is_empty());
    assert!(start.elapsed() >= Duration::from_millis(990), "{:?}", start.elapsed());
}

#[test]
#[ignore = "takes 25 seconds"]
fn a_poll_answers_empty_after_25_seconds_by_default() {
    let (_, bridge, _link, _) = polled(&["--stale-after", "60s"]);
    let start = Instant::now();

    let asked = bridge.get("/a").begin().patient(Duration::from_secs(30));

    assert!(asked.poll().messages.is_empty());
    let waited = start.elapsed().as_secs();
    assert!((24..=27).contains(&waited), "{waited}");
}

#[test]
fn timeout_0_and_timeout_minus_1_force_no_reply() {
    for timeout in ["0", "-1"] {
        let (_, bridge, mut link, _) = polled(&["--heartbeat", "100ms"]);
        let mut asked = bridge.get(&format!("/a?timeout={timeout}")).begin();

        // Fifteen signs of life without a reply: a forced one would have come.
        let head = asked.head();
        assert_eq!(asked.bytes(15 * 6), b"1\r\n \r\n".repeat(15));

        link.message(CHAT, "1");
        assert_eq!(Json::parse(&asked.rest_of(&head)).list("messages")[0].raw("message"), "1");
    }
}

#[test]
fn a_timeout_over_an_hour_is_clamped_and_no_error() {
    let (_, bridge, mut link, _) = polled(&[]);

    for timeout in ["3601", "99999999999999999999999999"] {
        let asked = bridge.get(&format!("/a?timeout={timeout}")).begin();
        link.message(CHAT, "1");
        assert_eq!(asked.poll().bodies(), ["1"]);
    }
}

#[test]
fn what_is_no_whole_number_is_a_400() {
    let (_, bridge, _link, _) = polled(&[]);

    for value in ["", "x", "1.5", "-2", "1s", "0x1", "1e3", "+1"] {
        bridge.get(&format!("/a?timeout={value}")).send().refused(400);
        bridge.get(&format!("/a?poll-queue={value}")).send().refused(400);
    }
    bridge.get("/a?poll-queue=-1").send().refused(400);
}

#[test]
fn what_is_no_whole_number_is_a_400_on_whatever_request() {
    let (_, bridge, _link, _) = polled(&["-r"]);

    for parameter in ["timeout=x", "poll-queue=x"] {
        let target = format!("/a?{parameter}");
        bridge.get(&target).sse().send().refused(400);
        bridge.post(&target, &format!("[{}]", subscribe(CHAT))).send().refused(400);
        bridge.delete(&target).send().refused(400);
    }
}

#[test]
fn of_a_parameter_that_is_given_twice_the_first_counts() {
    let (_, bridge, _link, _) = polled(&[]);

    bridge.get("/a?timeout=1&timeout=x").poll();
    bridge.get("/a?timeout=x&timeout=1").send().refused(400);
}

#[test]
fn a_full_queue_drops_its_oldest_message_and_the_answer_counts_them() {
    let (_, bridge, mut link, _) = polled(&[]);
    bridge.get("/a?poll-queue=3&timeout=1").poll();
    sent_and_taken(&bridge, &mut link, 0..5);

    let poll = bridge.get("/a?poll-queue=3").poll();

    assert_eq!(poll.bodies(), ["2", "3", "4"]);
    assert_eq!(poll.json.number("dropped"), 2);
}

#[test]
fn dropped_counts_since_the_last_reply() {
    let (_, bridge, mut link, _) = polled(&[]);
    bridge.get("/a?poll-queue=1&timeout=1").poll();
    sent_and_taken(&bridge, &mut link, 0..3);
    assert_eq!(bridge.get("/a?poll-queue=1").poll().json.number("dropped"), 2);

    sent_and_taken(&bridge, &mut link, 3..5);

    assert_eq!(bridge.get("/a?poll-queue=1").poll().json.number("dropped"), 1);
}

#[test]
fn the_poll_queue_keeps_32_by_default() {
    let (_, bridge, mut link, _) = polled(&[]);
    sent_and_taken(&bridge, &mut link, 0..40);

    let poll = bridge.get("/a").poll();

    assert_eq!((poll.messages.len(), poll.json.number("dropped")), (32, 8));
    assert_eq!(poll.bodies()[0], "8");
}

#[test]
fn a_poll_queue_of_0_means_32() {
    let (_, bridge, mut link, _) = polled(&[]);
    bridge.get("/a?poll-queue=0&timeout=1").poll();
    sent_and_taken(&bridge, &mut link, 0..40);

    assert_eq!(bridge.get("/a?poll-queue=0").poll().messages.len(), 32);
}

#[test]
fn a_huge_poll_queue_is_clamped_to_max_queue() {
    for huge in ["999999999999", "99999999999999999999999999"] {
        let (_, bridge, mut link, _) = polled(&["--max-queue", "50"]);
        bridge.get(&format!("/a?poll-queue={huge}&timeout=1")).poll();
        sent_and_taken(&bridge, &mut link, 0..60);

        let poll = bridge.get(&format!("/a?poll-queue={huge}")).poll();

        assert_eq!((poll.messages.len(), poll.json.number("dropped")), (50, 10));
    }
}

#[test]
fn a_later_poll_queue_replaces_the_earlier_one() {
    let (_, bridge, mut link, _) = polled(&[]);
    bridge.get("/a?poll-queue=2&timeout=1").poll();
    bridge.get("/a?poll-queue=4&timeout=1").poll();
    sent_and_taken(&bridge, &mut link, 0..6);

    assert_eq!(bridge.get("/a").poll().bodies(), ["2", "3", "4", "5"]);
}

#[test]
fn the_poll_queue_of_a_post_counts() {
    let (_, bridge, mut link, _) = polled(&[]);
    bridge.post("/a?poll-queue=2", &format!("[{}]", subscribe(ROOM))).send().done();
    link.expect_subscribe(ROOM);
    sent_and_taken(&bridge, &mut link, 0..4);

    assert_eq!(bridge.get("/a").poll().bodies(), ["2", "3"]);
}

#[test]
fn channels_are_the_confirmed_and_the_pending_ones() {
    let (_, bridge, mut link, _) = polled(&[]);
    let confirmed = bridge.subscribe("/a", CHAT);
    let pending = bridge.subscribe("/a", ROOM);
    bridge.subscribe("/a", r#"{"channel":"RejectedChannel"}"#);
    link.expect_subscribe(ROOM);
    link.reject(r#"{"channel":"RejectedChannel"}"#);

    let mut poll = bridge.get("/a").poll();
    while !poll.kinds().contains(&"rejected".to_owned()) {
        poll = bridge.get("/a").poll();
    }

    assert_eq!(poll.json.texts("channels"), [confirmed, pending]);
}

#[test]
fn a_channel_that_was_left_is_in_channels_no_more() {
    let (_, bridge, _link, _) = polled(&[]);
    bridge.act("/a", &[unsubscribe(CHAT)]);

    assert_eq!(bridge.get("/a?timeout=1").poll().json.raw("channels"), "[]");
}

#[test]
fn a_get_that_opens_a_session_waits_for_its_first_message() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a?timeout=1").begin();

    let _link = upstream.welcome();

    assert!(asked.poll().messages.is_empty());
}

#[test]
fn a_session_ends_dash_s_after_its_last_reply() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-S", "300ms", "--resume-window", "100ms"]);
    let start = Instant::now();
    let asked = bridge.get("/a?timeout=1").begin();
    let mut link = upstream.welcome();
    asked.poll();

    link.expect_close();

    assert!(start.elapsed() >= Duration::from_millis(1_300), "{:?}", start.elapsed());
    bridge.delete("/a").send().refused(404);
}

#[test]
fn a_session_does_not_end_while_a_poll_waits() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-S", "200ms", "--resume-window", "100ms"]);
    let asked = bridge.get("/a?timeout=2").begin();
    let _link = upstream.welcome();

    assert!(asked.poll().messages.is_empty());
}

#[test]
fn a_post_with_poll_queue_that_no_poll_follows_gives_its_session_dash_s_from_that_post() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-S", "300ms", "--resume-window", "100ms"]);

    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    link.confirm(CHAT);

    link.expect_close();
    bridge.delete("/a").send().refused(404);
}

#[test]
fn a_second_poll_replaces_the_first_which_answers_empty_one_second_later() {
    let (_, bridge, mut link, _) = polled(&["--heartbeat", "100ms"]);
    let first = bridge.waiting_poll("/a");
    let start = Instant::now();

    let second = bridge.get("/a?timeout=0").begin();

    assert!(first.poll().messages.is_empty());
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(900) && waited < Duration::from_secs(3), "{waited:?}");
    link.message(CHAT, "1");
    assert_eq!(second.poll().bodies(), ["1"]);
}

#[test]
fn a_poll_that_was_replaced_takes_no_message() {
    let (_, bridge, mut link, _) = polled(&["--heartbeat", "100ms"]);
    let first = bridge.waiting_poll("/a");
    let second = bridge.waiting_poll("/a");

    link.message(CHAT, "1");

    assert_eq!(second.poll().bodies(), ["1"]);
    assert!(first.poll().messages.is_empty());
}

#[test]
fn a_poll_whose_client_has_gone_consumes_nothing() {
    let (_, bridge, mut link, _) = polled(&[]);

    for n in 0..10 {
        let asked = bridge.get("/a?timeout=0").begin_seen();
        settled(&bridge, &mut link);
        if n % 2 == 0 {
            drop(asked)
        } else {
            asked.abort()
        }
        link.message(CHAT, &n.to_string());

        assert_eq!(bridge.get("/a?timeout=0").poll().bodies(), [n.to_string()]);
    }
}

#[test]
fn a_poll_without_a_forced_reply_is_kept_alive_with_spaces() {
    let (_, bridge, mut link, _) = polled(&["--heartbeat", "200ms"]);
    let mut asked = bridge.get("/a?timeout=0").begin();

    let head = asked.head();
    assert_eq!((head.status, head.header("content-length")), (200, None));
    assert_eq!(asked.bytes(12), b"1\r\n \r\n".repeat(2));

    link.message(CHAT, "1");
    assert_eq!(Json::parse(&asked.rest_of(&head)).list("messages")[0].raw("message"), "1");
}

#[test]
fn a_connection_serves_one_poll_after_the_other() {
    let (_, bridge, mut link, _) = polled(&[]);
    let mut asked = bridge.raw("");

    for n in 0..3 {
        asked.more(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        link.message(CHAT, &n.to_string());
        let response = asked.next_response();
        assert_eq!(Json::parse(&response.text()).list("messages")[0].raw("message"), n.to_string());
    }
}

#[test]
fn an_answer_has_64_kib_of_messages_and_the_next_poll_brings_the_rest_at_once() {
    for after in ["", "after=0&"] {
        let upstream = FakeUpstream::start();
        let bridge = Bridge::start(&upstream);
        let mut link = bridge.confirmed_by_post(&upstream, "/a");
        let big = quote(&"x".repeat(15_000));
        (0..10).for_each(|_| link.message(CHAT, &big));
        link.settle();

        let mut target = format!("/a?{after}timeout=0");
        let mut came = Vec::new();
        for left in [6, 2, 0] {
            let poll = bridge.get(&target).poll();
            assert_eq!((poll.json.number("queue_length"), poll.json.number("dropped")), (left, 0));
            came.extend(poll.messages.iter().map(|message| message.text("msg_id")));
            if !after.is_empty() {
                target = format!("/a?after={}&timeout=0", poll.json.text("last_event_id"));
            }
        }

        let due: Vec<String> = (1..=11).map(|number: u32| number.to_string()).collect();
        assert_eq!(came, due);
    }
}

#[test]
fn a_message_over_64_kib_is_an_answer_of_its_own() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let mut link = bridge.confirmed_by_post(&upstream, "/a");
    for size in [200_000, 1, 200_000] {
        link.message(CHAT, &quote(&"x".repeat(size)));
    }
    link.settle();

    let counts = [0; 4].map(|_| bridge.get("/a?timeout=0").poll().messages.len());

    assert_eq!(counts, [1; 4]);
}

#[test]
fn a_poll_that_was_replaced_by_one_with_after_tells_no_more_than_it_carried() {
    let (_, bridge, mut link, _) = polled(&["--heartbeat", "100ms"]);
    let id = bridge.get("/a?timeout=1&poll-queue=5").poll().json.text("last_event_id");
    let first = bridge.waiting_poll("/a");
    let second = bridge.get(&format!("/a?timeout=0&after={id}")).begin();
    assert!(second.has_answer_within(PATIENCE), "no sign of life");
    sent_and_taken(&bridge, &mut link, 0..20);

    let first = first.poll();

    assert_eq!(second.poll().bodies().first().map(String::as_str), Some("0"));
    assert!(first.messages.is_empty());
    assert_eq!((first.json.number("dropped"), first.json.text("last_event_id")), (0, id));
}
