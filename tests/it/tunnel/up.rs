//! Frames on their way up: POST, and its number.

use super::*;

fn expect_up(link: &mut Link, frame: &str) {
    assert_eq!(link.next_text().as_deref(), Some(frame));
}

#[test]
fn each_line_of_a_post_is_one_frame_in_order() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&[]);

    let response = bridge.post("/t", "\"one\"\n\"two\"\r\n\n\"{\\\"a\\\":1}\"\n").send();

    assert_eq!((response.status, response.body.len()), (204, 0));
    for frame in ["one", "two", r#"{"a":1}"#] {
        expect_up(&mut link, frame);
    }
}

#[test]
fn a_frame_goes_up_whatever_is_in_it() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&[]);
    let frames = ["", "a\nb\r\nc", "\0\u{1b}", "ä🚀", "[1]", &"x".repeat(100_000)];

    let body: Vec<String> = frames.iter().map(|frame| quote(frame)).collect();
    assert_eq!(bridge.post("/t?protocol=p1", &body.join("\n")).send().status, 204);

    for frame in frames {
        expect_up(&mut link, frame);
    }
}

#[test]
fn posts_one_after_the_other_reach_the_upstream_in_order() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&[]);

    for n in 0..50 {
        assert_eq!(bridge.post("/t", &quote(&n.to_string())).send().status, 204);
    }

    for n in 0..50 {
        expect_up(&mut link, &n.to_string());
    }
}

#[test]
fn a_post_that_was_done_already_is_answered_204_and_not_sent_again() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&[]);

    for (seq, frame) in [(1, "one"), (1, "again"), (2, "two"), (1, "again"), (2, "again")] {
        let response = bridge.post(&format!("/t?seq={seq}"), &quote(frame)).send();
        assert_eq!(response.status, 204, "{seq}");
    }
    bridge.post("/t?seq=3", "\"three\"").send();

    for frame in ["one", "two", "three"] {
        expect_up(&mut link, frame);
    }
}

#[test]
fn a_post_that_skips_is_a_409_and_nothing_of_it_is_sent() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&[]);

    bridge.post("/t?seq=2", "\"two\"").send().refused(409);
    assert_eq!(bridge.post("/t?seq=1", "\"one\"").send().status, 204);
    bridge.post("/t?seq=3", "\"three\"").send().refused(409);
    assert_eq!(bridge.post("/t?seq=2", "\"two\"").send().status, 204);

    expect_up(&mut link, "one");
    expect_up(&mut link, "two");
}

#[test]
fn a_post_that_is_no_list_of_strings_is_a_400_and_does_not_use_up_its_number() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&[]);

    for body in ["x", "\"one\"\n7", "{}", "\"one", "\"\\ud800\"", "\"a\" \"b\"", "null"] {
        bridge.post("/t?seq=1", body).send().refused(400);
    }

    assert_eq!(bridge.post("/t?seq=1", "\"one\"").send().status, 204);
    expect_up(&mut link, "one");
}

#[test]
fn a_seq_that_is_no_whole_number_is_a_400() {
    let (_upstream, bridge, _stream, _link) = opened_tunnel(&[]);

    for seq in ["", "x", "-1", "1.5", "+1"] {
        bridge.post(&format!("/t?seq={seq}"), "\"x\"").send().refused(400);
    }
}

#[test]
fn a_post_to_no_tunnel_is_404() {
    let bridge = Bridge::start(&FakeUpstream::start());

    bridge.post("/t?protocol=p1", "\"x\"").send().refused(404);
    bridge.post("/t?seq=1", "\"x\"").send().refused(404);
}

#[test]
fn a_post_over_max_body_is_413_and_nothing_of_it_is_sent() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&["--max-body", "100"]);

    bridge.post("/t", &format!("\"one\"\n{}", quote(&"x".repeat(200)))).send().refused(413);
    bridge.post("/t", "\"two\"").send();

    expect_up(&mut link, "two");
}

#[test]
fn an_answer_to_a_post_has_the_session_id() {
    let (_upstream, bridge, stream, _link) = opened_tunnel(&[]);

    let response = bridge.post("/t", "\"x\"").send();

    assert_eq!(response.header("x-session-id"), Some(stream.session_id().as_str()));
}

#[test]
fn more_than_10_000_frames_in_a_post_are_a_400_and_none_is_sent() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&[]);

    bridge.post("/t", &"\"x\"\n".repeat(10_001)).send().refused(400);

    assert_eq!(bridge.post("/t", "\"next\"").send().status, 204);
    expect_up(&mut link, "next");
}

#[test]
fn a_seq_of_0_is_a_400_and_drops_nothing_silently() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&[]);

    bridge.post("/t?seq=0", "\"lost\"").send().refused(400);

    assert_eq!(bridge.post("/t?seq=1", "\"one\"").send().status, 204);
    expect_up(&mut link, "one");
}

#[test]
fn a_post_that_waits_for_the_one_before_it_when_the_tunnel_closes_is_410() {
    let (_upstream, bridge, mut stream, link) = opened_tunnel(&[]);
    let post = bridge.post("/t?seq=2", "\"two\"").begin_seen();
    bridge.settle();

    link.close(1001, "bye");
    stream.expect_named("close");

    assert_eq!(gone(&post.response()).unwrap().number("code"), 1001);
}
