//! POST: what is asked of the upstream, in which order, and what cannot be done.

use crate::support::*;

const REJECTED: &str = r#"{"channel":"RejectedChannel"}"#;
const SPEAK: &str = r#"{"action":"speak"}"#;

fn joined() -> (Bridge, Stream, Link) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (stream, link) = bridge.open(&upstream, "/a");
    (bridge, stream, link)
}

/// A session with one confirmed channel.
fn subscribed() -> (Bridge, Stream, Link) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (stream, link) = bridge.open_with(&upstream, "/a", CHAT);
    (bridge, stream, link)
}

/// Posts one item, which cannot be done.
fn fails(bridge: &Bridge, item: &str) -> String {
    let answer = bridge.act("/a", &[item.to_owned()]).remove(0);
    let error = answer.text("error");
    assert!(!error.is_empty());
    error
}

fn assert_done(answer: &Json) {
    assert_eq!(answer.raw("error"), "null");
}

#[test]
fn each_request_is_answered_in_order() {
    let (bridge, stream, _link) = joined();

    let answers = bridge.act("/a", &[subscribe(CHAT), subscribe(ROOM), send(CHAT, SPEAK)]);

    assert_eq!(answers.len(), 3);
    for answer in &answers {
        assert_eq!(answer.keys(), ["chan_id", "error", "session_id"]);
        assert_eq!(answer.text("session_id"), stream.session_id());
        assert_done(answer);
    }
    assert_eq!(answers[0].text("chan_id"), answers[2].text("chan_id"));
    assert_ne!(answers[0].text("chan_id"), answers[1].text("chan_id"));
}

#[test]
fn an_answer_is_json() {
    let (bridge, _stream, _link) = joined();

    let response = bridge.post("/a", &format!("[{}]", subscribe(CHAT))).send();

    assert_eq!(response.header("content-type"), Some("application/json"));
}

#[test]
fn where_one_request_cannot_be_done_the_others_are() {
    let (bridge, _stream, mut link) = joined();

    let answers = bridge.act("/a", &[send(ROOM, SPEAK), subscribe(CHAT)]);

    assert!(!answers[0].text("error").is_empty());
    assert_eq!(answers[0].raw("chan_id"), "null");
    assert_done(&answers[1]);
    link.expect_subscribe(CHAT);
}

#[test]
fn the_content_type_is_not_looked_at() {
    let (bridge, _stream, _link) = joined();

    for kind in ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "nonsense"] {
        let request = bridge.post("/a", &format!("[{}]", subscribe(CHAT)));
        request.header("Content-Type", kind).send().done();
    }
}

