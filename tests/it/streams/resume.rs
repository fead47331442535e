//! Nothing is lost while a session lives: event ids, and streams that come back.

use std::thread::Builder;

use crate::support::*;

fn expect_numbers(stream: &mut Stream, numbers: std::ops::Range<u32>) {
    for n in numbers {
        assert_eq!(stream.received(), n.to_string());
    }
}

fn after(poll: &Poll) -> String {
    format!("/a?timeout=1&after={}", poll.json.text("last_event_id"))
}

#[test]
fn the_random_part_of_an_event_id_appears_nowhere_else() {
    let (_upstream, bridge, mut stream, mut link) = opened(&["-r"]);
    let secret = stream.last_id.split('.').next().unwrap().to_owned();
    sent(&mut link, 0..1);
    let event = stream.next();
    let post = bridge.post("/a", &format!("[{}]", subscribe(ROOM))).send();
    let mut other = bridge.get("/a").sse().stream();

    assert!(secret.len() >= 16, "{secret}");
    for shown in [format!("{:?}", stream.head), event.data, post.text(), other.next().data] {
        assert!(!shown.contains(&secret), "{shown}");
    }
    assert_ne!(stream.session_id(), secret);
}

#[test]
fn a_stream_that_comes_back_is_first_sent_everything_after_its_id_and_nothing_twice() {
    let (_upstream, bridge, mut stream, mut link) = opened(&[]);
    sent(&mut link, 0..5);
    expect_numbers(&mut stream, 0..2);
    let id = stream.last_id.clone();
    drop(stream);
    sent(&mut link, 5..8);

    let mut again = back(&bridge, &id).stream();

    again.expect_joined();
    sent(&mut link, 8..9);
    expect_numbers(&mut again, 2..9);
}

#[test]
fn a_stream_that_read_everything_comes_back_to_nothing_but_what_is_new() {
    let (_upstream, bridge, mut stream, mut link) = opened(&[]);
    sent(&mut link, 0..3);
    expect_numbers(&mut stream, 0..3);
    let id = stream.last_id.clone();
    drop(stream);

    let mut again = back(&bridge, &id).stream();

    again.expect_joined();
    sent(&mut link, 3..4);
    expect_numbers(&mut again, 3..4);
}

#[test]
fn at_the_seam_there_is_no_gap_and_no_duplicate_while_messages_keep_arriving() {
    let (_upstream, bridge, mut stream, mut link) = opened(&["--max-queue", "100000"]);
    let feeder = Builder::new().name("feeder".into());
    let feeder = feeder.spawn(move || (sent(&mut link, 0..3000), link).1).unwrap();

    let mut next = 0;
    while next < 3000 {
        let until = (next + 150).min(3000);
        expect_numbers(&mut stream, next..until);
        next = until;
        stream = back(&bridge, &stream.last_id).stream();
        stream.expect_joined();
    }

    let mut link = feeder.join().unwrap();
    sent(&mut link, 3000..3001);
    expect_numbers(&mut stream, 3000..3001);
}

#[test]
fn the_id_of_an_event_without_msg_id_is_the_place_that_the_listener_has_reached() {
    let (_upstream, bridge, mut stream, mut link) = opened(&["--heartbeat", "2s"]);
    sent(&mut link, 0..1);
    expect_numbers(&mut stream, 0..1);
    let place = stream.last_id.clone();

    stream.expect_named("heartbeat");

    assert_eq!(stream.last_id, place);
    sent(&mut link, 1..2);
    let mut again = back(&bridge, &place).stream();
    again.expect_joined();
    expect_numbers(&mut again, 1..2);
}

#[test]
fn the_id_of_a_joined_is_the_place_before_what_has_not_been_sent_yet() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    let id = stream.last_id.clone();
    drop(stream);
    sent(&mut link, 0..3);

    let mut again = back(&bridge, &id).stream();
    again.expect_joined();
    let id = again.last_id.clone();
    drop(again);

    let mut third = back(&bridge, &id).stream();
    third.expect_joined();
    expect_numbers(&mut third, 0..3);
}

