//! Requests that are cut, glued together or laden: nobody is disturbed, and nothing is handed on that was not meant.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use crate::support::*;

const HEALTH: &str = "GET /-/health HTTP/1.1\r\nHost: a\r\n\r\n";

fn expect_alive(bridge: &mut Bridge, stream: &mut Stream, link: &mut Link) {
    link.message(CHAT, "\"marker\"");
    assert_eq!(stream.received(), "\"marker\"");
    assert!(bridge.lives());
}

fn post(body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_request_that_is_cut_at_any_byte_does_nothing() {
    let (_upstream, mut bridge, mut stream, mut link) = opened(&[]);
    let request = post(&format!("[{}]", send(CHAT, r#"{"cut":1}"#)));

    for cut in 0..request.len() {
        let asked = bridge.raw(&request[..cut]);
        if cut % 2 == 0 { asked.abort() } else { drop(asked) }
    }

    bridge.act("/a", &[send(CHAT, r#"{"whole":1}"#)]);
    assert_eq!(link.expect_send(CHAT), r#"{"whole":1}"#);
    expect_alive(&mut bridge, &mut stream, &mut link);
}

#[test]
fn a_chunked_request_that_is_cut_at_any_byte_does_nothing() {
    let (_upstream, mut bridge, mut stream, mut link) = opened(&[]);
    let body = format!("[{}]", send(CHAT, r#"{"cut":1}"#));
    let (one, two) = body.split_at(20);
    let request = format!(
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );

    for cut in 0..request.len() {
        let asked = bridge.raw(&request[..cut]);
        if cut % 2 == 0 { asked.abort() } else { drop(asked) }
    }

    bridge.act("/a", &[send(CHAT, r#"{"whole":1}"#)]);
    assert_eq!(link.expect_send(CHAT), r#"{"whole":1}"#);
    expect_alive(&mut bridge, &mut stream, &mut link);
}

#[test]
fn a_request_whose_client_closed_its_sending_side_in_the_middle_is_answered_with_a_4xx_or_a_close()
{
    let (_upstream, mut bridge, mut stream, mut link) = opened(&[]);
    let request = post(&format!("[{}]", send(CHAT, "{}")));

    for cut in (1..request.len()).step_by(7) {
        let mut socket = TcpStream::connect(bridge.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&request.as_bytes()[..cut]).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        let _ = std::io::Read::read_to_string(&mut socket, &mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{cut}: {answer}");
    }

    expect_alive(&mut bridge, &mut stream, &mut link);
}

#[test]
fn a_request_that_comes_a_byte_at_a_time_is_served() {
    let (_upstream, bridge, _stream, mut link) = opened(&[]);
    let request = post(&format!("[{}]", send(CHAT, r#"{"slow":1}"#)));
    let mut asked = bridge.raw("");

    for byte in request.as_bytes() {
        asked.more(&[*byte]).unwrap();
    }

    asked.response().done();
    assert_eq!(link.expect_send(CHAT), r#"{"slow":1}"#);
}

#[test]
fn a_hundred_requests_in_one_breath_are_answered_in_order() {
    let (_upstream, bridge, _stream, mut link) = opened(&[]);
    let posts: Vec<String> =
        (0..100).map(|n| post(&format!("[{}]", send(CHAT, &format!(r#"{{"n":{n}}}"#))))).collect();

    let mut asked = bridge.raw(posts.concat());

    for n in 0..100 {
        asked.next_response().done();
        assert_eq!(link.expect_send(CHAT), format!(r#"{{"n":{n}}}"#));
    }
}

#[test]
fn a_request_behind_a_stream_on_its_connection_is_never_looked_at() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let head = "GET /a HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";
    let hidden = "DELETE /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let asked = bridge.raw(format!("{head}{hidden}"));
    let mut link = upstream.welcome();
    let mut stream = asked.stream();
    stream.expect_joined();

    bridge.subscribe("/a", CHAT);
    link.subscribed(CHAT);

    stream.expect("connected");
}

#[test]
fn an_expectation_is_met_with_100_before_the_body_is_sent() {
    let (_upstream, bridge, _stream, mut link) = opened(&[]);
    let body = format!("[{}]", send(CHAT, "{}"));
    let mut asked = bridge.raw(format!(
        "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));

    assert_eq!(asked.head().status, 100);
    asked.more(body.as_bytes()).unwrap();

    asked.response().done();
    link.expect_send(CHAT);
}

#[test]
fn an_expectation_over_max_body_is_413_without_the_body() {
    let (_upstream, bridge, _stream, _link) = opened(&[]);

    let head =
        "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n";
    let response = bridge.raw(format!("{head}\r\n")).response();

    response.refused(413);
}

#[test]
fn another_expectation_is_refused_or_passed_over() {
    let (_upstream, mut bridge, mut stream, mut link) = opened(&[]);

    let head = "GET /-/health HTTP/1.1\r\nHost: a\r\nExpect: the-unexpected\r\n\r\n";
    let status = bridge.raw(head).response().status;

    assert!(status == 200 || status == 417, "{status}");
    expect_alive(&mut bridge, &mut stream, &mut link);
}

#[test]
fn http_1_0_is_served_by_post_and_by_poll_and_closed() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    stream.leave();
    let body = format!("[{}]", send(CHAT, "{}"));

    let head = format!("POST /a HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = bridge.raw(head).rest();

    assert!(answer.contains(" 200 ") && answer.contains("\"error\":null"), "{answer}");
    link.expect_send(CHAT);
    let answer = bridge.raw("GET /a?timeout=1 HTTP/1.0\r\n\r\n").rest();
    assert!(answer.contains(" 200 ") && answer.contains("\"messages\""), "{answer}");
}

#[test]
fn head_is_answered_without_a_body_and_opens_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for (path, status) in [("/", 200), ("/-/health", 200), ("/-/none", 404), ("/a", 405)] {
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
        let mut asked = bridge.raw(format!("{head}{HEALTH}"));
        assert_eq!(asked.head().status, status, "{path}");
        // What follows is the next answer's head, not a body.
        assert_eq!(asked.next_response().status, 200, "{path}");
    }

    assert!(upstream.accept_within(std::time::Duration::ZERO).is_none());
}

/// Whatever reaches the upstream, as it is or as something else.
const HANDED_ON: [&str; 12] = [
    "Cookie",
    "Origin",
    "Referer",
    "Authorization",
    "User-Agent",
    "Accept-Language",
    "Host",
    "Forwarded",
    "X-Real-IP",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Anything",
];

#[test]
fn a_raw_line_break_in_a_header_is_never_handed_on() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for name in HANDED_ON {
        for value in ["a\rX-Evil: 1", "a\nX-Evil: 1", "a\r\n X-Evil: 1", "a\0b"] {
            let head = format!("GET /a HTTP/1.1\r\n{name}: {value}\r\nHost: a\r\n\r\n");
            let mut asked = bridge.raw(head);
            if let Some(link) = upstream.accept_within(std::time::Duration::from_millis(20)) {
                // A bare LF ends a line: what follows is a header of its own, which is handed on to nobody.
                assert!(link.handshake.all("X-Evil").is_empty(), "{name}: {value:?}");
                assert!(value.contains('\n'), "{name}: {value:?}");
                link.answer(503);
            } else {
                let answer = asked.rest();
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
            }
        }
    }
}

#[test]
fn percent_encoded_line_breaks_are_handed_on_as_they_are_written() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let request = bridge.get("/a?token=%0d%0aX-Evil:%201&%0a=%0d").sse();
    let request = request.header("Cookie", "c=%0d%0aX-Evil: 1");
    let _asked = request.header("Origin", "http://a%0d%0a.example").begin();

    let link = upstream.accept();

    assert_eq!(link.handshake.target(), "/cable?token=%0d%0aX-Evil:%201&%0a=%0d");
    assert_eq!(link.handshake.header("Cookie").as_deref(), Some("c=%0d%0aX-Evil: 1"));
    assert_eq!(link.handshake.header("Origin").as_deref(), Some("http://a%0d%0a.example"));
    assert!(link.handshake.all("X-Evil").is_empty());
}

#[test]
fn percent_encoded_line_breaks_in_a_header_stay_what_they_are() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let value = "https://a.example%0d%0aX-Evil:1";

    for (number, name) in HANDED_ON.iter().filter(|name| **name != "Host").enumerate() {
        let request = bridge.get(&format!("/{number}")).sse().header(name, value);
        let _asked = request.begin();
        let link = upstream.accept();

        assert!(link.handshake.all("X-Evil").is_empty(), "{name}");
        let came = if *name == "Referer" { "Origin" } else { name };
        let values = link.handshake.all(came);
        let due = value.as_bytes();
        // A Referer that is no address gives no Origin.
        let none = *name == "Referer" && values.is_empty();
        assert!(none || values.iter().any(|came| came.starts_with(due)), "{name}: {values:?}");
        // Its end for good: else it is tried again, and the next one is taken for it.
        link.answer(403);
    }
}

#[test]
fn a_path_with_encoded_line_breaks_and_quotes_is_no_line_of_the_stream() {
    for path in ["/%0d%0a%0aevent:%20evil", "/a\"b\\c", "/%22%5c", "/%ff%00", "/a\u{7f}"] {
        let upstream = FakeUpstream::start();
        let mut bridge = Bridge::start(&upstream);
        let mut asked = bridge.get(path).sse().begin();
        let Some(mut link) = upstream.accept_within(std::time::Duration::from_millis(500)) else {
            assert!(asked.rest().starts_with("HTTP/1.1 4"), "{path}");
            continue;
        };
        link.welcome();

        let joined = asked.stream().expect_joined();

        assert_eq!(joined.text("id"), path);
        assert!(bridge.lives());
    }
}

#[test]
fn a_last_event_id_with_anything_in_it_is_handed_on_to_nobody() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let request = bridge.get("/a").sse().header("Last-Event-ID", "x%0d%0aX-Evil: 1");
    let _asked = request.header("Cache-Control", "no-cache").begin();

    let link = upstream.accept();

    assert!(link.handshake.all("Last-Event-ID").is_empty());
    assert!(link.handshake.all("X-Evil").is_empty());
}

#[test]
fn what_a_client_sends_comes_back_in_no_header_as_a_line_of_its_own() {
    let bridge = Bridge::start(&FakeUpstream::absent());

    let request = bridge.get("/a").header("Origin", "http://a%0d%0aX-Evil:1");
    let response = request.send();

    assert_eq!(response.header("x-evil"), None);
    assert_eq!(response.header("access-control-allow-origin"), Some("http://a%0d%0aX-Evil:1"));
}