#[test]
fn an_item_needs_exactly_one_of_the_three() {
    let (bridge, _stream, _link) = subscribed();

    for rest in [
        "",
        r#","subscribe":true,"unsubscribe":true"#,
        r#","subscribe":true,"send":{}"#,
        r#","unsubscribe":true,"send":{}"#,
        r#","subscribe":false"#,
        r#","subscribe":null,"send":null"#,
    ] {
        fails(&bridge, &format!(r#"{{"identifier":{CHAT}{rest}}}"#));
    }
}

#[test]
fn false_and_null_count_as_absent_and_other_keys_are_ignored() {
    let (bridge, _stream, mut link) = joined();

    let item = format!(
        r#"{{"x":[1],"send":null,"identifier":{CHAT},"unsubscribe":false,"subscribe":true,"y":1}}"#
    );
    assert_done(&bridge.act("/a", &[item])[0]);

    link.expect_subscribe(CHAT);
}

#[test]
fn a_value_of_another_type_is_an_error_of_the_item() {
    let (bridge, _stream, _link) = subscribed();

    for rest in [
        r#""subscribe":1"#,
        r#""subscribe":"true""#,
        r#""unsubscribe":{}"#,
        r#""send":[]"#,
        r#""send":"text""#,
        r#""send":true"#,
    ] {
        fails(&bridge, &format!(r#"{{"identifier":{CHAT},{rest}}}"#));
    }
}

#[test]
fn an_identifier_is_an_object_with_a_string_channel() {
    let (bridge, _stream, _link) = joined();

    for identifier in [
        "null",
        "1",
        "[]",
        r#""ChatChannel""#,
        r#""{\"channel\":\"ChatChannel\"}""#,
        "{}",
        r#"{"room":1}"#,
        r#"{"channel":1}"#,
        r#"{"channel":null}"#,
    ] {
        let error = fails(&bridge, &subscribe(identifier));
        assert!(error.contains("channel") || error.contains("identifier"), "{error}");
    }
}

#[test]
fn an_item_that_is_no_object_is_an_error_of_the_item() {
    let (bridge, _stream, mut link) = joined();

    let items = ["1", "null", "[]", "\"x\"", "{}"].map(str::to_owned);
    let answers = bridge.act("/a", &[items.as_slice(), &[subscribe(CHAT)]].concat());

    assert!(answers[..5].iter().all(|answer| !answer.text("error").is_empty()));
    assert_done(&answers[5]);
    link.expect_subscribe(CHAT);
}

#[test]
fn error_null_means_taken_and_connected_arrives_as_a_message() {
    let (bridge, mut stream, mut link) = joined();

    assert_done(&bridge.act("/a", &[subscribe(CHAT)])[0]);

    link.subscribed(CHAT);
    stream.expect("connected");
}

#[test]
fn subscribing_twice_returns_the_same_chan_id_and_sends_nothing_upstream() {
    let (bridge, _stream, mut link) = joined();

    let first = bridge.subscribe("/a", CHAT);
    let second = bridge.subscribe("/a", CHAT);

    assert_eq!(first, second);
    bridge.subscribe("/a", ROOM);
    link.expect_subscribe(CHAT);
    link.expect_subscribe(ROOM);
}

#[test]
fn a_channel_that_is_confirmed_already_is_told_as_connected_once_more() {
    let (bridge, mut stream, mut link) = subscribed();

    let chan_id = bridge.subscribe("/a", CHAT);

    assert_eq!(stream.expect("connected").text("chan_id"), chan_id);
    bridge.subscribe("/a", ROOM);
    link.expect_subscribe(ROOM);
}

#[test]
fn the_order_of_keys_and_the_escapes_do_not_make_another_channel() {
    let (bridge, _stream, mut link) = joined();
    let spellings = [
        r#"{"channel":"Café","room":[1,{"a":"x","b":null}]}"#,
        r#"{"room":[1,{"b":null,"a":"\u0078"}],"channel":"Caf\u00e9"}"#,
        r#" { "ch\u0061nnel" : "Café" , "room" : [ 1 , { "a" : "x" , "b" : null } ] } "#,
    ];

    let ids = spellings.map(|spelling| bridge.subscribe("/a", spelling));

    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    bridge.subscribe("/a", ROOM);
    link.expect_subscribe(spellings[0]);
    link.expect_subscribe(ROOM);
}

#[test]
fn the_spelling_of_numbers_and_the_order_of_arrays_make_another_channel() {
    let (bridge, _stream, _link) = joined();
    let rooms = ["1", "1.0", "1e0", "\"1\"", "[1,2]", "[2,1]", "12345678901234567890"];

    let mut ids = rooms.map(|room| {
        bridge.subscribe("/a", &format!(r#"{{"channel":"RoomChannel","room":{room}}}"#))
    });
    ids.sort();

    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_message_for_another_spelling_of_the_identifier_is_told_in_the_clients_own() {
    let (bridge, mut stream, mut link) = joined();
    let own = r#"{"channel":"RoomChannel","room":"é"}"#;
    bridge.subscribe("/a", own);
    link.expect_subscribe(own);

    link.message(r#"{"room":"\u00e9","channel":"RoomChannel"}"#, "1");

    assert_eq!(stream.expect("received").raw("identifier"), own);
}

#[test]
fn an_identifier_that_comes_back_with_other_escapes_in_its_string_is_the_same() {
    let (bridge, mut stream, mut link) = joined();
    let identifier = r#"{"channel":"RoomChannel","room":"<é>"}"#;
    bridge.subscribe("/a", identifier);
    link.expect_subscribe(identifier);

    let escaped = quote(identifier).replace('<', r"\u003c").replace('é', r"\u00e9");
    link.raw(&format!(r#"{{"identifier":{escaped},"message":1}}"#));

    assert_eq!(stream.expect("received").raw("identifier"), identifier);
}

#[test]
fn a_send_before_the_confirmation_follows_it_in_order() {
    let (bridge, _stream, mut link) = joined();

    bridge.act("/a", &[subscribe(CHAT), send(CHAT, r#"{"n":1}"#), send(CHAT, r#"{"n":2}"#)]);
    link.expect_subscribe(CHAT);
    link.settle();
    link.confirm(CHAT);

    assert_eq!(link.expect_send(CHAT), r#"{"n":1}"#);
    assert_eq!(link.expect_send(CHAT), r#"{"n":2}"#);
}

#[test]
fn a_send_that_is_held_does_not_go_before_the_confirmation() {
    let (bridge, _stream, mut link) = joined();
    bridge.act("/a", &[subscribe(CHAT), send(CHAT, SPEAK), subscribe(ROOM)]);

    link.expect_subscribe(CHAT);
    link.expect_subscribe(ROOM);
    link.confirm(CHAT);

    link.expect_send(CHAT);
}

#[test]
fn send_or_unsubscribe_for_a_channel_never_subscribed_is_an_error_of_the_item() {
    let (bridge, _stream, _link) = joined();

    for item in [send(CHAT, SPEAK), unsubscribe(CHAT)] {
        let answer = bridge.act("/a", &[item]).remove(0);
        assert!(!answer.text("error").is_empty());
        assert_eq!(answer.raw("chan_id"), "null");
    }
}

#[test]
fn send_after_a_rejection_is_an_error_of_the_item() {
    let (bridge, mut stream, mut link) = joined();
    bridge.subscribe("/a", REJECTED);
    link.expect_subscribe(REJECTED);
    link.reject(REJECTED);
    stream.expect("rejected");

    fails(&bridge, &send(REJECTED, SPEAK));
}

#[test]
fn sends_held_for_a_channel_that_is_rejected_are_dropped_and_counted() {
    let (bridge, mut stream, mut link) = joined();
    bridge.act("/a", &[subscribe(REJECTED), send(REJECTED, SPEAK), send(REJECTED, SPEAK)]);
    link.expect_subscribe(REJECTED);
    link.reject(REJECTED);

    assert_eq!(stream.expect("rejected").number("unsent"), 2);
    bridge.subscribe("/a", REJECTED);
    link.subscribed(REJECTED);
    bridge.subscribe("/a", CHAT);
    link.expect_subscribe(CHAT);
}

#[test]
fn unsubscribe_is_sent_and_its_messages_are_told_no_more() {
    let (bridge, mut stream, mut link) = subscribed();
    bridge.subscribe("/a", ROOM);
    link.subscribed(ROOM);
    stream.expect("connected");

    assert_done(&bridge.act("/a", &[unsubscribe(CHAT)])[0]);
    link.expect_unsubscribe(CHAT);

    link.message(CHAT, "1");
    link.message(ROOM, "2");
    assert_eq!(stream.received(), "2");
}

#[test]
fn unsubscribe_of_a_rejected_channel_is_done_and_sends_nothing() {
    let (bridge, mut stream, mut link) = joined();
    bridge.subscribe("/a", REJECTED);
    link.expect_subscribe(REJECTED);
    link.reject(REJECTED);
    stream.expect("rejected");

    assert_done(&bridge.act("/a", &[unsubscribe(REJECTED)])[0]);

    bridge.subscribe("/a", CHAT);
    link.expect_subscribe(CHAT);
}

#[test]
fn a_second_unsubscribe_is_an_error_of_the_item() {
    let (bridge, _stream, _link) = subscribed();
    assert_done(&bridge.act("/a", &[unsubscribe(CHAT)])[0]);

    fails(&bridge, &unsubscribe(CHAT));
}

#[test]
fn the_requests_of_one_post_reach_the_upstream_in_order() {
    let (bridge, _stream, mut link) = subscribed();

    let one = send(CHAT, r#"{"n":1}"#);
    let two = send(CHAT, r#"{"n":2}"#);
    bridge.act("/a", &[one, subscribe(ROOM), two, unsubscribe(CHAT), subscribe(CHAT)]);

    assert_eq!(link.expect_send(CHAT), r#"{"n":1}"#);
    link.expect_subscribe(ROOM);
    assert_eq!(link.expect_send(CHAT), r#"{"n":2}"#);
    link.expect_unsubscribe(CHAT);
    link.expect_subscribe(CHAT);
}

#[test]
fn the_requests_of_posts_sent_one_after_the_other_reach_the_upstream_in_order() {
    let (bridge, _stream, mut link) = subscribed();

    for n in 0..100 {
        bridge.act("/a", &[send(CHAT, &format!(r#"{{"n":{n}}}"#))]);
    }

    for n in 0..100 {
        assert_eq!(link.expect_send(CHAT), format!(r#"{{"n":{n}}}"#));
    }
}

#[test]
fn no_such_session_is_404() {
    let bridge = Bridge::start(&FakeUpstream::start());

    bridge.post("/a", &format!("[{}]", subscribe(CHAT))).send().refused(404);
}

#[test]
fn a_body_that_is_no_json_array_is_400_with_line_and_column() {
    let (bridge, _stream, _link) = joined();

    for (body, line, column) in
        [("[\n  {]", 2, 4), ("", 1, 0), ("[1,]", 1, 4), ("{}", 1, 0), ("[]x", 1, 3)]
    {
        let error = bridge.post("/a", body).send().refused(400);
        assert!(error.contains(&format!("line {line}")), "{body:?}: {error}");
        assert!(error.contains(&format!("column {column}")), "{body:?}: {error}");
    }
}

#[test]
fn an_empty_array_is_400() {
    let (bridge, _stream, _link) = joined();

    bridge.post("/a", "[]").send().refused(400);
}

#[test]
fn a_body_that_is_no_utf_8_is_400() {
    let (bridge, _stream, _link) = joined();

    let request = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n[\"\xff]";

    bridge.raw(request).response().refused(400);
}

#[test]
fn a_body_nested_without_end_is_400() {
    let (bridge, _stream, _link) = joined();

    bridge.post("/a", &"[".repeat(100_000)).send().refused(400);
}

#[test]
fn a_body_of_max_body_is_taken_and_one_byte_more_is_413() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-body", "1000"]);
    let (_stream, _link) = bridge.open(&upstream, "/a");
    let body = format!("[{}]", subscribe(CHAT));

    bridge.post("/a", &format!("{body:1000}")).send().done();
    bridge.post("/a", &format!("{body:1001}")).send().refused(413);
}

#[test]
fn max_body_is_a_mebibyte_by_default() {
    let (bridge, _stream, _link) = joined();
    let body = format!("[{}]", subscribe(CHAT));
    let spaces = " ".repeat((1 << 20) - body.len());

    bridge.post("/a", &format!("{body}{spaces}")).send().done();
    bridge.post("/a", &format!("{body}{spaces} ")).send().refused(413);
}

#[test]
fn a_chunked_body_is_taken() {
    let (bridge, _stream, mut link) = joined();
    let item = subscribe(CHAT);

    let request = format!(
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         1\r\n[\r\n{:x};ext=1\r\n{item}\r\n1\r\n]\r\n0\r\nTrailer: x\r\n\r\n",
        item.len()
    );
    bridge.raw(request).response().done();

    link.expect_subscribe(CHAT);
}

#[test]
fn a_client_that_waits_for_a_100_is_told_to_go_on() {
    let (bridge, _stream, _link) = joined();
    let body = format!("[{}]", subscribe(CHAT));
    let head = format!(
        "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );

    let mut asked = bridge.raw(head);
    assert_eq!(asked.head().status, 100);
    asked.more(body.as_bytes()).unwrap();

    asked.response().done();
}