#[test]
fn a_stream_begins_with_retry_padding_joined_the_backlog_and_then_what_is_live() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    let id = stream.last_id.clone();
    drop(stream);
    sent(&mut link, 0..1);

    let request = bridge.get("/a?padding=10").sse().header("Last-Event-ID", &id);
    let mut again = request.stream();

    let lines: Vec<String> = (0..4).map(|_| again.line().unwrap()).collect();
    assert_eq!((lines[0].as_str(), lines[1].as_str()), ("retry: 2000", ""));
    assert!(lines[2].starts_with(':') && lines[2].len() == 10, "{lines:?}");
    again.expect_joined();
    expect_numbers(&mut again, 0..1);
    sent(&mut link, 1..2);
    expect_numbers(&mut again, 1..2);
}

#[test]
fn a_last_event_id_that_is_no_id_of_this_session_counts_as_none() {
    for id in ["", "17", "x", "🚀", "a.b", "00000000000000000000000000000000.0", &"x".repeat(4000)]
    {
        let (_upstream, bridge, mut link, _poll) = polled(&[]);
        sent(&mut link, 0..1);

        let mut stream = back(&bridge, id).stream();

        let joined = stream.expect_joined();
        assert!(!joined.flag("resumed"), "{id}");
        expect_numbers(&mut stream, 0..1);
    }
}

#[test]
fn an_after_that_is_neither_an_event_id_nor_a_number_is_a_400() {
    let (_upstream, bridge, _link, _poll) = polled(&[]);

    for after in ["x", "-1", "1.5", "", "abc.1", "1s", "0x1", "+1", "%00"] {
        bridge.get(&format!("/a?after={after}")).send().refused(400);
        bridge.get(&format!("/a?after={after}")).sse().send().refused(400);
        bridge.post(&format!("/a?after={after}"), "[]").send().refused(400);
    }
}

#[test]
fn joined_says_resumed_true_to_a_listener_that_goes_on_where_it_left() {
    let (_upstream, bridge, stream, _link) = opened(&[]);

    let mut again = back(&bridge, &stream.last_id).stream();

    let joined = again.expect_joined();
    assert!(joined.flag("resumed"));
    assert_eq!(joined.text("session_id"), stream.session_id());
    assert_eq!(joined.number("dropped"), 0);
}

#[test]
fn joined_says_resumed_false_to_one_whose_session_is_gone() {
    let (upstream, bridge, stream, mut link) = opened(&["--resume-window", "200ms"]);
    let id = stream.last_id.clone();
    drop(stream);
    link.expect_close();

    let asked = back(&bridge, &id).begin();
    let _link = upstream.welcome();

    let joined = asked.stream().expect_joined();
    assert!(!joined.flag("resumed"));
    assert_eq!((joined.number("dropped"), joined.raw("channels")), (0, "[]"));
}

#[test]
fn joined_has_the_channels_and_their_states() {
    let (_upstream, bridge, mut stream, mut link) = opened(&[]);
    let second = r#"{"channel":"Second"}"#;
    bridge.subscribe("/a", second);
    link.expect_subscribe(second);
    link.reject(second);
    stream.expect("rejected");
    // Last: what has no answer is asked for again.
    let chan_id = bridge.subscribe("/a", ROOM);
    link.expect_subscribe(ROOM);

    let joined = back(&bridge, &stream.last_id).stream().expect_joined();

    let channels = joined.list("channels");
    let states: Vec<String> = channels.iter().map(|channel| channel.text("state")).collect();
    assert_eq!(states, ["connected", "rejected", "pending"]);
    assert_eq!(channels[2].text("chan_id"), chan_id);
    assert_eq!(channels[2].raw("identifier"), ROOM);
}

#[test]
fn a_channel_is_pending_while_the_upstream_is_away() {
    let (mut upstream, bridge, mut stream, link) = opened(&[]);
    upstream.go_away();
    link.cut();
    stream.expect_upstream("disconnected");
    stream.expect("disconnected");

    let joined = back(&bridge, &stream.last_id).stream().expect_joined();

    assert_eq!(joined.list("channels")[0].text("state"), "pending");
}

#[test]
fn joined_counts_what_the_listener_missed_and_that_is_gone() {
    let (_upstream, bridge, stream, mut link) = opened(&["--max-queue", "2"]);
    let id = stream.last_id.clone();
    drop(stream);
    sent(&mut link, 0..5);

    let mut again = back(&bridge, &id).stream();

    let joined = again.expect_joined();
    assert!(joined.flag("resumed"));
    assert_eq!(joined.number("dropped"), 3);
    expect_numbers(&mut again, 3..5);
}

