//! Channels in the URL: one GET opens a session, subscribes and listens.

use crate::support::*;
use std::fs;
use std::path::Path;

const NEWS: &str = r#"{"channel":"NewsChannel"}"#;
const UNKNOWN_ID: &str = "0123456789abcdef0123456789abcdef.7";

/// Every byte of it as an escape.
fn escaped(text: &[u8]) -> String {
    text.iter().map(|byte| format!("%{byte:02x}")).collect()
}

fn identifier(json: &str) -> String {
    format!("identifier={}", escaped(json.as_bytes()))
}

/// So many channels, in the form of a query.
fn many(count: usize) -> String {
    let channels: Vec<String> = (0..count).map(|number| format!("channel=C{number}")).collect();
    channels.join("&")
}

/// Opens a stream by a GET that names channels, and takes its `joined`.
fn open(bridge: &Bridge, upstream: &FakeUpstream, target: &str) -> (Stream, Link, Json) {
    let asked = bridge.get(target).sse().begin();
    let link = upstream.welcome();
    let mut stream = asked.stream();
    let joined = stream.expect_joined();
    (stream, link, joined)
}

/// The same with one channel that is confirmed and told.
fn open_chat(bridge: &Bridge, upstream: &FakeUpstream) -> (Stream, Link) {
    let (mut stream, mut link, _) = open(bridge, upstream, "/a?channel=ChatChannel");
    link.subscribed(CHAT);
    stream.expect("connected");
    (stream, link)
}

fn back_to(bridge: &Bridge, target: &str, id: &str) -> Stream {
    bridge.get(target).header("Last-Event-ID", id).sse().stream()
}

/// Nothing was asked of the upstream since: this is the next command.
fn expect_nothing_but(bridge: &Bridge, link: &mut Link, marker: &str) {
    bridge.subscribe("/a", marker);
    link.expect_subscribe(marker);
}

#[test]
fn a_get_subscribes_its_channels_in_the_order_of_the_url() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let target = format!("/a?channel=ChatChannel&x=1&{}&channel=NewsChannel", identifier(ROOM));

    let (mut stream, mut link, _) = open(&bridge, &upstream, &target);

    for channel in [CHAT, ROOM, NEWS] {
        link.subscribed(channel);
        assert_eq!(stream.expect("connected").raw("identifier"), channel);
    }
    link.message(ROOM, "1");
    assert_eq!(stream.received(), "1");
}

#[test]
fn its_joined_shows_them_as_pending() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let target = format!("/a?channel=ChatChannel&{}", identifier(ROOM));

    let (_stream, _link, joined) = open(&bridge, &upstream, &target);

    let channels = joined.list("channels");
    let told: Vec<_> =
        channels.iter().map(|one| (one.raw("identifier").to_owned(), one.text("state"))).collect();
    let pending = |channel: &str| (channel.to_owned(), "pending".to_owned());
    assert_eq!(told, [pending(CHAT), pending(ROOM)]);
    assert!(!joined.flag("resumed"));
}

#[test]
fn a_poll_subscribes_too() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a?channel=ChatChannel&channel=NewsChannel").begin();
    let mut link = upstream.welcome();
    link.expect_subscribe(CHAT);
    link.expect_subscribe(NEWS);
    link.confirm(CHAT);

    let poll = asked.poll();

    assert_eq!(poll.kinds(), ["connected"]);
    assert_eq!(poll.json.texts("channels").len(), 2);
}

#[test]
fn the_bridge_owns_them_but_in_a_tunnel() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let (_stream, link, _) = open(
        &bridge,
        &upstream,
        "/a?channel=C&token=x&lastEventId=&raw=0&%69dentifier=%7B%22channel%22:%22D%22%7D",
    );
    let _tunnel = bridge.get("/t?protocol=&channel=&identifier=%ff&raw=0&token=x").sse().begin();
    let tunnel = upstream.accept();

    assert_eq!(link.handshake.target(), "/cable?token=x");
    assert_eq!(tunnel.handshake.target(), "/cable?channel=&identifier=%ff&token=x");
}

#[test]
fn what_the_session_has_is_left_alone_and_tells_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-r"]);
    let (mut stream, mut link, _) =
        open(&bridge, &upstream, "/a?channel=ChatChannel&channel=NewsChannel");
    link.subscribed(CHAT);
    link.subscribed(NEWS);
    stream.expect("connected");
    stream.expect("connected");

    let mut other = bridge.get("/a?channel=NewsChannel&channel=ChatChannel").sse().stream();
    other.expect_joined();
    expect_nothing_but(&bridge, &mut link, ROOM);
    link.message(CHAT, "1");

    assert_eq!(other.received(), "1");
    stream.expect_joined();
    assert_eq!(stream.received(), "1");
}

#[test]
fn a_rejected_one_is_tried_again_by_a_stream_that_does_not_resume() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-r"]);
    let (mut stream, mut link, _) = open(&bridge, &upstream, "/a?channel=ChatChannel");
    link.expect_subscribe(CHAT);
    link.reject(CHAT);
    let rejected = stream.expect("rejected");

    let mut other = bridge.get("/a?channel=ChatChannel").sse().stream();

    let channels = other.expect_joined().list("channels");
    assert_eq!(channels[0].text("state"), "pending");
    link.subscribed(CHAT);
    assert_eq!(other.expect("connected").text("chan_id"), rejected.text("chan_id"));
}

