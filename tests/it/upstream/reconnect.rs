//! The upstream goes away, and comes back.

use std::time::{Duration, Instant};

use crate::support::*;

const REJECTED: &str = r#"{"channel":"RejectedChannel"}"#;

fn subscribed(options: &[&str]) -> (FakeUpstream, Bridge, Stream, Link) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, options);
    let (stream, link) = bridge.open_with(&upstream, "/a", CHAT);
    (upstream, bridge, stream, link)
}

/// The link is told as lost: an `upstream` event and one `disconnected` a channel, in whatever order.
/// Returns the `upstream` event and the channels' identifiers.
fn expect_lost(stream: &mut Stream, channels: usize) -> (Json, Vec<String>) {
    let events: Vec<Event> = (0..=channels).map(|_| stream.next()).collect();
    let (named, plain): (Vec<&Event>, Vec<&Event>) =
        events.iter().partition(|event| event.name() == "upstream");
    assert_eq!(named.len(), 1, "{events:?}");
    let told = plain.iter().map(|event| {
        let json = event.json();
        assert_eq!(json.kind(), "disconnected");
        json.raw("identifier").to_owned()
    });
    let upstream = named[0].json();
    assert_eq!(upstream.kind(), "disconnected");
    (upstream, told.collect())
}

/// The link is back: an `upstream` event and one `connected`, in whatever order.
fn expect_back(stream: &mut Stream) -> Json {
    let events = [stream.next(), stream.next()];
    assert!(events.iter().any(|event| event.name() == "upstream"), "{events:?}");
    let json = events.iter().find(|event| event.name() == "message").unwrap().json();
    assert_eq!(json.kind(), "connected");
    json
}

#[test]
fn a_link_that_is_closed_is_made_anew() {
    let (upstream, _bridge, mut stream, link) = subscribed(&[]);

    link.close(1001, "going away");

    let (told, channels) = expect_lost(&mut stream, 1);
    assert!(told.flag("reconnect"));
    assert_eq!(channels, [CHAT]);
    upstream.welcome().subscribed(CHAT);
    expect_back(&mut stream);
}

#[test]
fn a_link_that_is_reset_is_made_anew() {
    let (upstream, _bridge, mut stream, link) = subscribed(&[]);

    link.cut();

    expect_lost(&mut stream, 1);
    upstream.welcome().subscribed(CHAT);
    expect_back(&mut stream);
}

#[test]
fn a_link_that_ends_without_a_close_frame_is_made_anew() {
    let (upstream, _bridge, mut stream, link) = subscribed(&[]);

    drop(link);

    expect_lost(&mut stream, 1);
    upstream.welcome().subscribed(CHAT);
    expect_back(&mut stream);
}

#[test]
fn a_disconnect_with_reconnect_true_or_missing_makes_the_link_anew() {
    for reconnect in [Some(true), None] {
        let (upstream, _bridge, mut stream, mut link) = subscribed(&[]);

        link.disconnect("server_restart", reconnect);

        let (told, _) = expect_lost(&mut stream, 1);
        assert_eq!(told.text("reason"), "server_restart");
        link.expect_close();
        upstream.welcome().subscribed(CHAT);
        expect_back(&mut stream);
    }
}

#[test]
fn a_link_without_a_frame_for_stale_after_is_made_anew() {
    let (upstream, _bridge, mut stream, mut link) = subscribed(&["--stale-after", "2s"]);

    let (told, _) = expect_lost(&mut stream, 1);

    assert!(told.text("reason").contains("stale"), "{}", told.text("reason"));
    link.expect_close();
    upstream.welcome().subscribed(CHAT);
    expect_back(&mut stream);
}

#[test]
fn any_frame_keeps_a_link_from_being_stale() {
    let (_upstream, _bridge, mut stream, mut link) = subscribed(&["--stale-after", "3s"]);

    // A ping each 100 ms of silence, and the heartbeat of none: twice the time that would be stale.
    for _ in 0..60 {
        assert!(!readable(link.stream(), Duration::from_millis(100)));
        link.ping();
    }

    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
}

