//! The long poll of a tunnel.

use super::*;

#[test]
fn frames_come_as_strings_with_the_place_of_the_last() {
    let (_upstream, bridge, mut link, first) = polled_tunnel(&[]);
    frames_sent(&mut link, &["one", r#"{"a":1}"#]);

    let reply = poll(&bridge, &first.after());

    assert_eq!(reply.messages, ["one", r#"{"a":1}"#]);
    assert_eq!((reply.json.text("msg_id").as_str(), reply.json.number("dropped")), ("2", 0));
    assert_eq!(reply.json.text("session_id"), first.json.text("session_id"));
}

#[test]
fn a_reply_that_was_not_acknowledged_is_sent_again() {
    let (_upstream, bridge, mut link, first) = polled_tunnel(&[]);
    frames_sent(&mut link, &["1"]);

    for _ in 0..3 {
        assert_eq!(poll(&bridge, &first.after()).messages, ["1"]);
    }
}

#[test]
fn the_msg_id_acknowledges_too() {
    let (_upstream, bridge, mut link, first) = polled_tunnel(&[]);
    frames_sent(&mut link, &["1"]);
    let reply = poll(&bridge, &first.after());
    frames_sent(&mut link, &["2"]);

    let target = format!("/t?protocol=p1&after={}", reply.json.text("msg_id"));

    assert_eq!(poll(&bridge, &target).messages, ["2"]);
}

#[test]
fn poll_queue_does_not_make_a_tunnel_skip() {
    let (_upstream, bridge, mut link, _first) = polled_tunnel(&[]);
    let frames: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
    frames_sent(&mut link, &frames);

    assert_eq!(poll(&bridge, "/t?protocol=p1&poll-queue=3").messages, frames);
}

#[test]
fn a_poll_answers_empty_after_its_timeout() {
    let (_upstream, bridge, _link, first) = polled_tunnel(&[]);

    let reply = poll(&bridge, &first.after());

    assert!(reply.messages.is_empty() && reply.close().is_none());
    assert_eq!(reply.id(), first.id());
}

#[test]
fn from_a_poll_to_a_stream_and_back_nothing_is_lost() {
    let (_upstream, bridge, mut link, mut last) = polled_tunnel(&[]);

    for n in 0..5 {
        frames_sent(&mut link, &[&format!("a{n}")]);
        let mut stream = back_to_tunnel(&bridge, &last.id()).stream();
        assert!(stream.expect_named("open").flag("resumed"));
        expect_frame(&mut stream, &format!("a{n}"));
        frames_sent(&mut link, &[&format!("b{n}")]);
        last = poll(&bridge, &format!("/t?protocol=p1&after={}", stream.last_id));
        assert_eq!(last.messages, [format!("b{n}")]);
    }
}

#[test]
fn a_poll_with_an_event_id_takes_a_stream_over() {
    let (_upstream, bridge, mut stream, mut link) = opened_tunnel(&[]);

    let asked = bridge.get(&format!("/t?protocol=p1&after={}", stream.last_id)).begin();

    assert_eq!(stream.next().name(), "replaced");
    // That tunnel's first reply tells that it is open, maybe with a frame already.
    let first = reply(&asked.response());
    frames_sent(&mut link, &["1"]);
    assert_eq!(poll(&bridge, &first.after()).messages, ["1"]);
}
