//! Clients that are no browsers' EventSource: what they may spell differently, and what they are told.

use crate::support::*;

/// It has the form of an event id, and no bridge wrote it.
const UNKNOWN_ID: &str = "00112233445566778899aabbccddeeff.7";

fn with(request: Request, headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

#[test]
fn last_event_id_in_the_query_resumes_where_the_header_would_and_is_not_handed_on() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
    link.message(CHAT, "2");

    let target = format!("/a?lastEventId={}&after=0&token=t", stream.last_id);
    let mut again = bridge.get(&target).sse().stream();

    assert!(again.expect_joined().flag("resumed"));
    assert_eq!(again.received(), "2");
    link.cut();
    let other = bridge.get(&format!("/b?lastEventId={UNKNOWN_ID}&token=t")).sse().begin();
    let targets = [upstream.accept(), upstream.accept()].map(|l| l.handshake.target().to_owned());
    assert!(targets.contains(&"/cable?token=t".to_owned()), "{targets:?}");
    assert!(targets.iter().all(|target| !target.contains("lastEventId")), "{targets:?}");
    drop(other);
}

#[test]
fn last_event_id_in_the_query_counts_as_one_that_comes_back() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get(&format!("/a?lastEventId={UNKNOWN_ID}")).sse().begin();
    upstream.accept().answer(404);

    asked.stream().expect_joined();
}

#[test]
fn what_has_not_the_form_of_an_event_id_is_none_and_does_not_come_back() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for (target, header) in [
        ("/a", Some("")),
        ("/a", Some("null")),
        ("/a", Some("17")),
        ("/a?lastEventId=", None),
        ("/a?lastEventId=undefined", None),
    ] {
        let request = bridge.get(target).sse();
        let request = header.into_iter().fold(request, |r, id| r.header("Last-Event-ID", id));
        let asked = request.begin();
        upstream.accept().answer(401);
        let error = asked.response().refused(403);
        assert!(error.contains("401"), "{target} {header:?}: {error}");
    }
}

#[test]
fn a_malformed_last_event_id_leaves_after_its_say() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    link.message(CHAT, "1");
    link.message(CHAT, "2");

    let poll = bridge.get("/a?after=0&lastEventId=").poll();

    assert!(poll.json.has("last_event_id"));
}

#[test]
fn an_event_stream_names_its_charset() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let (stream, _link) = bridge.open(&upstream, "/a");

    let kind = stream.head.header("content-type");
    assert_eq!(kind, Some("text/event-stream; charset=utf-8"));
}

#[test]
fn a_byte_order_mark_before_the_body_of_a_post_is_skipped() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, mut link) = bridge.open(&upstream, "/a");

    let body = format!("\u{feff}[{}]", subscribe(CHAT));
    bridge.post("/a", &body).send().done();

    link.expect_subscribe(CHAT);
}

#[test]
fn a_client_that_sends_text_html_by_itself_is_told_of_accept() {
    let bridge = Bridge::start(&FakeUpstream::start());

    // What Java's HttpURLConnection sends.
    let accept = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2";
    let error = bridge.get("/a").header("Accept", accept).send().refused(406);

    assert!(error.contains("Accept"), "{error}");
}

#[test]
fn several_cookie_headers_go_up_as_one() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let request = bridge.get("/a").sse().header("Cookie", "a=1").header("Cookie", "b=2; c=3");
    let _asked = request.begin();

    let link = upstream.accept();
    assert_eq!(link.handshake.all("Cookie"), [b"a=1; b=2; c=3"]);
}

#[test]
fn a_poll_with_a_forced_reply_says_that_it_lives() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "100ms"]);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);

    let mut asked = bridge.get("/a?timeout=60").begin();
    let head = asked.head();
    assert_eq!(head.status, 200);
    link.message(CHAT, "1");

    let rest = asked.rest_of(&head);
    assert!(rest.contains("\"message\":1"), "{rest}");
}

#[test]
fn a_poll_that_said_something_answers_what_there_is_when_its_session_ends() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "100ms"]);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    let mut asked = bridge.get("/a?timeout=60").begin();
    let head = asked.head();
    assert_eq!(head.status, 200);

    link.disconnect("unauthorized", Some(false));

    let rest = asked.rest_of(&head);
    assert!(rest.contains("\"messages\":[]") && rest.contains("unauthorized"), "{rest}");
}