#[test]
fn what_joined_told_as_dropped_is_not_told_again() {
    let (_upstream, bridge, stream, mut link) = opened(&["--max-queue", "2"]);
    let id = stream.last_id.clone();
    drop(stream);
    sent(&mut link, 0..5);

    let mut again = back(&bridge, &id).stream();
    again.expect_joined();
    let place = again.last_id.clone();

    // Its id lies after what is gone.
    let mut third = back(&bridge, &place).stream();
    assert_eq!(third.expect_joined().number("dropped"), 0);
    expect_numbers(&mut third, 3..5);
}

#[test]
fn an_event_id_in_after_resumes_a_stream_as_the_header_does() {
    let (_upstream, bridge, mut stream, mut link) = opened(&[]);
    sent(&mut link, 0..2);
    expect_numbers(&mut stream, 0..1);

    let mut again = bridge.get(&format!("/a?after={}", stream.last_id)).sse().stream();

    assert!(again.expect_joined().flag("resumed"));
    expect_numbers(&mut again, 1..2);
}

#[test]
fn a_bare_number_in_after_resumes_a_stream_when_no_other_listener_is_there() {
    let (_upstream, bridge, mut stream, mut link) = opened(&[]);
    sent(&mut link, 0..3);
    let msg_id = stream.next().json().text("msg_id");
    stream.leave();

    let mut again = bridge.get(&format!("/a?after={msg_id}")).sse().stream();

    assert!(again.expect_joined().flag("resumed"));
    expect_numbers(&mut again, 1..3);
}

#[test]
fn where_both_are_there_last_event_id_counts_and_after_is_not_looked_at() {
    for after in ["0", "x", "99"] {
        let (_upstream, bridge, mut stream, mut link) = opened(&[]);
        sent(&mut link, 0..3);
        expect_numbers(&mut stream, 0..2);

        let request = bridge.get(&format!("/a?after={after}")).sse();
        let mut again = request.header("Last-Event-ID", &stream.last_id).stream();

        assert!(again.expect_joined().flag("resumed"));
        expect_numbers(&mut again, 2..3);
    }
}

#[test]
fn a_polls_acknowledgement_never_makes_a_stream_lose_anything() {
    let (_upstream, bridge, mut stream, mut link) = opened(&["-r"]);
    sent(&mut link, 0..1);
    expect_numbers(&mut stream, 0..1);
    let id = stream.last_id.clone();
    drop(stream);
    sent(&mut link, 1..4);
    let poll = bridge.get("/a?after=0").poll();
    assert!(bridge.get(&after(&poll)).poll().messages.is_empty());

    let mut again = back(&bridge, &id).stream();

    assert_eq!(again.expect_joined().number("dropped"), 0);
    expect_numbers(&mut again, 1..4);
}

#[test]
fn with_reuse_one_that_joins_after_anothers_client_read_something_starts_after_it() {
    let (_upstream, bridge, mut first, mut link) = opened(&["-r"]);

    for n in 0..20 {
        link.message(CHAT, &n.to_string());
        expect_numbers(&mut first, n..n + 1);
        let mut other = bridge.get("/a").sse().stream();
        other.expect_joined();
        first.expect_joined();
        link.message(CHAT, "\"marker\"");
        assert_eq!((first.received(), other.received()), (quote("marker"), quote("marker")));
    }
}

#[test]
fn with_reuse_each_stream_comes_back_to_its_own_place() {
    let (_upstream, bridge, mut first, mut link) = opened(&["-r"]);
    let mut second = bridge.get("/a").sse().stream();
    second.expect_joined();
    first.expect_joined();
    sent(&mut link, 0..4);
    expect_numbers(&mut first, 0..1);
    expect_numbers(&mut second, 0..3);
    let (one, two) = (first.last_id.clone(), second.last_id.clone());
    drop((first, second));

    for (id, from) in [(one, 1), (two, 3)] {
        let mut again = back(&bridge, &id).stream();
        again.expect_joined();
        expect_numbers(&mut again, from..4);
    }
}
