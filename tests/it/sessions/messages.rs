//! What a client is told: the types, their fields, and the upstream's JSON byte for byte.

use std::time::SystemTime;

use crate::support::*;

/// What must arrive as it was sent.
const VALUES: [&str; 16] = [
    "12345678901234567890",
    "1.0",
    "1e400",
    "-0.0",
    "1E+2",
    r#""\u00e9""#,
    r#""é\/\u003c\ud83d\ude00""#,
    r#"{"b":1,"a":2,"b":3}"#,
    r#"{ "spaces" : [ 1 ,2 ] }"#,
    r#""<turbo-stream action=\"append\"></turbo-stream>""#,
    "null",
    "true",
    "[]",
    "\"\"",
    r#"{"type":"ping","message":1}"#,
    r#"{"nested":{"identifier":"x","message":null}}"#,
];

#[test]
fn the_first_event_of_a_stream_is_its_own_joined() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").sse().begin();
    let _link = upstream.welcome();

    let mut stream = asked.stream();
    let joined = stream.expect_joined();
    assert_eq!(joined.text("id"), "/a");
    assert_eq!(joined.text("session_id"), stream.session_id());
}

#[test]
fn a_first_joined_resumes_nothing_and_missed_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").sse().begin();
    let _link = upstream.welcome();

    let joined = asked.stream().expect_joined();
    assert!(!joined.flag("resumed"));
    assert_eq!((joined.number("dropped"), joined.raw("channels")), (0, "[]"));
}

#[test]
fn every_listener_of_the_session_is_told_who_joined() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-r"]);
    let (mut first, _link) = bridge.open(&upstream, "/a");

    let mut second = bridge.get("/a").sse().stream();

    second.expect_joined();
    assert_eq!(first.expect_joined().text("id"), "/a");
}

#[test]
fn connected_is_told_when_the_upstream_confirms() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");

    let chan_id = bridge.subscribe("/a", CHAT);
    link.subscribed(CHAT);

    let connected = stream.expect("connected");
    assert_eq!(connected.text("chan_id"), chan_id);
    assert_eq!(connected.raw("identifier"), CHAT);
    assert_eq!(connected.raw("message"), "{}");
    assert_eq!(connected.text("session_id"), stream.session_id());
}

#[test]
fn a_message_has_exactly_the_keys_of_the_contract() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    link.message(CHAT, "1");

    let keys = ["chan_id", "identifier", "message", "msg_id", "session_id", "time", "type"];
    assert_eq!(stream.expect("received").keys(), keys);
}

#[test]
fn a_message_before_its_confirmation_is_received_before_connected() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");
    bridge.subscribe("/a", CHAT);
    link.expect_subscribe(CHAT);

    link.message(CHAT, r#""hello""#);
    link.confirm(CHAT);

    assert_eq!(stream.received(), r#""hello""#);
    stream.expect("connected");
}

#[test]
fn rejected_is_told_when_the_upstream_rejects() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");
    let chan_id = bridge.subscribe("/a", CHAT);
    link.expect_subscribe(CHAT);

    link.reject(CHAT);

    let rejected = stream.expect("rejected");
    assert_eq!(rejected.text("chan_id"), chan_id);
    assert_eq!(rejected.raw("message"), "{}");
    assert!(!rejected.has("unsent"));
}

#[test]
fn a_later_subscribe_of_a_rejected_channel_tries_again_with_the_same_chan_id() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");
    let chan_id = bridge.subscribe("/a", CHAT);
    link.expect_subscribe(CHAT);
    link.reject(CHAT);
    stream.expect("rejected");

    assert_eq!(bridge.subscribe("/a", CHAT), chan_id);
    link.subscribed(CHAT);

    assert_eq!(stream.expect("connected").text("chan_id"), chan_id);
}

#[test]
fn disconnected_is_told_when_the_link_of_the_channel_is_gone() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, link) = bridge.open_with(&upstream, "/a", CHAT);

    link.close(1001, "going away");

    let told = message_of(&mut stream, "disconnected");
    assert_eq!((told.raw("identifier"), told.raw("message")), (CHAT, "{}"));
}

/// The next unnamed event, which has this type; an `upstream` may come before.
fn message_of(stream: &mut Stream, kind: &str) -> Json {
    let event = stream.next();
    if event.name() == "upstream" { stream.expect(kind) } else { event.json() }
}

#[test]
fn a_message_arrives_byte_for_byte_on_a_stream() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    for value in VALUES {
        link.message(CHAT, value);
        assert_eq!(stream.received(), value);
    }
}

#[test]
fn a_message_arrives_byte_for_byte_in_a_poll() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    for value in VALUES {
        link.message(CHAT, value);
    }
    link.confirm(CHAT);

    let mut bodies = Vec::new();
    while bodies.len() <= VALUES.len() {
        bodies.extend(bridge.get("/a").poll().bodies());
    }

    assert_eq!(bodies[..VALUES.len()], VALUES);
}

#[test]
fn each_raw_line_break_between_tokens_becomes_a_space() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    link.message(CHAT, "{\r\n\"a\":\n1,\r\t\"b\":[\n\n]}");

    assert_eq!(stream.received(), "{  \"a\": 1, \t\"b\":[  ]}");
}