#[test]
fn a_rejected_one_is_not_tried_again_by_a_stream_that_resumes() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link, _) = open(&bridge, &upstream, "/a?channel=ChatChannel");
    link.expect_subscribe(CHAT);
    link.reject(CHAT);
    stream.expect("rejected");

    let mut stream = back_to(&bridge, "/a?channel=ChatChannel", &stream.last_id);

    assert_eq!(stream.expect_joined().list("channels")[0].text("state"), "rejected");
    expect_nothing_but(&bridge, &mut link, ROOM);
}

#[test]
fn a_rejected_one_is_tried_again_by_a_poll_only_where_it_opens_the_session() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a?channel=ChatChannel").begin();
    let mut link = upstream.welcome();
    link.expect_subscribe(CHAT);
    link.reject(CHAT);
    assert_eq!(asked.poll().kinds(), ["rejected"]);

    assert_eq!(bridge.get("/a?channel=ChatChannel&timeout=1").send().status, 200);

    expect_nothing_but(&bridge, &mut link, ROOM);
}

#[test]
fn an_unsubscribe_by_post_is_not_undone_by_a_reconnect() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (stream, mut link) = open_chat(&bridge, &upstream);
    bridge.act("/a", &[unsubscribe(CHAT)]);
    link.expect_unsubscribe(CHAT);

    let mut stream = back_to(&bridge, "/a?channel=ChatChannel", &stream.last_id);

    let joined = stream.expect_joined();
    assert!(joined.flag("resumed") && joined.list("channels").is_empty());
    expect_nothing_but(&bridge, &mut link, ROOM);
}

#[test]
fn a_poll_with_an_after_over_0_of_its_session_subscribes_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a?channel=ChatChannel&after=0").begin();
    let mut link = upstream.welcome();
    link.subscribed(CHAT);
    let poll = asked.poll();
    bridge.act("/a", &[unsubscribe(CHAT)]);
    link.expect_unsubscribe(CHAT);

    let last = poll.json.text("last_event_id");
    for after in ["1", &last] {
        let target = format!("/a?channel=ChatChannel&timeout=1&after={after}");
        assert!(bridge.get(&target).send().status == 200, "{after}");
    }

    expect_nothing_but(&bridge, &mut link, ROOM);
}

#[test]
fn an_after_of_0_is_no_resuming() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (stream, mut link) = bridge.open_with(&upstream, "/a", ROOM);
    stream.leave();

    let _stream = bridge.get("/a?channel=ChatChannel&after=0").sse().begin();

    link.expect_subscribe(CHAT);
}

#[test]
fn one_that_opens_a_session_subscribes_whatever_its_after() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for (path, after) in [("/a", "7"), ("/b", UNKNOWN_ID)] {
        let (_stream, mut link, joined) =
            open(&bridge, &upstream, &format!("{path}?channel=ChatChannel&after={after}"));
        link.expect_subscribe(CHAT);
        assert!(!joined.flag("resumed"));
    }
    let asked =
        bridge.get("/c?channel=ChatChannel").header("Last-Event-ID", UNKNOWN_ID).sse().begin();
    upstream.welcome().expect_subscribe(CHAT);
    asked.stream().expect_joined();
    let _poll = bridge.get("/d?channel=ChatChannel&after=7").begin();
    upstream.welcome().expect_subscribe(CHAT);
}

#[test]
fn an_event_source_hears_its_channels_again_when_its_session_is_gone() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = open_chat(&bridge, &upstream);
    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
    let id = stream.last_id.clone();
    drop((stream, bridge));
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a?channel=ChatChannel").header("Last-Event-ID", &id).sse().begin();
    let mut link = upstream.welcome();
    link.subscribed(CHAT);
    link.message(CHAT, "2");

    let mut stream = asked.stream();
    assert!(!stream.expect_joined().flag("resumed"));
    stream.expect("connected");
    assert_eq!(stream.received(), "2");
}

#[test]
fn a_page_that_is_reloaded_subscribes_in_its_new_session() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (stream, _link) = open_chat(&bridge, &upstream);
    stream.leave();

    let (mut stream, mut link, _) = open(&bridge, &upstream, "/a?channel=ChatChannel");

    link.subscribed(CHAT);
    stream.expect("connected");
}

#[test]
fn they_are_kept_and_asked_for_with_the_welcome_while_the_upstream_is_away() {
    let mut upstream = FakeUpstream::absent();
    let bridge = Bridge::start(&upstream);
    let mut stream = bridge.get("/a?channel=ChatChannel&channel=NewsChannel").sse().stream();
    let channels = stream.expect_joined().list("channels");
    assert!(channels.iter().all(|channel| channel.text("state") == "pending"));
    stream.expect_upstream("disconnected");

    upstream.come_back();

    let mut link = upstream.welcome();
    link.subscribed(CHAT);
    link.subscribed(NEWS);
    stream.expect_upstream("connected");
    stream.expect("connected");
    stream.expect("connected");
}

