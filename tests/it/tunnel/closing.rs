//! How a tunnel ends: by its upstream, by its client, by its bounds.

use std::io::Write;

use super::*;

fn expect_close(stream: &mut Stream) -> (u64, String) {
    let close = stream.expect_named("close");
    assert_eq!(close.keys(), ["code", "reason"]);
    stream.expect_end();
    (close.number("code"), close.text("reason"))
}

#[test]
fn the_upstreams_close_is_told_with_its_code_and_reason_and_the_stream_ends() {
    for (code, reason) in [(1000, ""), (1001, "going away"), (4000, "ä \" \n x"), (3500, "y")] {
        let (_upstream, bridge, mut stream, link) = opened_tunnel(&[]);

        link.close(code, reason);

        assert_eq!(expect_close(&mut stream), (u64::from(code), reason.to_owned()));
        bridge.delete("/t").send().refused(404);
    }
}

#[test]
fn frames_that_came_before_the_close_are_told_before_it() {
    let (_upstream, _bridge, mut stream, mut link) = opened_tunnel(&[]);
    (0..100).for_each(|n| link.raw(&n.to_string()));

    link.close(1001, "");

    (0..100).for_each(|n| expect_frame(&mut stream, &n.to_string()));
    assert_eq!(expect_close(&mut stream).0, 1001);
}

#[test]
fn a_link_that_is_lost_without_a_close_frame_is_1006() {
    let (_upstream, _bridge, mut stream, link) = opened_tunnel(&[]);
    link.cut();
    assert_eq!(expect_close(&mut stream).0, 1006);

    let (_upstream, _bridge, mut stream, link) = opened_tunnel(&[]);
    drop(link);
    assert_eq!(expect_close(&mut stream).0, 1006);
}

#[test]
fn a_tunnel_does_not_reconnect() {
    let (upstream, bridge, mut stream, link) = opened_tunnel(&[]);

    link.cut();
    stream.expect_named("close");

    let (_marker, marker_link) = bridge.open(&upstream, "/marker");
    assert!(marker_link.handshake.header("Sec-WebSocket-Protocol").unwrap().contains("v1-json"));
    assert!(upstream.accept_within(std::time::Duration::from_secs(1)).is_none());
}

#[test]
fn a_disconnect_of_the_cable_is_a_frame_and_ends_nothing() {
    let (_upstream, _bridge, mut stream, mut link) = opened_tunnel(&[]);
    let frame = r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#;

    frames_sent(&mut link, &[frame, "1"]);

    expect_frame(&mut stream, frame);
    expect_frame(&mut stream, "1");
}

#[test]
fn a_poll_is_told_the_close() {
    let (_upstream, bridge, mut link, first) = polled_tunnel(&["--heartbeat", "100ms"]);
    let asked = bridge.get(&format!("/t?protocol=p1&timeout=0&after={}", first.id())).begin();
    assert!(asked.has_answer_within(PATIENCE), "no sign of life");
    link.settle();

    link.close(4001, "bye");

    let close = reply(&asked.response()).close().unwrap();
    assert_eq!((close.number("code"), close.text("reason").as_str()), (4001, "bye"));
}

#[test]
fn the_close_has_a_place_of_its_own_and_msg_id_stays_that_of_the_last_frame() {
    let (_upstream, bridge, mut link, first) = polled_tunnel(&[]);
    frames_sent(&mut link, &["1", "2"]);
    link.close(1001, "");
    let told = poll_until_close(&bridge, &first.after());
    assert_eq!(
        (told.messages.as_slice(), told.json.text("msg_id").as_str()),
        (&["1".to_owned(), "2".to_owned()][..], "2")
    );

    // By the last frame alone it is not acknowledged.
    let again = poll(&bridge, "/t?protocol=p1&after=2");

    assert!(again.messages.is_empty());
    assert_eq!(again.close().unwrap().number("code"), 1001);
    assert_ne!(told.id().split('.').nth(1), Some("2"));
}

