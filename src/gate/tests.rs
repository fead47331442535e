//! The whole gate, from a client's socket to tiny_http and back: one request at a time here, what happens at
//! the limits and when something breaks in `crowd`.

mod corpus;
mod crowd;

use super::testing::*;
use super::*;

#[test]
fn a_request_goes_through_tiny_http_and_its_answer_comes_back() {
    let gate = Web::new().open();

    let got = Peer::sends(&gate, post("/echo", "body")).got();

    assert_eq!(got.line, "HTTP/1.1 200 OK");
    assert_eq!(got.body, "body");
    assert_eq!(got.header("X-From"), Some("http"));
    assert_eq!(got.header("Server"), None);
    assert_eq!(got.header("Connection"), None);
}

#[test]
fn a_connection_carries_one_request_after_another() {
    let gate = Web::new().open();
    let mut peer = Peer::connect(&gate);

    for round in 0..50 {
        let body = format!("round {round}");
        peer.send(post("/echo", &body));
        assert_eq!(peer.got().body, body);
    }
    assert_eq!(gate.connections(), 1);
}

#[test]
fn a_big_answer_comes_whole() {
    let gate = Web::new().open();

    assert_eq!(Peer::sends(&gate, get("/big")).got().body.len(), 300_000);
}

#[test]
fn a_head_request_gets_the_length_and_no_body() {
    let gate = Web::new().open();
    let mut peer = Peer::sends(&gate, "HEAD /big HTTP/1.1\r\nHost: test\r\n\r\n");

    let got = peer.got_head();
    assert_eq!(got.header("Content-Length"), Some("300000"));

    peer.send("HEAD /later HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(peer.got_head().header("Content-Length"), Some("5"));

    peer.send("HEAD / HTTP/1.1\r\nHost: test\r\nExpect: rain\r\n\r\n");
    assert_eq!(peer.got_head().status(), 417);
    assert!(peer.rest().is_empty());
}

#[test]
fn http_1_0_is_kept_only_where_asked() {
    let gate = Web::new().open();

    let mut once = Peer::sends(&gate, "GET / HTTP/1.0\r\n\r\n");
    let got = once.got();
    assert_eq!(got.line, "HTTP/1.0 200 OK");
    assert_eq!(got.header("Connection"), Some("close"));
    assert!(once.rest().is_empty());

    let mut kept = Peer::connect(&gate);
    for _ in 0..2 {
        kept.send("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!(kept.got().header("Connection"), Some("keep-alive"));
    }
}

#[test]
fn a_client_that_asks_for_the_close_gets_it() {
    let gate = Web::new().open();

    let mut peer =
        Peer::sends(&gate, "GET / HTTP/1.1\r\nHost: test\r\nConnection: te, Close\r\n\r\n");

    assert_eq!(peer.got().header("Connection"), Some("close"));
    assert!(peer.rest().is_empty());
}

#[test]
fn what_a_client_sends_steers_nothing_behind_the_gate() {
    let gate = Web::new().open();
    let mut peer = Peer::connect(&gate);

    for header in ["TE: chunked", "Connection: upgrade", "Upgrade: websocket", "X-Ticket: 1-1"] {
        peer.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{header}\r\n\r\n"));
        let got = peer.got();
        assert_eq!((got.status(), got.body.as_str()), (200, "hello"), "{header}");
    }
}

#[test]
fn bytes_over_127_in_a_cookie_arrive() {
    let gate = Web::new().open();

    let mut peer =
        Peer::sends(&gate, b"GET /cookie HTTP/1.1\r\nHost: test\r\nCookie: n=\xe9\xff\r\n\r\n");

    assert_eq!(peer.got().body, "n=\\xe9\\xff");
}

#[test]
fn an_absolute_target_is_reduced_to_its_path() {
    let gate = Web::new().open();

    let mut peer = Peer::sends(&gate, get("http://test/target?a=b"));

    assert_eq!(peer.got().body, "/target?a=b");
}

#[test]
fn the_door_and_the_peer_are_told() {
    let gate = Web::new().open();

    assert_eq!(Peer::sends(&gate, get("/peer")).got().body, "Public Some(127.0.0.1)");
}

#[test]
fn a_chunked_body_arrives_decoded_and_the_next_request_follows_it() {
    let gate = Web::new().open();
    let chunked = "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\none\r\n4;x=y\r\n two\r\n0\r\nTrailer: t\r\n\r\n";

    let mut peer = Peer::sends(&gate, [chunked, &get("/")].concat());

    assert_eq!(peer.got().body, "one two");
    assert_eq!(peer.got().body, "hello");
}

/// Each of them is answered with this status, in JSON, and the connection ends in order.
#[test]
fn what_is_no_valid_request_is_refused() {
    let gate = Web::new().open();
    let cases: [(&str, u16); 16] = [
        ("GET / HTTP/2.0\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n", 413),
    ];

    for (request, status) in cases {
        let mut peer = Peer::sends(&gate, request);
        let got = peer.got();
        assert_eq!(got.status(), status, "{request:?}");
        assert!(got.body.starts_with("{\"error\":\""), "{}", got.body);
        assert_eq!(got.header("Content-Type"), Some("application/json"));
        assert_eq!(got.header("Cache-Control"), Some("no-store, no-transform"));
        assert_eq!(got.header("Connection"), Some("close"));
        assert!(peer.rest().is_empty());
    }
}

#[test]
fn lines_that_end_in_a_bare_lf_are_refused_at_once() {
    let gate = Web::new().open();

    for head in ["GET / HTTP/1.1\nHost: test\n\n", "GET / HTTP/1.1\r\nHost: test\nA: b\r\n\r\n"] {
        assert_eq!(Peer::sends(&gate, head).got().status(), 400);
    }
}

#[test]
fn a_413_is_read_whole_although_the_body_is_still_coming() {
    let gate = Web::new().open();
    let mut peer = Peer::sends(
        &gate,
        "POST / HTTP/1.1\r\nHost: test\r\nOrigin: http://a\r\nContent-Length: 2000000\r\n\r\n",
    );

    peer.send(vec![b'x'; 2_000_000]);

    let got = peer.got();
    assert_eq!(got.status(), 413);
    assert_eq!(got.header("X-Decorated"), Some("yes"));
    assert!(peer.rest().is_empty());
}

#[test]
fn a_head_without_end_is_a_431() {
    let gate = Web::new().open();
    let endless = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}", "x".repeat(100_000));

    assert_eq!(Peer::sends(&gate, endless).got().status(), 431);
}

#[test]
fn a_hundred_and_one_headers_are_a_431() {
    let gate = Web::new().open();
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));

    assert_eq!(Peer::sends(&gate, many).got().status(), 431);
}

