//! Bad JSON in a POST: a 400 or an error of the item, and nobody is disturbed.

use std::time::Duration;

use crate::support::*;

fn expect_alive(bridge: &mut Bridge, stream: &mut Stream, link: &mut Link) {
    bridge.act("/a", &[send(CHAT, r#"{"marker":1}"#)]);
    assert_eq!(link.expect_send(CHAT), r#"{"marker":1}"#);
    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
    assert!(bridge.lives());
}

/// The error of the only item.
fn error_of(bridge: &Bridge, item: &str) -> String {
    let answer = bridge.act("/a", &[item.to_owned()]).remove(0);
    answer.text("error")
}

#[test]
fn nesting_of_100_000_is_a_400_or_an_error_of_the_item() {
    let (_, mut bridge, mut stream, mut link) = opened(&[]);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));

    for body in [
        deep.clone(),
        format!("[{objects}]"),
        format!(r#"[{{"identifier":{deep},"subscribe":true}}]"#),
        format!(r#"[{{"identifier":{{"channel":{deep}}},"subscribe":true}}]"#),
        format!(r#"[{{"identifier":{{"channel":"C","x":{objects}}},"subscribe":true}}]"#),
        format!(r#"[{{"identifier":{CHAT},"subscribe":{deep}}}]"#),
        "[".repeat(500_000),
    ] {
        // Patient, since a build for tests is slow at it.
        let response = bridge.post("/a", &body).begin().patient(Duration::from_secs(30)).response();
        assert!(matches!(response.status, 200 | 400), "{}", response.status);
    }

    // One that is an identifier like any other may have been taken.
    settle_commands(&bridge, &mut link);
    assert!(bridge.lives());
    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
}

#[test]
fn ten_megabytes_are_413_and_ten_that_are_allowed_are_read() {
    let data = format!(r#"{{"x":{}}}"#, quote(&"x".repeat(10 << 20)));
    let body = format!("[{}]", send(CHAT, &data));
    let (_, mut bridge, mut stream, mut link) = opened(&[]);
    bridge.post("/a", &body).send_too_much().refused(413);
    expect_alive(&mut bridge, &mut stream, &mut link);

    let (_, mut bridge, mut stream, mut link) = opened(&["--max-body", "20000000"]);
    // It is answered once it has gone up, which the upstream has to read.
    let asked = bridge.post("/a", &body).begin();
    assert!(link.expect_send(CHAT) == data);
    asked.response().done();
    expect_alive(&mut bridge, &mut stream, &mut link);
}

#[test]
fn ten_thousand_items_are_answered_and_one_more_is_a_400() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, _link) = bridge.open(&upstream, "/a");
    let post = |items| bridge.post("/a", &format!("[{}]", vec!["{}"; items].join(","))).send();

    let taken = post(10_000);

    assert_eq!(taken.status, 200);
    assert_eq!(taken.text().matches(r#""error":""#).count(), 10_000);
    post(10_001).refused(400);
}

#[test]
fn half_a_million_items_in_a_megabyte_do_not_cost_hundreds() {
    let (_, mut bridge, mut stream, mut link) = opened(&[]);

    let body = format!("[{}]", vec!["1"; 500_000].join(","));
    let response = bridge.post("/a", &body).begin().patient(Duration::from_secs(30)).response();

    assert!(matches!(response.status, 200 | 400 | 413), "{}", response.status);
    let peak = bridge.peak_kib();
    assert!(peak < 150_000, "{peak} KiB");
    expect_alive(&mut bridge, &mut stream, &mut link);
}

#[test]
fn a_key_that_comes_twice_is_an_error_of_the_item_or_counts_once() {
    let (_, mut bridge, mut stream, mut link) = opened(&[]);

    for item in [
        format!(r#"{{"identifier":{CHAT},"identifier":{ROOM},"unsubscribe":true}}"#),
        format!(r#"{{"identifier":{CHAT},"subscribe":false,"subscribe":true}}"#),
        format!(r#"{{"identifier":{CHAT},"send":{{}},"send":{{}}}}"#),
    ] {
        assert!(!error_of(&bridge, &item).is_empty(), "{item}");
    }

    expect_alive(&mut bridge, &mut stream, &mut link);
}

#[test]
fn a_key_that_comes_twice_in_what_is_handed_on_is_handed_on() {
    let (_, bridge, _stream, mut link) = opened(&[]);

    bridge.act("/a", &[send(CHAT, r#"{"a":1,"a":2}"#)]);

    assert_eq!(link.expect_send(CHAT), r#"{"a":1,"a":2}"#);
}

#[test]
fn lone_surrogates_are_an_error_or_are_handed_on_as_they_came() {
    let (_, mut bridge, mut stream, mut link) = opened(&[]);
    let data = r#"{"a":"\ud800"}"#;

    bridge.act("/a", &[send(CHAT, data)]);
    assert_eq!(link.expect_send(CHAT), data);
    let in_channel = r#"{"identifier":{"channel":"\ud800"},"subscribe":true}"#;
    bridge.act("/a", &[in_channel.to_owned(), r#"{"\udc00":1}"#.to_owned()]);
    settle_commands(&bridge, &mut link);

    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
    assert!(bridge.lives());
}

/// Reads every command up to a marker.
fn settle_commands(bridge: &Bridge, link: &mut Link) {
    bridge.act("/a", &[send(CHAT, r#"{"marker":1}"#)]);
    while link.expect_command().data.as_deref() != Some(r#"{"marker":1}"#) {}
}

#[test]
fn bytes_that_are_no_utf_8_are_a_400_anywhere() {
    let (_, mut bridge, mut stream, mut link) = opened(&[]);

    for bad in [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\xaf"] {
        for (before, after) in [
            (r#"[{"identifier":{"channel":""#, r#""},"subscribe":true}]"#),
            (r#"[{"identifier":{"channel":"ChatChannel"},"send":{"a":""#, r#""}}]"#),
            ("", "[]"),
        ] {
            let body = [before.as_bytes(), bad, after.as_bytes()].concat();
            let head =
                format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
            bridge.raw([head.as_bytes(), &body].concat()).response().refused(400);
        }
    }

    expect_alive(&mut bridge, &mut stream, &mut link);
}

#[test]
fn wrong_types_in_every_place_are_errors_of_the_item() {
    let (_, mut bridge, mut stream, mut link) = opened(&[]);
    let values = ["7", "-1e999", "\"x\"", "[]", "[{}]", "1.5"];

    for value in values {
        for item in [
            value.to_owned(),
            format!(r#"{{"identifier":{value},"subscribe":true}}"#),
            format!(r#"{{"identifier":{{"channel":{}}},"subscribe":true}}"#, no_string(value)),
            format!(r#"{{"identifier":{CHAT},"subscribe":{value}}}"#),
            format!(r#"{{"identifier":{CHAT},"unsubscribe":{value}}}"#),
            format!(r#"{{"identifier":{CHAT},"send":{value}}}"#),
        ] {
            assert!(!error_of(&bridge, &item).is_empty(), "{item}");
        }
    }

    expect_alive(&mut bridge, &mut stream, &mut link);
}

/// A string would be a channel.
fn no_string(value: &str) -> &str {
    if value.starts_with('"') { "null" } else { value }
}

#[test]
fn what_is_no_json_array_is_a_400_whatever_it_is() {
    let (_, mut bridge, mut stream, mut link) = opened(&[]);

    for body in [
        "",
        " ",
        "null",
        "7",
        "\"x\"",
        "{}",
        "[",
        "]",
        "[,]",
        "[}",
        "[1",
        "[1 2]",
        "[1]]",
        "[1],",
        "[01]",
        "[NaN]",
        "['a']",
        "[\"\n\"]",
        "[\"\\x\"]",
        "[\"\\u12\"]",
        "[1e]",
        "// []",
    ] {
        bridge.post("/a", body).send().refused(400);
    }

    expect_alive(&mut bridge, &mut stream, &mut link);
}

#[test]
fn line_breaks_in_what_a_client_sends_are_no_lines_of_a_stream() {
    let (_, bridge, mut stream, mut link) = opened(&[]);
    let identifier = "{\"channel\":\n\"C\",\r\"x\":\"a\\r\\n\\nevent: evil\"}";

    bridge.act("/a", &[subscribe(identifier)]);
    let command = link.expect_command();
    assert!(!command.identifier.contains(['\r', '\n']));
    link.confirm(&command.identifier);

    let event = stream.next();
    assert_eq!((event.name(), event.data_lines), ("message", 1));
    assert_eq!(event.json().kind(), "connected");
}

#[test]
fn large_bodies_that_do_not_end_have_half_of_max_memory_together_and_small_ones_pass() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::alone(&upstream.url(), &["--max-memory", "134217728"]);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000001\r\n\r\n";
    let body = vec![b' '; 1_000_000];

    let slow: Vec<Asked> = (0..120)
        .map(|_| {
            let mut asked = bridge.raw(head);
            let _ = asked.more(&body);
            asked
        })
        .collect();
    wait_until(PATIENCE, || slow.iter().filter(|asked| !asked.is_waiting()).count() >= 50);
    let refused: Vec<Asked> = slow.into_iter().filter(|asked| !asked.is_waiting()).collect();

    expect_alive(&mut bridge, &mut stream, &mut link);
    assert!(refused.len() < 80, "{}", refused.len());
    for mut asked in refused {
        let answer = asked.rest();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After"), "{answer}");
    }
    let peak = bridge.peak_kib();
    assert!(peak < 160_000, "{peak} KiB");
}