/// Polls from there until the close is told: the frames may come alone first.
fn poll_until_close(bridge: &Bridge, target: &str) -> Reply {
    let mut reply = poll(bridge, target);
    wait_until(PATIENCE, || {
        let told = reply.close().is_some();
        if !told {
            reply = poll(bridge, target);
        }
        told
    });
    reply
}

#[test]
fn a_close_that_was_not_acknowledged_is_told_again() {
    let (_upstream, bridge, link, first) = polled_tunnel(&[]);
    link.close(1001, "x");

    for _ in 0..3 {
        let told = poll_until_close(&bridge, &first.after());
        assert_eq!(told.close().unwrap().text("reason"), "x");
    }
}

#[test]
fn after_an_acknowledged_close_the_session_is_gone() {
    let (upstream, bridge, link, first) = polled_tunnel(&[]);
    link.close(1001, "x");
    let told = poll_until_close(&bridge, &first.after());

    let close = gone(&bridge.get(&told.after()).send()).unwrap();

    assert_eq!((close.number("code"), close.text("reason").as_str()), (1001, "x"));
    bridge.delete("/t").send().refused(404);
    let asked = bridge.get("/t?protocol=p1").begin();
    let _link = accepted(&upstream);
    assert_ne!(reply(&asked.response()).json.text("session_id"), first.json.text("session_id"));
}

#[test]
fn a_post_after_the_close_is_410() {
    let (_upstream, bridge, mut stream, link) = opened_tunnel(&[]);
    link.close(4001, "bye");
    expect_close(&mut stream);

    let close = gone(&bridge.post("/t?protocol=p1", "\"x\"").send()).unwrap();

    assert_eq!((close.number("code"), close.text("reason").as_str()), (4001, "bye"));
    gone(&bridge.post("/t?seq=1", "\"x\"").send()).unwrap();
}

#[test]
fn a_post_after_the_close_that_no_poll_has_acknowledged_is_410() {
    let (_upstream, bridge, link, first) = polled_tunnel(&[]);
    link.close(4001, "bye");
    poll_until_close(&bridge, &first.after());

    assert_eq!(gone(&bridge.post("/t?seq=1", "\"x\"").send()).unwrap().number("code"), 4001);
}

#[test]
fn a_delete_closes_the_upstream_with_1000() {
    let (_upstream, bridge, mut stream, mut link) = opened_tunnel(&[]);

    assert_eq!(bridge.delete("/t").send().status, 204);

    assert_eq!(link.expect_close(), Some(1000));
    assert_eq!(expect_close(&mut stream).0, 1000);
    bridge.delete("/t").send().refused(404);
}

#[test]
fn a_delete_takes_the_protocol_as_well() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&[]);

    assert_eq!(bridge.delete("/t?protocol=p1").send().status, 204);

    assert_eq!(link.expect_close(), Some(1000));
}

#[test]
fn frames_that_were_posted_before_a_delete_reach_the_upstream_before_its_close() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&[]);

    bridge.post("/t", "\"1\"\n\"2\"").send();
    bridge.delete("/t").send();

    assert_eq!(link.next_text().as_deref(), Some("1"));
    assert_eq!(link.next_text().as_deref(), Some("2"));
    assert_eq!(link.expect_close(), Some(1000));
}

#[test]
fn a_delete_waits_for_the_frames_of_the_post_that_it_names() {
    let (_upstream, bridge, _stream, mut link) = opened_tunnel(&["--max-body", "40000000"]);
    // More than the sockets in between take: they are still being written when the DELETE comes.
    let frames = vec![format!("\"{}\"", "x".repeat(60_000)); 500];
    let posted = bridge.post("/t?seq=1", &frames.join("\n")).begin();
    let mut length = || link.next_text().map(|text| text.len());
    assert_eq!(length(), Some(60_000));

    let deleted = bridge.delete("/t?seq=1").begin();

    assert!((1..frames.len()).all(|_| length() == Some(60_000)));

    assert_eq!(link.expect_close(), Some(1000));
    assert_eq!((posted.response().status, deleted.response().status), (204, 204));
}