#[test]
fn a_head_that_drips_is_a_408_in_the_end() {
    let gate = Arc::new(Web::new()).open_with(LIMITS, BRISK);
    let mut peer = Peer::connect(&gate);
    let pause = crossbeam_channel::never::<()>();

    let start = Instant::now();
    while start.elapsed() < BRISK.head {
        // An error: the gate has closed already, and the answer is there to read.
        let _ = std::io::Write::write_all(&mut peer.stream, b"G");
        let _ = pause.recv_timeout(BRISK.head / 20);
    }

    assert_eq!(peer.got().status(), 408);
}

#[test]
fn a_client_that_never_speaks_is_told_408() {
    let gate = Arc::new(Web::new()).open_with(LIMITS, BRISK);

    let mut peer = Peer::connect(&gate);

    assert_eq!(peer.got().status(), 408);
}

#[test]
fn a_body_that_does_not_come_is_a_408() {
    let gate = Arc::new(Web::new()).open_with(LIMITS, BRISK);

    let mut peer =
        Peer::sends(&gate, "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nshort");

    assert_eq!(peer.got().status(), 408);
}

#[test]
fn a_connection_that_is_idle_for_long_is_closed_in_silence() {
    let limits = Limits { idle: Duration::from_millis(400), ..LIMITS };
    let gate = Arc::new(Web::new()).open_with(limits, Timeouts::USUAL);
    let mut peer = Peer::sends(&gate, get("/"));
    assert_eq!(peer.got().status(), 200);

    assert!(peer.rest().is_empty());
}

#[test]
fn a_handler_that_panics_is_a_500_and_hurts_no_other_request() {
    let gate = Web::new().open();

    for _ in 0..10 {
        assert_eq!(Peer::sends(&gate, get("/panic")).got().status(), 500);
    }

    assert_eq!(Peer::sends(&gate, get("/")).got().status(), 200);
}