#[test]
fn each_raw_line_break_becomes_a_space_in_a_poll_too() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);

    link.message(CHAT, "[\r\n1\n]");

    assert_eq!(bridge.get("/a").poll().bodies(), ["[  1 ]"]);
}

#[test]
fn an_escaped_line_break_in_a_string_stays() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    link.message(CHAT, r#""a\r\nb""#);

    assert_eq!(stream.received(), r#""a\r\nb""#);
}

#[test]
fn a_message_of_a_megabyte_arrives() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    let big = quote(&"x".repeat(1 << 20));

    link.message(CHAT, &big);

    assert!(stream.received() == big);
}

#[test]
fn a_message_of_a_channel_that_was_never_asked_for_is_not_told() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    link.message(ROOM, "1");
    link.message(CHAT, "2");

    assert_eq!(stream.received(), "2");
}

#[test]
fn frames_that_are_no_json_or_of_no_known_type_or_binary_are_passed_over() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    for text in ["", "{", "[]", "null", "7", "{}", r#"{"type":"new"}"#, r#"{"message":1}"#] {
        link.raw(text);
    }
    link.frame(tungstenite::Message::binary(vec![1, 2]));
    link.message(CHAT, "1");

    assert_eq!(stream.received(), "1");
}

#[test]
fn the_identifier_is_told_with_its_text_unchanged() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let identifier = r#"{ "room":1.0, "channel":"Ch\u0061tChannel", "big":12345678901234567890 }"#;
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", identifier);

    link.message(identifier, "1");

    assert_eq!(stream.expect("received").raw("identifier"), identifier);
}

#[test]
fn the_identifier_is_sent_upstream_as_a_json_string_of_its_text() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, mut link) = bridge.open(&upstream, "/a");
    let identifier = r#"{ "room":1.0, "channel":"Ch\u0061tChannel" }"#;

    bridge.subscribe("/a", identifier);

    assert_eq!(link.expect_command().identifier, identifier);
}

#[test]
fn an_identifier_with_line_breaks_goes_upstream_with_spaces_in_their_place() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");
    let spaced = "{  \"channel\":  \"ChatChannel\" }";

    bridge.subscribe("/a", "{\r\n\"channel\":\n\n\"ChatChannel\"\r}");
    link.subscribed(spaced);

    assert_eq!(stream.expect("connected").raw("identifier"), spaced);
}

#[test]
fn the_object_in_send_is_sent_upstream_as_a_json_string_of_its_text() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    let data =
        r#"{ "action":"speak", "n":1e400, "text":"\u00e9", "b":1, "a":12345678901234567890 }"#;

    bridge.act("/a", &[send(CHAT, data)]);

    assert_eq!(link.expect_send(CHAT), data);
}

#[test]
fn a_channel_that_was_left_and_is_subscribed_again_has_another_chan_id() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, _link) = bridge.open(&upstream, "/a");

    let first = bridge.subscribe("/a", CHAT);
    bridge.act("/a", &[unsubscribe(CHAT)]);

    assert_ne!(bridge.subscribe("/a", CHAT), first);
}

#[test]
fn two_channels_and_two_sessions_have_ids_of_their_own() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (one, _link) = bridge.open(&upstream, "/a");
    let (two, _other) = bridge.open(&upstream, "/b");

    let ids = [bridge.subscribe("/a", CHAT), bridge.subscribe("/a", ROOM)];

    assert_ne!(ids[0], ids[1]);
    assert_ne!(bridge.subscribe("/b", CHAT), ids[0]);
    assert_ne!(one.session_id(), two.session_id());
}

#[test]
fn the_session_id_of_a_path_is_another_each_time() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (first, _link) = bridge.open(&upstream, "/a");
    bridge.delete("/a").send();

    let (second, _other) = bridge.open(&upstream, "/a");

    assert_ne!(first.session_id(), second.session_id());
}

#[test]
fn msg_id_counts_up_by_one_over_all_types_that_have_one() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    link.message(CHAT, "1");
    bridge.subscribe("/a", ROOM);
    link.expect_subscribe(ROOM);
    let first: u64 = stream.expect("received").text("msg_id").parse().unwrap();
    link.reject(ROOM);
    let second = stream.expect("rejected").text("msg_id");
    link.close(1000, "");
    let third = message_of(&mut stream, "disconnected").text("msg_id");

    assert_eq!([second, third], [first + 1, first + 2].map(|id| id.to_string()));
}

#[test]
fn a_joined_has_no_msg_id() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").sse().begin();
    let _link = upstream.welcome();

    assert!(!asked.stream().expect_joined().has("msg_id"));
}

#[test]
fn time_is_rfc_3339_in_utc() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    link.message(CHAT, "1");

    let time = stream.expect("received").text("time");
    assert!(time.ends_with('Z'), "{time}");
    let age = SystemTime::now().duration_since(humantime::parse_rfc3339(&time).unwrap());
    assert!(age.unwrap() < PATIENCE);
}

#[test]
fn session_id_is_left_out_of_the_messages_of_a_long_poll() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);

    link.message(CHAT, "1");

    let keys = ["chan_id", "identifier", "message", "msg_id", "time", "type"];
    assert_eq!(bridge.get("/a").poll().messages[0].keys(), keys);
}
