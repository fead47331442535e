//! Frames on their way down: as they came, in order, once each.

use super::*;

#[test]
fn each_frame_is_one_unnamed_event_as_it_came() {
    let (_upstream, _bridge, mut stream, mut link) = opened_tunnel(&[]);
    let frames = [
        r#"{"type":"welcome"}"#,
        r#"{ "b" : 1.0 , "a":"\u00e4ä🚀" }"#,
        "no json at all",
        "",
        " leading and trailing ",
        r#"{"type":"disconnect","reason":"x","reconnect":false}"#,
        "data: x",
        ": comment",
        "id: 7",
    ];

    frames_sent(&mut link, &frames);

    for frame in frames {
        expect_frame(&mut stream, frame);
    }
}

#[test]
fn a_frame_with_line_breaks_comes_as_several_data_lines() {
    let (_upstream, _bridge, mut stream, mut link) = opened_tunnel(&[]);

    for (frame, told) in [
        ("a\nb", "a\nb"),
        ("a\r\nb", "a\nb"),
        ("a\rb", "a\nb"),
        ("\n\n", "\n\n"),
        ("a\n\nevent: evil\ndata: x", "a\n\nevent: evil\ndata: x"),
    ] {
        frames_sent(&mut link, &[frame]);
        let event = stream.next();
        assert_eq!((event.name(), event.data.as_str()), ("message", told));
        assert_eq!(event.data_lines, told.matches('\n').count() + 1);
    }
}

#[test]
fn a_frame_with_line_breaks_comes_to_a_poll_as_it_is() {
    let (_upstream, bridge, mut link, first) = polled_tunnel(&[]);
    let frames = ["a\nb", "a\r\nb", "a\rb", "\u{2028}\0\u{1b}", "\"\\"];

    frames_sent(&mut link, &frames);

    assert_eq!(poll(&bridge, &first.after()).messages, frames);
}

#[test]
fn frames_come_in_order_while_they_keep_arriving_and_the_stream_is_cut_again_and_again() {
    let (_upstream, bridge, mut stream, mut link) = opened_tunnel(&["--max-queue", "100000"]);
    let feeder = std::thread::Builder::new().name("feeder".into());
    let feeder = feeder.spawn(move || {
        (0..2000).for_each(|n| link.raw(&n.to_string()));
        link.settle();
        link
    });

    for n in 0..2000 {
        if n % 150 == 149 {
            stream = back_to_tunnel(&bridge, &stream.last_id).stream();
            assert!(stream.expect_named("open").flag("resumed"));
        }
        expect_frame(&mut stream, &n.to_string());
    }

    drop(feeder.unwrap().join().unwrap());
}

#[test]
fn binary_frames_are_passed_over() {
    let (_upstream, _bridge, mut stream, mut link) = opened_tunnel(&[]);

    link.frame(tungstenite::Message::binary(vec![1, 2]));
    frames_sent(&mut link, &["1"]);

    expect_frame(&mut stream, "1");
}

#[test]
fn a_frame_of_a_megabyte_arrives() {
    let (_upstream, _bridge, mut stream, mut link) =
        opened_tunnel(&["--max-queue-bytes", "4000000"]);
    let big = "x".repeat(1 << 20);

    frames_sent(&mut link, &[&big, "1"]);

    expect_frame(&mut stream, &big);
    expect_frame(&mut stream, "1");
}

#[test]
fn pings_go_to_an_open_stream_as_they_come() {
    let (_upstream, _bridge, mut stream, mut link) = opened_tunnel(&[]);
    let ping = r#"{"type":"ping","message":1700000000}"#;

    frames_sent(&mut link, &["1", ping, "2"]);

    for frame in ["1", ping, "2"] {
        expect_frame(&mut stream, frame);
    }
}

#[test]
fn pings_are_not_kept() {
    let (_upstream, bridge, mut stream, mut link) = opened_tunnel(&[]);
    frames_sent(
        &mut link,
        &["1", r#"{"type":"ping","message":1}"#, r#"{"message":2,"type":"ping"}"#, "2"],
    );
    let id = {
        expect_frame(&mut stream, "1");
        stream.last_id.clone()
    };
    drop(stream);

    let mut again = back_to_tunnel(&bridge, &id).stream();

    again.expect_named("open");
    expect_frame(&mut again, "2");
}

#[test]
fn a_ping_of_any_other_shape_is_a_frame_like_any_other() {
    let (_upstream, bridge, mut link, first) = polled_tunnel(&[]);
    let frames = [
        r#"{"type":"ping"}"#,
        r#"{"type":"ping","message":"1"}"#,
        r#"{"type":"ping","message":1,"more":1}"#,
        r#"{"type":"pong","message":1}"#,
        r#"["ping",1]"#,
    ];

    frames_sent(&mut link, &frames);

    assert_eq!(poll(&bridge, &first.after()).messages, frames);
}

#[test]
fn a_ping_ends_no_poll() {
    let (_upstream, bridge, mut link, first) = polled_tunnel(&["--heartbeat", "100ms"]);
    let target = format!("/t?protocol=p1&timeout=0&after={}", first.id());
    let asked = bridge.get(&target).begin();
    assert!(asked.has_answer_within(PATIENCE), "no sign of life");

    frames_sent(&mut link, &[r#"{"type":"ping","message":1}"#, "1"]);

    assert_eq!(reply(&asked.response()).messages, ["1"]);
}

#[test]
fn a_quiet_stream_has_heartbeats() {
    let (_upstream, _bridge, mut stream, _link) = opened_tunnel(&["--heartbeat", "100ms"]);

    stream.expect_named("heartbeat");
    stream.expect_named("heartbeat");
}