#[test]
fn what_is_no_identifier_is_a_400_and_opens_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let long = format!(
        "identifier={}",
        escaped(format!(r#"{{"channel":"{}"}}"#, "x".repeat(4083)).as_bytes())
    );
    let bad = [
        "channel=",
        "channel",
        "channel=%",
        "channel=a%4",
        "channel=a%zz",
        "channel=%ff",
        "channel=%c3",
        "identifier=",
        "identifier=7",
        "identifier=%7B%7D",
        "identifier=%7B%22channel%22:7%7D",
        "channel=ok&channel=",
        "channel=ok&identifier=%5B%5D",
        &long,
    ];

    for query in bad {
        for request in
            [bridge.get(&format!("/bad?{query}")).sse(), bridge.get(&format!("/bad?{query}"))]
        {
            assert!(request.send().refused(400).len() > 10, "{query}");
        }
    }

    // The first connection that comes is this one's.
    let (_stream, link) = bridge.open(&upstream, "/good?x=1");
    assert_eq!(link.handshake.target(), "/cable?x=1");
}

#[test]
fn an_identifier_of_4_kib_is_taken() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let longest = format!(r#"{{"channel":"{}"}}"#, "x".repeat(4096 - 14));
    assert_eq!(longest.len(), 4096);

    let (_stream, mut link, _) = open(&bridge, &upstream, &format!("/a?{}", identifier(&longest)));

    link.expect_subscribe(&longest);
}

#[test]
fn more_channels_than_max_channels_are_a_400_and_open_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let error = bridge.get(&format!("/bad?{}", many(257))).sse().send().refused(400);
    assert!(error.contains("--max-channels"), "{error}");
    bridge
        .get(&format!("/bad?{}", many(257)))
        .header("Last-Event-ID", UNKNOWN_ID)
        .sse()
        .send()
        .refused(400);
    bridge.get(&format!("/bad?{}", many(257))).send().refused(400);

    // The same one twice is one channel.
    let (_stream, link, joined) =
        open(&bridge, &upstream, &format!("/a?{}&channel=C0&x=1", many(256)));
    assert_eq!(link.handshake.target(), "/cable?x=1");
    assert_eq!(joined.list("channels").len(), 256);
}

#[test]
fn they_are_counted_with_those_that_are_there_but_for_rejected_ones() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-r", "--max-channels", "2"]);
    let (mut stream, mut link) = open_chat(&bridge, &upstream);

    bridge.get("/a?channel=A&channel=B").sse().send().refused(400);
    let _other = bridge.get("/a?channel=NewsChannel&channel=ChatChannel").sse().begin();
    link.expect_subscribe(NEWS);
    link.reject(NEWS);
    stream.expect_joined();
    stream.expect("rejected");
    let poll = bridge.get("/a?channel=NewsChannel&channel=RoomChannel").begin();
    link.expect_subscribe(r#"{"channel":"RoomChannel"}"#);
    bridge.get("/a?channel=NewsChannel").sse().send().refused(400);

    let answers = bridge.act("/a", &[subscribe(ROOM), subscribe(NEWS)]);
    assert!(
        answers.iter().all(|answer| answer.text("error").contains("--max-channels")),
        "{answers:?}"
    );
    assert_eq!(poll.poll().kinds().len(), 2);
}

#[test]
fn a_get_that_resumes_is_not_measured() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-channels", "1"]);
    let (stream, mut link) = open_chat(&bridge, &upstream);

    let mut stream = back_to(&bridge, "/a?channel=A&channel=B", &stream.last_id);

    assert!(stream.expect_joined().flag("resumed"));
    bridge.act("/a", &[unsubscribe(CHAT)]);
    link.expect_unsubscribe(CHAT);
}

#[test]
fn a_reload_with_too_many_channels_ends_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-channels", "1"]);
    let (stream, mut link) = open_chat(&bridge, &upstream);
    let (id, session) = (stream.last_id.clone(), stream.session_id());
    stream.leave();

    bridge.get("/a?channel=A&channel=B").sse().send().refused(400);

    let mut stream = back_to(&bridge, "/a?channel=ChatChannel", &id);
    assert_eq!(stream.expect_joined().text("session_id"), session);
    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
}

#[test]
fn the_corpus_arrives_at_the_server_as_it_was_written() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-r"]);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/identifiers/good");

    for file in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let written = String::from_utf8(bytes).unwrap();
        let mut other = bridge.get(&format!("/a?{}", identifier(&written))).sse().stream();
        let wanted = written.trim().replace(['\r', '\n'], " ");
        link.subscribed(&wanted);
        other.expect_joined();
        assert_eq!(other.expect("connected").raw("identifier"), wanted);
        stream.expect_joined();
        assert_eq!(stream.expect("connected").raw("identifier"), wanted);
        bridge.act("/a", &[unsubscribe(&wanted)]);
        link.expect_unsubscribe(&wanted);
        drop(other);
    }
}
