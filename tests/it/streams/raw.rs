//! Raw streams: messages as plain event data, everything else as ever under a name.

use crate::support::*;

fn open_raw(bridge: &Bridge, upstream: &FakeUpstream, path: &str) -> (Stream, Link) {
    let asked = bridge.get(&format!("{path}?raw=1")).sse().begin();
    let mut link = upstream.welcome();
    let mut stream = asked.stream();
    assert_eq!(stream.expect_named("joined").kind(), "joined");
    bridge.subscribe(path, CHAT);
    link.subscribed(CHAT);
    assert_eq!(stream.expect_named("connected").kind(), "connected");
    (stream, link)
}

/// The next event, which must be an unnamed one.
fn data(stream: &mut Stream) -> String {
    let event = stream.next();
    assert_eq!(event.name(), "message", "{event:?}");
    event.data
}

#[test]
fn a_string_comes_as_its_text() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = open_raw(&bridge, &upstream, "/a");

    link.message(CHAT, r#""<turbo-stream action=\"append\">\u00e9\ud83d\ude00</turbo-stream>""#);

    assert_eq!(data(&mut stream), "<turbo-stream action=\"append\">é😀</turbo-stream>");
}

#[test]
fn each_line_break_of_a_string_begins_another_data_line() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = open_raw(&bridge, &upstream, "/a");

    link.message(CHAT, r#""a\nb\rc\r\nd\n\n e\u2028f\u0000g\n""#);

    let event = stream.next();
    assert_eq!(event.data, "a\nb\nc\nd\n\n e\u{2028}f\0g\n");
    assert_eq!(event.data_lines, 7);
}

#[test]
fn half_a_surrogate_pair_is_a_replacement_character() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = open_raw(&bridge, &upstream, "/a");

    link.message(CHAT, r#""a\ud800b\udfff""#);

    assert_eq!(data(&mut stream), "a\u{FFFD}b\u{FFFD}");
}

#[test]
fn any_other_value_comes_as_its_json_with_line_breaks_as_spaces() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = open_raw(&bridge, &upstream, "/a");

    for json in ["{\"b\":1.0,\r\n\"a\":\"\\n\"}", "null", "[1e400]", "12345678901234567890"] {
        link.message(CHAT, json);
        assert_eq!(data(&mut stream), json.replace(['\r', '\n'], " "));
    }
}

#[test]
fn an_empty_string_is_an_event_too() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = open_raw(&bridge, &upstream, "/a");

    link.message(CHAT, r#""""#);

    assert_eq!(stream.next().data_lines, 1);
}

#[test]
fn joined_connected_rejected_and_disconnected_are_named_with_their_usual_data() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = open_raw(&bridge, &upstream, "/a");

    bridge.subscribe("/a", ROOM);
    link.expect_subscribe(ROOM);
    link.reject(ROOM);
    let rejected = stream.expect_named("rejected");
    drop(link);
    stream.expect_upstream("disconnected");
    let disconnected = stream.expect_named("disconnected");

    assert_eq!((rejected.kind(), rejected.raw("identifier")), ("rejected".to_owned(), ROOM));
    assert_eq!(
        (disconnected.kind(), disconnected.text("msg_id")),
        ("disconnected".to_owned(), "3".to_owned())
    );
}

#[test]
fn a_raw_stream_that_comes_back_gets_what_it_missed() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = open_raw(&bridge, &upstream, "/a");
    link.message(CHAT, r#""one""#);
    assert_eq!(data(&mut stream), "one");
    let id = stream.last_id.clone();
    drop(stream);
    link.message(CHAT, r#""two""#);

    let mut stream = bridge.get("/a?raw=1").header("Last-Event-ID", &id).sse().stream();

    assert!(stream.expect_named("joined").flag("resumed"));
    assert_eq!(data(&mut stream), "two");
}

#[test]
fn a_raw_stream_is_told_what_it_missed() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-queue", "1"]);
    let (stream, mut link) = open_raw(&bridge, &upstream, "/a");
    let id = stream.last_id.clone();
    drop(stream);
    link.message(CHAT, r#""one""#);
    link.message(CHAT, r#""two""#);
    link.settle();

    let mut stream = bridge.get("/a?raw=1").header("Last-Event-ID", &id).sse().stream();

    assert_eq!(stream.expect_named("joined").number("dropped"), 1);
    assert_eq!(data(&mut stream), "two");
}

#[test]
fn a_quiet_raw_stream_has_heartbeats() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "200ms"]);
    let asked = bridge.get("/a?raw=1").sse().begin();
    let _link = upstream.welcome();

    let mut stream = asked.stream();

    stream.expect_named("joined");
    stream.expect_named("heartbeat");
}

#[test]
fn raw_belongs_to_the_stream_and_not_to_the_session() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-r"]);
    let (mut raw, mut link) = open_raw(&bridge, &upstream, "/a");
    let mut whole = bridge.get("/a?raw=0").sse().stream();
    whole.expect_joined();
    raw.expect_named("joined");

    link.message(CHAT, r#""news""#);

    assert_eq!(data(&mut raw), "news");
    assert_eq!(whole.received(), r#""news""#);
}

#[test]
fn raw_is_1_or_0_on_a_stream_and_anything_else_opens_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for query in ["raw", "raw=", "raw=2", "raw=true", "raw=1&protocol=a", "protocol=&raw=1"] {
        let error = bridge.get(&format!("/bad?{query}")).sse().send().refused(400);
        assert!(error.starts_with("raw: "), "{query}: {error}");
    }
    assert!(bridge.get("/bad?raw=1").send().refused(400).starts_with("raw: "));

    let (_stream, link) = bridge.open(&upstream, "/good?raw=0&x=1");
    assert_eq!(link.handshake.target(), "/cable?x=1");
}

#[test]
fn raw_says_nothing_on_a_post() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, mut link) = bridge.open(&upstream, "/a");

    bridge.subscribe("/a?raw=2&channel=&identifier=7", CHAT);

    link.expect_subscribe(CHAT);
}
