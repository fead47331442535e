//! The stream: its head, its form, its order, its signs of life.

use crate::support::*;

#[test]
fn a_stream_is_a_200_with_the_type_of_an_event_stream() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let (stream, _link) = bridge.open(&upstream, "/a");

    assert_eq!(stream.head.status, 200);
    assert_eq!(stream.head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(stream.head.header("content-length"), None);
}

#[test]
fn a_stream_is_chunked_and_ends_with_its_connection() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let (mut stream, link) = bridge.open(&upstream, "/a");

    assert_eq!(stream.head.header("transfer-encoding"), Some("chunked"));
    // With it some clients take a cut for the end of the body.
    assert_eq!(stream.head.header("connection"), None);
    bridge.delete("/a").send();
    stream.until_end();
    assert!(stream.is_whole());
    assert!(stream.is_closed());
    drop(link);
}

#[test]
fn a_stream_names_no_server_software() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let (stream, _link) = bridge.open(&upstream, "/a");

    assert_eq!(stream.head.header("server"), None);
}

#[test]
fn retry_2000_is_the_first_line_of_a_stream() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").sse().begin();
    let _link = upstream.welcome();

    assert_eq!(asked.stream().line().as_deref(), Some("retry: 2000"));
}

#[test]
fn messages_are_unnamed_events_of_one_data_line_each() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    link.message(CHAT, "{\"a\":\n\"b\"}");

    let event = stream.next();
    assert_eq!((event.event, event.data_lines), (None, 1));
}

#[test]
fn every_event_has_an_id() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "2s"]);
    let asked = bridge.get("/a").sse().begin();
    let mut link = upstream.welcome();
    let mut stream = asked.stream();
    bridge.subscribe("/a", CHAT);
    link.subscribed(CHAT);
    link.close(1000, "");

    let names = ["message", "message", "upstream", "message", "heartbeat"];
    let events: Vec<Event> = names.iter().map(|_| stream.next()).collect();

    assert!(events.iter().all(|event| event.id.as_ref().is_some_and(|id| !id.is_empty())));
    assert!(events.iter().any(|event| event.name() == "upstream"), "{events:?}");
}

#[test]
fn padding_sends_so_many_bytes_of_comment_before_joined() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a?padding=3000").sse().begin();
    let _link = upstream.welcome();

    let mut stream = asked.stream();
    stream.expect_joined();
    assert!(padding(&stream) >= 2990 && padding(&stream) <= 3010, "{}", padding(&stream));
}

#[test]
fn padding_is_clamped_to_64_kib() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a?padding=99999999999999999999").sse().begin();
    let _link = upstream.welcome();

    let mut stream = asked.stream();
    stream.expect_joined();
    assert!(padding(&stream) >= 65_500 && padding(&stream) <= 65_600, "{}", padding(&stream));
}

fn padding(stream: &Stream) -> usize {
    // With the colon, the space and the line break that each comment has.
    stream.comments.iter().map(|comment| comment.len() + 3).sum()
}

#[test]
fn a_padding_that_is_no_whole_number_is_a_400() {
    let bridge = Bridge::start(&FakeUpstream::start());

    for padding in ["", "x", "-1", "1.5"] {
        bridge.get(&format!("/a?padding={padding}")).sse().send().refused(400);
    }
}

#[test]
fn a_quiet_stream_has_heartbeats_with_empty_data() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "200ms"]);
    let (mut stream, _link) = bridge.open(&upstream, "/a");

    for _ in 0..2 {
        let event = stream.next();
        assert_eq!((event.name(), event.data.as_str()), ("heartbeat", "{}"));
    }
}

#[test]
fn the_pings_of_the_upstream_are_not_told() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    link.ping();
    link.message(CHAT, "1");

    assert_eq!(stream.received(), "1");
}

#[test]
fn a_stream_of_http_1_0_is_served() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.raw("GET /a HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
    let _link = upstream.welcome();

    asked.stream().expect_joined();
}

#[test]
fn messages_arrive_in_the_order_in_which_they_were_sent() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    for n in 0..500 {
        link.message(CHAT, &n.to_string());
    }

    for n in 0..500 {
        assert_eq!(stream.received(), n.to_string());
    }
}

#[test]
fn messages_of_fifty_sessions_at_once_all_arrive_in_order() {
    let upstream = Auto::start();
    let bridge = Bridge::at(&upstream.url(), &[]);
    let mut streams: Vec<Stream> = (0..50)
        .map(|n| {
            let mut stream = bridge.get(&format!("/{n}")).sse().stream();
            stream.expect_joined();
            bridge.subscribe(&format!("/{n}"), CHAT);
            stream.expect("connected");
            stream
        })
        .collect();

    for n in 0..20 {
        upstream.broadcast(CHAT, &n.to_string());
    }

    for stream in &mut streams {
        let received: Vec<String> = (0..20).map(|_| stream.received()).collect();
        assert!(received.iter().enumerate().all(|(n, message)| *message == n.to_string()));
    }
}