#[test]
fn a_pending_channel_is_told_as_disconnected_too() {
    let (_upstream, bridge, mut stream, mut link) = subscribed(&[]);
    bridge.subscribe("/a", ROOM);
    link.expect_subscribe(ROOM);

    link.close(1001, "");

    assert_eq!(expect_lost(&mut stream, 2).1, [CHAT, ROOM]);
}

#[test]
fn each_loss_of_the_link_is_told_to_every_channel_confirmed_or_not() {
    let (upstream, _bridge, mut stream, mut link) = subscribed(&[]);

    for confirmed in [true, false, false, true] {
        link.cut();
        assert_eq!(expect_lost(&mut stream, 1).1, [CHAT]);
        link = upstream.welcome();
        link.expect_subscribe(CHAT);
        stream.expect_upstream("connected");
        if confirmed {
            link.confirm(CHAT);
            stream.expect("connected");
        }
    }

    link.close(1001, "");
    assert_eq!(expect_lost(&mut stream, 1).1, [CHAT]);
}

#[test]
fn a_client_that_was_away_when_the_link_was_lost_finds_that_in_its_backlog() {
    let (upstream, bridge, mut stream, link) = subscribed(&[]);
    let id = stream.last_id.clone();
    link.cut();
    let lost = expect_msg_id(&mut stream, "disconnected");
    let mut link = upstream.welcome();
    link.subscribed(CHAT);
    let back = expect_msg_id(&mut stream, "connected");
    drop(stream);

    let poll = bridge.get(&format!("/a?after={id}")).poll();
    let mut resumed = bridge.get("/a").sse().header("Last-Event-ID", &id).stream();

    assert_eq!(poll.kinds(), ["disconnected", "connected"]);
    resumed.expect_joined();
    assert_eq!(resumed.expect("disconnected").text("msg_id"), lost);
    assert_eq!(resumed.expect("connected").text("msg_id"), back);
}

/// The next message, past what has no place of its own, is of this kind; its `msg_id`.
fn expect_msg_id(stream: &mut Stream, kind: &str) -> String {
    let mut event = stream.next();
    while event.name() == "upstream" {
        event = stream.next();
    }
    assert_eq!(event.json().kind(), kind);
    event.json().text("msg_id")
}

#[test]
fn every_stream_of_a_shared_session_is_told_that_the_link_is_lost() {
    let (_upstream, bridge, mut stream, link) = subscribed(&["-r"]);
    let mut other = bridge.get("/a").sse().stream();
    other.expect_joined();
    stream.expect_joined();

    link.cut();

    for stream in [&mut stream, &mut other] {
        assert_eq!(expect_lost(stream, 1).1, [CHAT]);
    }
}

#[test]
fn a_rejected_channel_is_not_told_and_not_subscribed_again() {
    let (upstream, bridge, mut stream, mut link) = subscribed(&[]);
    bridge.subscribe("/a", REJECTED);
    link.expect_subscribe(REJECTED);
    link.reject(REJECTED);
    stream.expect("rejected");
    bridge.subscribe("/a", ROOM);
    link.subscribed(ROOM);
    stream.expect("connected");

    link.close(1001, "");

    assert_eq!(expect_lost(&mut stream, 2).1, [CHAT, ROOM]);
    let mut link = upstream.welcome();
    link.expect_subscribe(CHAT);
    link.expect_subscribe(ROOM);
}

#[test]
fn the_link_is_lost_for_a_session_without_channels_too() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, link) = bridge.open(&upstream, "/a");

    link.close(1001, "");

    stream.expect_upstream("disconnected");
    let _link = upstream.welcome();
    stream.expect_upstream("connected");
}

#[test]
fn a_channel_keeps_its_chan_id_when_it_is_subscribed_again() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");
    let chan_id = bridge.subscribe("/a", CHAT);
    link.subscribed(CHAT);
    stream.expect("connected");

    link.close(1001, "");
    expect_lost(&mut stream, 1);
    upstream.welcome().subscribed(CHAT);

    assert_eq!(expect_back(&mut stream).text("chan_id"), chan_id);
}

