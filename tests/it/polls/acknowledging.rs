//! Nothing is lost while a session lives: polls that acknowledge, and go on as streams.

use crate::support::*;

fn expect_numbers(stream: &mut Stream, numbers: std::ops::Range<u32>) {
    for n in numbers {
        assert_eq!(stream.received(), n.to_string());
    }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn after(poll: &Poll) -> String {
    format!("/a?timeout=1&after={}", poll.json.text("last_event_id"))
}

#[test]
fn from_a_poll_to_a_stream_and_back_with_last_event_id_nothing_is_lost() {
    let (_upstream, bridge, mut link, mut poll) = polled(&[]);

    for n in (0..20).step_by(4) {
        sent(&mut link, n..n + 2);
        let mut stream = back(&bridge, &poll.json.text("last_event_id")).stream();
        assert!(stream.expect_joined().flag("resumed"));
        expect_numbers(&mut stream, n..n + 2);
        sent(&mut link, n + 2..n + 4);
        poll = bridge.get(&format!("/a?after={}", stream.last_id)).poll();
        assert_eq!(poll.bodies(), numbers(n + 2..n + 4));
    }
}

#[test]
fn a_reply_that_was_not_acknowledged_is_sent_again() {
    let (_upstream, bridge, mut link, poll) = polled(&[]);
    sent(&mut link, 0..2);

    for _ in 0..3 {
        assert_eq!(bridge.get(&after(&poll)).poll().bodies(), ["0", "1"]);
    }
}

#[test]
fn a_reply_that_got_lost_is_sent_again() {
    let (_upstream, bridge, mut link, poll) = polled(&[]);
    sent(&mut link, 0..2);

    for n in 0..6 {
        let asked = bridge.get(&after(&poll)).begin();
        assert!(asked.has_answer_within(PATIENCE));
        if n % 2 == 0 { asked.abort() } else { drop(asked) }
    }

    assert_eq!(bridge.get(&after(&poll)).poll().bodies(), ["0", "1"]);
}

#[test]
fn what_was_acknowledged_is_sent_no_more() {
    let (_upstream, bridge, mut link, poll) = polled(&[]);
    sent(&mut link, 0..2);
    let poll = bridge.get(&after(&poll)).poll();

    sent(&mut link, 2..3);

    assert_eq!(bridge.get(&after(&poll)).poll().bodies(), ["2"]);
}

#[test]
fn what_was_acknowledged_is_forgotten() {
    let (_upstream, bridge, mut link, poll) = polled(&[]);
    sent(&mut link, 0..2);
    let poll = bridge.get(&after(&poll)).poll();
    sent(&mut link, 2..3);
    bridge.get(&after(&poll)).poll();

    let from_the_start = bridge.get("/a?after=0").poll();

    // `connected` and the first two.
    assert_eq!(from_the_start.bodies(), ["2"]);
    assert_eq!(from_the_start.json.number("dropped"), 3);
}

#[test]
fn the_msg_id_of_the_last_message_acknowledges_as_the_event_id_does() {
    let (_upstream, bridge, mut link, _poll) = polled(&[]);
    sent(&mut link, 0..2);
    let poll = bridge.get("/a").poll();
    let msg_id = poll.messages[1].text("msg_id");
    sent(&mut link, 2..3);

    assert_eq!(bridge.get(&format!("/a?after={msg_id}")).poll().bodies(), ["2"]);
}

#[test]
fn after_0_and_a_number_too_high_start_with_the_oldest_kept() {
    for after in ["0", "999", "18446744073709551615", "99999999999999999999999"] {
        let (_upstream, bridge, mut link, _poll) = polled(&["--max-queue", "2"]);
        sent(&mut link, 0..5);

        let poll = bridge.get(&format!("/a?after={after}")).poll();

        // `connected`, which was delivered, and the first three.
        assert_eq!((poll.bodies(), poll.json.number("dropped")), (numbers(3..5), 4), "{after}");
    }
}

#[test]
fn a_poll_with_after_is_told_how_many_lie_between() {
    let (_upstream, bridge, mut link, poll) = polled(&["--max-queue", "2"]);
    sent(&mut link, 0..5);

    let poll = bridge.get(&after(&poll)).poll();

    assert_eq!((poll.bodies(), poll.json.number("dropped")), (numbers(3..5), 3));
}

#[test]
fn every_poll_answer_has_a_last_event_id() {
    let (_upstream, bridge, _link, poll) = polled(&[]);

    let empty = bridge.get("/a?timeout=1").poll();

    assert!(empty.messages.is_empty());
    assert_eq!(empty.json.text("last_event_id"), poll.json.text("last_event_id"));
}

#[test]
fn to_a_poll_with_after_only_what_it_acknowledged_counts_as_sent() {
    let (_upstream, bridge, mut link, poll) = polled(&[]);
    sent(&mut link, 0..2);
    assert_eq!(bridge.get(&after(&poll)).poll_and_leave().bodies(), ["0", "1"]);

    let mut stream = bridge.get("/a").sse().stream();

    stream.expect_joined();
    expect_numbers(&mut stream, 0..2);
}

#[test]
fn a_poll_without_after_goes_on_after_what_was_acknowledged() {
    let (_upstream, bridge, mut link, poll) = polled(&[]);
    sent(&mut link, 0..2);
    let poll = bridge.get(&after(&poll)).poll();
    assert!(bridge.get(&after(&poll)).poll().messages.is_empty());
    sent(&mut link, 2..3);

    assert_eq!(bridge.get("/a").poll().bodies(), ["2"]);
}

#[test]
fn a_poll_without_after_goes_on_after_the_last_message_that_a_reply_carried() {
    let (_upstream, bridge, mut link, poll) = polled(&[]);
    sent(&mut link, 0..2);
    assert_eq!(bridge.get(&after(&poll)).poll().bodies(), ["0", "1"]);
    sent(&mut link, 2..3);

    assert_eq!(bridge.get("/a").poll().bodies(), ["2"]);
}

#[test]
fn poll_queue_bounds_polls_without_after_and_nothing_else() {
    let (_upstream, bridge, mut link, poll) = polled(&[]);
    bridge.get("/a?poll-queue=1&timeout=1").poll();
    sent(&mut link, 0..5);

    let with_after = bridge.get(&format!("{}&poll-queue=1", after(&poll))).poll();

    assert_eq!((with_after.bodies(), with_after.json.number("dropped")), (numbers(0..5), 0));
}