#[test]
fn what_an_element_of_a_page_loads_opens_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for (headers, status) in [
        (&[("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")][..], 403),
        (&[("Sec-Fetch-Mode", "no-cors"), ("Accept", "text/event-stream")], 403),
        (&[("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "script")], 403),
        (&[("Sec-Fetch-Dest", "style"), ("Sec-Fetch-Site", "same-origin")], 403),
        (&[("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe")], 406),
        (&[("Accept", "image/avif,image/webp,*/*;q=0.8")], 403),
        (&[("Accept", "text/css,*/*;q=0.1")], 403),
        (&[("Accept", "Video/webm;q=0.9, */*")], 403),
        (&[("Accept", "*/*, audio/ogg")], 403),
        (&[("Accept", "text/html, image/png")], 406),
    ] {
        with(bridge.get("/a"), headers).send().refused(status);
    }

    let _marker = bridge.get("/a?token=marker").sse().begin();
    assert_eq!(upstream.accept().handshake.target(), "/cable?token=marker");
}

#[test]
fn what_a_script_fetches_is_a_client_whatever_it_accepts() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for (path, headers) in [
        ("/a", &[("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")][..]),
        ("/b", &[("Sec-Fetch-Mode", "cors"), ("Accept", "image/png, text/event-stream")]),
        ("/c", &[("Sec-Fetch-Dest", "empty")]),
    ] {
        let asked = with(bridge.get(path).sse(), headers).begin();
        let _link = upstream.welcome();
        asked.stream().expect_joined();
    }
}

#[test]
fn the_bridges_own_pages_are_for_every_element() {
    let bridge = Bridge::start(&FakeUpstream::start());

    let headers = [("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "script")];
    let response = with(bridge.get("/-/client.js"), &headers).send();

    assert_eq!(response.status, 200);
}

#[test]
fn the_transport_varies_by_origin_also_where_none_came() {
    let bridge = Bridge::start(&FakeUpstream::start());

    for path in ["/-/client.js", "/-/client.mjs"] {
        let plain = bridge.get(path).send();
        let foreign = bridge.get(path).header("Origin", "https://a.example").send();

        for response in [plain, foreign] {
            let vary = response.headers.iter().filter(|(name, _)| name == "vary").count();
            assert_eq!((response.header("vary"), vary), (Some("Origin"), 1), "{path}");
        }
    }
}

#[test]
fn a_stream_is_chunked_and_ends_with_the_last_chunk_when_its_session_does() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");
    assert_eq!(stream.head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(stream.head.header("content-length"), None);

    link.disconnect("unauthorized", Some(false));

    stream.expect_upstream("disconnected");
    stream.expect_end();
    assert!(stream.is_whole());
}

#[test]
fn a_stream_that_is_replaced_ends_with_the_last_chunk() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, _link) = bridge.open(&upstream, "/a");
    let _next = bridge.get("/a").sse().header("Last-Event-ID", &stream.last_id).stream();

    stream.expect_named("replaced");
    stream.expect_end();

    assert!(stream.is_whole());
}

#[test]
fn a_drain_is_no_orderly_end() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, _link) = bridge.open(&upstream, "/a");

    bridge.signal(rustix::process::Signal::TERM);

    stream.expect_end();
    assert!(stream.retry.is_some());
    assert!(!stream.is_whole());
}

#[test]
fn a_stream_that_finds_no_room_is_no_orderly_end_either() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-sessions", "1"]);
    let (_stream, _link) = bridge.open(&upstream, "/a");

    let mut refused = bridge.get("/b").sse().stream();

    refused.expect_end();
    assert!(refused.retry.is_some());
    assert!(!refused.is_whole());
}

#[test]
fn to_http_1_0_nothing_is_chunked() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.raw("GET /a HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    let _link = upstream.welcome();
    let mut stream = asked.stream();

    assert_eq!(stream.head.header("transfer-encoding"), None);
    stream.expect_joined();
}

#[test]
fn each_write_is_one_chunk() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let mut asked = bridge.get("/a?padding=10").sse().begin();
    let _link = upstream.welcome();
    assert_eq!(asked.head().status, 200);

    let mut size = String::new();
    while !size.ends_with("\r\n") {
        size.push(char::from(asked.bytes(1)[0]));
    }
    let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
    let chunk = String::from_utf8(asked.bytes(size)).unwrap();

    assert!(chunk.starts_with("retry: 2000\n\n:"), "{chunk}");
    assert!(chunk.contains("\"type\":\"joined\"") && chunk.ends_with("\n\n"), "{chunk}");
    assert_eq!(asked.bytes(2), b"\r\n");
}

#[test]
fn a_poll_that_said_something_keeps_its_connection() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "100ms"]);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);

    let mut asked = bridge.get("/a?timeout=60").begin();
    assert!(asked.has_answer_within(PATIENCE), "no sign of life");
    link.message(CHAT, "1");
    let first = asked.next_response();
    assert_eq!(first.header("transfer-encoding"), Some("chunked"));
    assert!(first.text().starts_with(' '), "{}", first.text());
    asked.more(b"GET /-/health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();

    assert_eq!(asked.next_response().text(), "ok\n");
}

#[test]
fn a_connection_rests_for_as_long_as_idle_timeout_says() {
    let bridge = Bridge::with(&FakeUpstream::start(), &["--idle-timeout", "300ms"]);
    let start = std::time::Instant::now();
    let mut asked = bridge.get("/-/health").begin();
    assert_eq!(asked.next_response().status, 200);

    assert_eq!(asked.rest(), "");

    assert!(start.elapsed() >= std::time::Duration::from_millis(300), "{:?}", start.elapsed());
}

#[test]
fn the_metrics_come_by_whatever_name() {
    let (upstream, admin) = (FakeUpstream::start(), Place::new("any-host"));
    let _bridge = Bridge::with(&upstream, &["--admin", &admin.address()]);

    let answer = admin.get("/metrics");

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