#[test]
fn channels_are_subscribed_again_in_the_order_in_which_they_were_first_asked_for() {
    let (upstream, bridge, mut stream, mut link) = subscribed(&[]);
    let rooms: Vec<String> =
        (0..20).rev().map(|n| format!(r#"{{"channel":"RoomChannel","room":{n}}}"#)).collect();
    for room in &rooms {
        bridge.subscribe("/a", room);
        link.subscribed(room);
        stream.expect("connected");
    }

    link.close(1001, "");

    let mut link = upstream.welcome();
    link.expect_subscribe(CHAT);
    for room in &rooms {
        link.expect_subscribe(room);
    }
}

#[test]
fn the_first_attempt_to_come_back_is_made_within_100_to_500_ms() {
    let (upstream, _bridge, _stream, link) = subscribed(&[]);

    let lost = Instant::now();
    link.close(1001, "");
    let _link = upstream.accept();

    let waited = lost.elapsed();
    assert!(waited >= Duration::from_millis(90), "{waited:?}");
    // A busy machine may add to the 500 ms, but not another step of the back-off.
    assert!(waited <= Duration::from_millis(900), "{waited:?}");
}

#[test]
fn attempts_that_fail_are_made_at_growing_intervals() {
    let (upstream, _bridge, _stream, link) = subscribed(&[]);
    link.close(1001, "");

    let arrivals: Vec<Instant> = (0..4)
        .map(|_| {
            upstream.accept().answer(503);
            Instant::now()
        })
        .collect();

    let (first, last) = (arrivals[1] - arrivals[0], arrivals[3] - arrivals[2]);
    assert!(last > first, "{first:?}, {last:?}");
}

#[test]
fn a_handshake_4xx_after_a_welcome_is_retried_like_a_5xx() {
    let (upstream, _bridge, mut stream, link) = subscribed(&[]);

    link.close(1001, "");
    upstream.accept().answer(404);
    upstream.accept().answer(401);

    expect_lost(&mut stream, 1);
    upstream.welcome().subscribed(CHAT);
    expect_back(&mut stream);
}

#[test]
fn an_upstream_that_is_down_for_a_while_is_found_again_on_its_port() {
    let (mut upstream, bridge, mut stream, link) = subscribed(&[]);

    upstream.go_away();
    link.cut();
    expect_lost(&mut stream, 1);
    bridge.wait_for_log("refused");
    upstream.come_back();

    upstream.welcome().subscribed(CHAT);
    expect_back(&mut stream);
}

#[test]
fn a_subscribe_while_the_upstream_is_away_reaches_it_with_the_next_welcome() {
    let (mut upstream, bridge, mut stream, link) = subscribed(&[]);
    upstream.go_away();
    link.cut();
    expect_lost(&mut stream, 1);

    bridge.subscribe("/a", ROOM);
    upstream.come_back();

    let mut link = upstream.welcome();
    link.expect_subscribe(CHAT);
    link.expect_subscribe(ROOM);
}

#[test]
fn an_unsubscribe_while_the_upstream_is_away_counts_at_the_next_welcome() {
    let (mut upstream, bridge, mut stream, mut link) = subscribed(&[]);
    bridge.subscribe("/a", ROOM);
    link.subscribed(ROOM);
    stream.expect("connected");
    upstream.go_away();
    link.cut();
    expect_lost(&mut stream, 2);

    bridge.act("/a", &[unsubscribe(CHAT)]);
    upstream.come_back();

    upstream.welcome().expect_subscribe(ROOM);
}

#[test]
fn a_channel_that_is_subscribed_while_the_upstream_is_away_is_pending() {
    let (mut upstream, bridge, mut stream, link) = subscribed(&["-r"]);
    upstream.go_away();
    link.cut();
    expect_lost(&mut stream, 1);
    bridge.subscribe("/a", ROOM);

    let joined = bridge.get("/a").sse().stream().expect_joined();

    let states: Vec<String> = joined.list("channels").iter().map(|c| c.text("state")).collect();
    assert_eq!(states, ["pending", "pending"]);
}

#[test]
fn a_stream_that_joins_while_the_link_is_lost_is_told_so_after_its_joined() {
    let (mut upstream, bridge, mut stream, link) = subscribed(&["-r"]);
    upstream.go_away();
    link.cut();
    expect_lost(&mut stream, 1);

    let mut late = bridge.get("/a").sse().stream();

    late.expect_joined();
    late.expect_upstream("disconnected");
}

#[test]
fn a_send_while_the_upstream_is_away_is_an_error_of_the_item() {
    let (mut upstream, bridge, mut stream, link) = subscribed(&[]);
    upstream.go_away();
    link.cut();
    expect_lost(&mut stream, 1);

    let answer = bridge.act("/a", &[send(CHAT, "{}")]).remove(0);

    assert!(!answer.text("error").is_empty());
}

#[test]
fn sends_that_are_held_follow_the_confirmation_after_a_reconnect_too() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, mut link) = bridge.open(&upstream, "/a");
    bridge.act("/a", &[subscribe(CHAT), send(CHAT, r#"{"n":1}"#), send(CHAT, r#"{"n":2}"#)]);
    link.expect_subscribe(CHAT);

    link.cut();

    let mut link = upstream.welcome();
    link.subscribed(CHAT);
    assert_eq!(link.expect_send(CHAT), r#"{"n":1}"#);
    assert_eq!(link.expect_send(CHAT), r#"{"n":2}"#);
}

#[test]
fn a_send_after_the_welcome_and_before_the_new_confirmation_is_held() {
    let (upstream, bridge, mut stream, link) = subscribed(&[]);
    link.cut();
    expect_lost(&mut stream, 1);
    let mut link = upstream.welcome();
    link.expect_subscribe(CHAT);
    stream.expect_upstream("connected");

    bridge.act("/a", &[send(CHAT, "{}"), subscribe(ROOM)]);
    link.expect_subscribe(ROOM);
    link.confirm(CHAT);

    link.expect_send(CHAT);
}

#[test]
fn after_a_restart_at_most_64_sessions_shake_hands_at_a_time() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::alone(&upstream.url(), &["--connect-timeout", "30s"]);
    let open: Vec<_> = (0..80).map(|n| bridge.open(&upstream, &format!("/{n}"))).collect();
    let (streams, links): (Vec<Stream>, Vec<Link>) = open.into_iter().unzip();

    links.into_iter().for_each(Link::cut);
    let mut shaking: Vec<Link> = (0..64).map(|_| upstream.accept()).collect();

    assert!(upstream.accept_within(Duration::from_secs(1)).is_none());
    for link in &mut shaking[..16] {
        link.welcome();
    }
    let _rest: Vec<Link> = (0..16).map(|_| upstream.accept()).collect();
    drop(streams);
}

#[test]
fn a_disconnect_for_good_ends_the_session_at_once() {
    let (_upstream, bridge, mut stream, mut link) = subscribed(&[]);

    link.disconnect("unauthorized", Some(false));

    let events = stream.until_end();
    let told = events.iter().rfind(|event| event.name() == "upstream").unwrap().json();
    assert!(!told.flag("reconnect"));
    assert_eq!(told.text("reason"), "unauthorized");
    link.expect_close();
    bridge.post("/a", &format!("[{}]", subscribe(CHAT))).send().refused(404);
}

#[test]
fn a_disconnect_for_good_ends_one_session_and_no_process() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    let (mut other, mut other_link) = bridge.open_with(&upstream, "/b", CHAT);

    link.disconnect("unauthorized", Some(false));
    stream.until_end();

    other_link.message(CHAT, "1");
    assert_eq!(other.received(), "1");
    assert!(bridge.lives());
}

#[test]
fn a_poll_that_waits_is_told_that_the_link_is_lost() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    link.confirm(CHAT);
    bridge.get("/a").poll();
    let asked = bridge.get("/a?timeout=0").begin();

    link.close(1001, "");

    let poll = asked.poll();
    assert_eq!(poll.kinds(), ["disconnected"]);
    assert_eq!(Json::parse(poll.json.raw("upstream")).kind(), "disconnected");
}
