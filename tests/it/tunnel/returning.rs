//! Coming back to a tunnel: where it was left, or 410. A tunnel never silently becomes a new one.

use super::*;

const UNKNOWN: &str = "00000000000000000000000000000000.1";

#[test]
fn a_stream_that_comes_back_goes_on_where_it_left() {
    let (_upstream, bridge, mut stream, mut link) = opened_tunnel(&[]);
    frames_sent(&mut link, &["0", "1", "2"]);
    expect_frame(&mut stream, "0");
    let id = stream.last_id.clone();
    drop(stream);

    let mut again = back_to_tunnel(&bridge, &id).stream();

    let open = again.expect_named("open");
    assert!(open.flag("resumed"));
    assert_eq!(open.text("protocol"), "p1");
    expect_frame(&mut again, "1");
    expect_frame(&mut again, "2");
}

#[test]
fn a_get_with_an_event_id_takes_the_place_over() {
    let (_upstream, bridge, mut old, mut link) = opened_tunnel(&[]);

    let mut new = back_to_tunnel(&bridge, &old.last_id).stream();

    assert_eq!((old.next().name(), old.retry), ("replaced", Some(3_600_000)));
    old.expect_end();
    new.expect_named("open");
    frames_sent(&mut link, &["1"]);
    expect_frame(&mut new, "1");
}

#[test]
fn a_get_with_an_event_id_that_no_tunnel_of_this_path_can_resume_is_410() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    assert!(gone(&back_to_tunnel(&bridge, UNKNOWN).send()).is_none());
    assert!(gone(&bridge.get(&format!("/t?protocol=p1&after={UNKNOWN}")).send()).is_none());
    assert!(gone(&bridge.get(&format!("/t?protocol=p1&after={UNKNOWN}")).sse().send()).is_none());

    assert!(upstream.accept_within(std::time::Duration::ZERO).is_none());
}

#[test]
fn a_get_with_after_over_0_that_no_tunnel_can_resume_is_410() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    assert!(gone(&bridge.get("/t?protocol=p1&after=1").send()).is_none());
    assert!(gone(&bridge.get("/t?protocol=p1&after=1").sse().send()).is_none());

    assert!(upstream.accept_within(std::time::Duration::ZERO).is_none());
}

#[test]
fn an_event_id_that_is_no_living_tunnels_is_410() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    assert!(gone(&back_to_tunnel(&bridge, UNKNOWN).send()).is_none());
}

#[test]
fn a_last_event_id_that_has_not_the_form_of_one_opens_a_tunnel() {
    for id in ["x", "17", "0", "🚀", "a.b"] {
        let upstream = FakeUpstream::start();
        let bridge = Bridge::start(&upstream);

        let asked = back_to_tunnel(&bridge, id).begin();
        let _link = accepted(&upstream);

        assert_eq!(asked.stream().expect_named("open").text("protocol"), "p1", "{id}");
    }
}

#[test]
fn after_0_opens_a_tunnel() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/t?protocol=p1&after=0").begin();
    let _link = accepted(&upstream);

    assert!(reply(&asked.response()).messages.is_empty());
}

#[test]
fn an_unknown_event_id_is_410_although_another_tunnel_has_the_path() {
    let (_upstream, bridge, stream, mut link) = opened_tunnel(&[]);
    drop(stream);

    assert!(gone(&back_to_tunnel(&bridge, UNKNOWN).send()).is_none());

    link.settle();
    assert_eq!(bridge.post("/t", "\"x\"").send().status, 204);
    assert_eq!(link.next_text().as_deref(), Some("x"));
}

#[test]
fn a_number_too_high_is_410() {
    let (_upstream, bridge, _link, _first) = polled_tunnel(&[]);

    gone(&bridge.get("/t?protocol=p1&after=99").send());
}

#[test]
fn a_place_that_is_forgotten_is_410_and_so_is_after_0() {
    let (_upstream, bridge, mut stream, mut link) = opened_tunnel(&["--max-queue", "4"]);
    let id = stream.last_id.clone();
    for n in 0..10 {
        frames_sent(&mut link, &[&n.to_string()]);
        expect_frame(&mut stream, &n.to_string());
    }
    let last = stream.last_id.clone();
    drop(stream);

    gone(&back_to_tunnel(&bridge, &id).send());
    gone(&bridge.get("/t?protocol=p1&after=0").send());
    let mut again = back_to_tunnel(&bridge, &last).stream();
    assert!(again.expect_named("open").flag("resumed"));
}

#[test]
fn after_0_starts_with_the_first_frame_while_it_is_kept() {
    let (_upstream, bridge, mut link, _first) = polled_tunnel(&[]);
    frames_sent(&mut link, &["1", "2"]);
    assert_eq!(poll(&bridge, "/t?protocol=p1").messages, ["1", "2"]);

    assert_eq!(poll(&bridge, "/t?protocol=p1&after=0").messages, ["1", "2"]);
}

#[test]
fn the_close_is_remembered_for_the_resume_window() {
    let (upstream, bridge, mut stream, link) = opened_tunnel(&["--resume-window", "2s"]);
    link.close(4001, "bye");
    stream.expect_named("close");
    let id = stream.last_id.clone();
    assert_eq!(gone(&back_to_tunnel(&bridge, &id).send()).unwrap().number("code"), 4001);

    // Another session whose stream left now lives as long.
    let (marker, mut marker_link) = bridge.open(&upstream, "/marker");
    drop(marker);
    marker_link.expect_close();

    wait_until(PATIENCE, || gone(&back_to_tunnel(&bridge, &id).send()).is_none());
}

#[test]
fn a_stream_that_missed_the_close_comes_back_to_the_frames_and_then_the_close() {
    let (_upstream, bridge, stream, mut link) = opened_tunnel(&[]);
    let id = stream.last_id.clone();
    drop(stream);
    frames_sent(&mut link, &["1", "2"]);
    link.close(4001, "bye");

    let mut again = back_to_tunnel(&bridge, &id).stream();

    again.expect_named("open");
    expect_frame(&mut again, "1");
    expect_frame(&mut again, "2");
    assert_eq!(again.expect_named("close").number("code"), 4001);
    again.expect_end();
}

#[test]
fn the_id_of_a_close_that_was_told_is_410_with_that_close() {
    let (_upstream, bridge, mut stream, link) = opened_tunnel(&[]);
    link.close(4001, "bye");
    stream.expect_named("close");

    let close = gone(&back_to_tunnel(&bridge, &stream.last_id).send()).unwrap();

    assert_eq!((close.number("code"), close.text("reason").as_str()), (4001, "bye"));
}

#[test]
fn after_a_close_the_path_is_free_for_a_new_tunnel() {
    let (upstream, bridge, mut stream, link) = opened_tunnel(&[]);
    link.close(1001, "");
    stream.expect_named("close");
    stream.expect_end();

    let asked = bridge.get("/t?protocol=p1").sse().begin();
    let _link = accepted(&upstream);

    let mut again = asked.stream();
    assert!(!again.expect_named("open").flag("resumed"));
    assert_ne!(again.session_id(), stream.session_id());
}

#[test]
fn an_event_id_of_a_managed_session_opens_no_tunnel() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (stream, _link) = bridge.open(&upstream, "/t");
    bridge.delete("/t").send();

    gone(&back_to_tunnel(&bridge, &stream.last_id).send());
}