#[test]
fn a_tunnel_never_skips_but_ends_with_1013() {
    let (_upstream, bridge, stream, mut link) = opened_tunnel(&["--max-queue", "4"]);
    let id = stream.last_id.clone();
    // Else it may still be given the first of them.
    stream.leave();

    (0..5).for_each(|n| link.raw(&n.to_string()));

    link.expect_close();
    assert_eq!(gone(&back_to_tunnel(&bridge, &id).send()).unwrap().number("code"), 1013);
}

#[test]
fn frames_as_many_as_max_queue_that_nobody_has_seen_are_kept() {
    let (_upstream, bridge, stream, mut link) = opened_tunnel(&["--max-queue", "4"]);
    let id = stream.last_id.clone();
    drop(stream);

    frames_sent(&mut link, &["0", "1", "2", "3"]);

    let mut again = back_to_tunnel(&bridge, &id).stream();
    again.expect_named("open");
    (0..4).for_each(|n| expect_frame(&mut again, &n.to_string()));
}

#[test]
fn a_poll_that_waits_for_too_long_between_is_told_1013() {
    let (_upstream, bridge, mut link, first) = polled_tunnel(&["--max-queue", "4"]);

    (0..5).for_each(|n| link.raw(&n.to_string()));

    link.expect_close();
    assert_eq!(gone(&bridge.get(&first.after()).send()).unwrap().number("code"), 1013);
}

#[test]
fn a_stream_that_nobody_reads_ends_with_1013_and_holds_up_nobody() {
    let (_upstream, _bridge, mut stream, link) = opened_tunnel(&["--max-queue", "4"]);
    let big = "x".repeat(100_000);

    // One frame after the other, by hand: the bridge closes in the middle of it.
    let frame = [&[0x81, 127][..], &(big.len() as u64).to_be_bytes(), big.as_bytes()].concat();
    let taken = (0..300).take_while(|_| link.stream().write_all(&frame).is_ok()).count();
    assert!(taken < 300, "30 MB were taken that nobody reads");

    let mut events = stream.until_end();
    let close = events.pop().unwrap();
    assert_eq!((close.name(), close.json().number("code")), ("close", 1013));
    assert!(events.iter().all(|event| event.data == big));
}

#[test]
fn frames_that_were_given_are_forgotten_and_end_nothing() {
    let (_upstream, bridge, mut stream, mut link) = opened_tunnel(&["--max-queue", "4"]);

    for n in 0..50 {
        frames_sent(&mut link, &[&n.to_string()]);
        expect_frame(&mut stream, &n.to_string());
    }

    assert_eq!(bridge.post("/t", "\"x\"").send().status, 204);
    assert_eq!(link.next_text().as_deref(), Some("x"));
}

#[test]
fn a_message_over_max_message_closes_the_tunnel() {
    let (_upstream, _bridge, mut stream, mut link) = opened_tunnel(&["--max-message", "1000"]);

    link.raw(&"x".repeat(2000));

    let (code, reason) = expect_close(&mut stream);
    assert!(code >= 1000 && reason.contains("--max-message"), "{code} {reason}");
}

#[test]
fn a_drain_ends_a_tunnels_stream_with_a_retry_and_closes_its_upstream() {
    let (_upstream, mut bridge, mut stream, mut link) = opened_tunnel(&[]);

    bridge.signal(rustix::process::Signal::TERM);

    stream.until_end();
    assert!((1_000..=5_000).contains(&stream.retry.unwrap()));
    assert!(link.expect_close().is_some());
    assert_eq!(bridge.exit_code(PATIENCE), Some(0));
}

#[test]
fn a_tunnel_outlives_its_stream_by_the_resume_window() {
    let (_upstream, bridge, stream, mut link) = opened_tunnel(&["--resume-window", "200ms"]);
    let id = stream.last_id.clone();

    drop(stream);

    assert_eq!(link.expect_close(), Some(1000));
    gone(&back_to_tunnel(&bridge, &id).send());
}
