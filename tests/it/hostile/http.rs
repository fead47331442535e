//! Bad HTTP, bursts and crowds: the process lives, leaks nothing, and serves others within a second.

use std::net::SocketAddr;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::support::*;

/// Long enough for a loaded machine to give back what was let go.
const SETTLING: Duration = Duration::from_secs(10);

fn auto(options: &[&str]) -> (Auto, Bridge) {
    let upstream = Auto::start();
    let bridge = Bridge::alone(&upstream.url(), options);
    (upstream, bridge)
}

fn assert_served_within_a_second(bridge: &Bridge) {
    let start = Instant::now();
    let mut stream = bridge.get("/served").sse().stream();
    stream.expect_joined();
    bridge.subscribe("/served", CHAT);
    stream.expect("connected");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(bridge.delete("/served").send().status, 204);
}

/// What a bridge that has served a few at once holds when nothing is asked of it.
fn at_rest(upstream: &Auto, bridge: &Bridge) -> (usize, usize) {
    let crowd: Vec<Stream> = storm(bridge.address, "few", 16);
    for n in 0..crowd.len() {
        bridge.delete(&format!("/few/{n}/0")).send();
    }
    drop(crowd);
    assert_served_within_a_second(bridge);
    wait_until(SETTLING, || upstream.open() == 0);
    bridge.at_rest()
}

/// What the bridge ever had resident: a few times what it has at rest, and no trace of what it was sent.
fn assert_light(bridge: &Bridge) {
    let peak = bridge.peak_kib();
    assert!(peak < 40_000, "{peak} KiB");
}

fn assert_nothing_left(bridge: &Bridge, before: (usize, usize)) {
    let is_back = |now: (usize, usize)| now.0 <= before.0 && now.1 <= before.1;
    let deadline = Instant::now() + SETTLING;
    wait_until(SETTLING + PATIENCE, || is_back(bridge.footprint()) || Instant::now() > deadline);
    let now = bridge.footprint();
    assert!(is_back(now), "(threads, descriptors) were {before:?}, are {now:?}");
}

#[test]
fn a_content_length_of_a_terabyte_or_more_is_413() {
    let (_upstream, mut bridge) = auto(&[]);

    for length in ["1000000000000", "18446744073709551615", "99999999999999999999999999"] {
        for target in ["POST /a", "POST /-/nope", "GET /a", "DELETE /a"] {
            let head = format!("{target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            let status = bridge.raw(head).response().status;
            assert!(status == 413 || status == 400, "{target} {length}: {status}");
        }
    }

    assert!(bridge.lives());
    assert_light(&bridge);
    assert_served_within_a_second(&bridge);
}

#[test]
fn lengths_and_encodings_that_smuggle_are_refused_and_the_connection_closed() {
    let (_upstream, bridge) = auto(&[]);
    let hidden = "GET /-/health HTTP/1.1\r\nHost: a\r\n\r\n";

    for headers in [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length:\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length : 0\r\n",
        "Host: a\r\n folded: 1\r\n",
    ] {
        let request = format!("POST /a HTTP/1.1\r\nHost: a\r\n{headers}\r\n{hidden}");
        let answer = bridge.raw(request).rest();
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{headers}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 501"), "{answer}");
    }
}

#[test]
fn a_bad_chunk_is_refused_and_the_connection_closed() {
    let (_upstream, bridge) = auto(&[]);

    for chunk in ["x\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "2\r\n[]0\r\n\r\n", "2[]\r\n"] {
        let head = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = bridge.raw(format!("{head}{chunk}\r\n\r\n")).rest();
        assert!(answer.starts_with("HTTP/1.1 4"), "{chunk:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{chunk:?}: {answer}");
    }
}

#[test]
fn a_chunked_body_over_max_body_is_413() {
    let (_upstream, bridge) = auto(&["--max-body", "1000"]);

    let head = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = format!("{}0\r\n\r\n", format!("64\r\n{}\r\n", " ".repeat(100)).repeat(11));

    bridge.raw(format!("{head}{body}")).response().refused(413);
}

#[test]
fn http_2_0_two_hundred_times_leaks_nothing() {
    let (upstream, mut bridge) = auto(&[]);
    let before = at_rest(&upstream, &bridge);

    for n in 0..200 {
        let line = if n % 2 == 0 { "GET / HTTP/2.0" } else { "PRI * HTTP/2.0" };
        let answer = bridge.raw(format!("{line}\r\nHost: a\r\n\r\nSM\r\n\r\n")).rest();
        let bare = answer.is_empty() || [" 400", " 505"].iter().any(|s| answer[8..].starts_with(s));
        assert!(bare, "{answer}");
    }

    assert_nothing_left(&bridge, before);
    assert!(bridge.lives());
    assert_served_within_a_second(&bridge);
}

#[test]
fn bytes_that_are_no_http_get_a_bare_4xx_or_a_close() {
    let (upstream, mut bridge) = auto(&[]);
    let before = at_rest(&upstream, &bridge);

    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /a\r\n\r\n",
        b"GET /a HTTP/0.9\r\n\r\n",
        b"GET /a HTTP/1.1 x\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\n\r\n",
        b"GET a HTTP/1.1\r\n\r\n",
        b"G\xc3\xa4T /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /a HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"GET /a HTTP/1.1\r\n: x\r\n\r\n",
        b"{\"identifier\":1}\r\n\r\n",
    ] {
        let answer = bridge.raw(bytes).rest();
        let said = String::from_utf8_lossy(bytes);
        let bare = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(bare || answer.starts_with("HTTP/1.1 505"), "{said}: {answer}");
    }

    assert_eq!(upstream.open(), 0);
    assert_nothing_left(&bridge, before);
    assert!(bridge.lives());
}

#[test]
fn five_hundred_silent_connections_hold_up_nobody() {
    let (upstream, bridge) = auto(&[]);
    let before = at_rest(&upstream, &bridge);

    let silent: Vec<Asked> = (0..500).map(|_| bridge.raw("")).collect();

    assert_served_within_a_second(&bridge);
    drop(silent);
    assert_nothing_left(&bridge, before);
}

#[test]
fn three_hundred_connections_of_a_byte_a_second_hold_up_nobody_and_end_after_10_s() {
    let (upstream, bridge) = auto(&[]);
    let before = at_rest(&upstream, &bridge);
    let begun = ["GET /a HTTP/1.1\r\nHost: a\r\nX: ", ""];
    let mut slow: Vec<Asked> = (0..300).map(|n| bridge.raw(begun[n % 2])).collect();
    let start = Instant::now();

    // The wait for an answer that does not come is the second between two bytes.
    while !slow[0].has_answer_within(Duration::from_secs(1)) {
        assert!(start.elapsed() < Duration::from_secs(13), "no end to the heads");
        for asked in &mut slow {
            let _ = asked.more(b"X");
        }
        assert_served_within_a_second(&bridge);
    }

    for mut asked in slow {
        let answer = asked.rest();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert_nothing_left(&bridge, before);
}

#[test]
fn a_connection_that_never_says_anything_is_closed_after_10_s() {
    let upstream = Auto::start();
    let bridge = Bridge::at(&upstream.url(), &[]);

    let mut silent = bridge.raw("").patient(Duration::from_secs(15));

    let answer = silent.rest();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[test]
fn a_head_without_end_is_431_and_costs_no_memory() {
    let (_upstream, mut bridge) = auto(&[]);

    let mut asked = bridge.raw("GET /a HTTP/1.1\r\nX: ");
    let sent = (0..20_000).take_while(|_| asked.more(&[b'x'; 4096]).is_ok()).count();

    assert!(sent < 20_000, "80 MB of a header were taken");
    let answer = asked.rest();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(bridge.lives());
    assert_light(&bridge);
    assert_served_within_a_second(&bridge);
}

#[test]
fn a_hundred_thousand_headers_are_431_and_cost_no_memory() {
    let (_upstream, bridge) = auto(&[]);

    for line in ["a:b\r\n", "Cookie: a=b\r\n", "X-Forwarded-For: 127.0.0.1\r\n"] {
        let head = format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n", line.repeat(100_000));
        let answer = bridge.raw(head).rest();
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    assert_light(&bridge);
    assert_served_within_a_second(&bridge);
}

#[test]
fn clients_that_reset_at_once_leave_nothing_behind() {
    let (upstream, mut bridge) = auto(&["--resume-window", "100ms", "-S", "100ms"]);
    let before = at_rest(&upstream, &bridge);

    for n in 0..300 {
        bridge.get(&format!("/{n}")).sse().begin().abort();
    }

    wait_until(SETTLING, || upstream.open() == 0);
    assert_nothing_left(&bridge, before);
    assert!(bridge.lives());
}

#[test]
fn requests_in_a_row_on_one_connection_are_answered_in_order() {
    let (_upstream, bridge) = auto(&[]);

    let mut asked = bridge.raw(
        "GET /-/health HTTP/1.1\r\nHost: a\r\n\r\nDELETE /a HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n[]OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    );

    let statuses: Vec<u16> = (0..4).map(|_| asked.next_response().status).collect();
    assert_eq!((statuses[0], statuses[1], statuses[3]), (200, 404, 204));
}

#[test]
fn a_client_of_http_1_0_is_answered_and_closed() {
    let (_upstream, bridge) = auto(&[]);

    let answer = bridge.raw("GET /-/health HTTP/1.0\r\n\r\n").rest();

    assert!(answer.starts_with("HTTP/1.") && answer.contains(" 200 "), "{answer}");
}

#[test]
fn a_client_that_wants_a_close_gets_it() {
    let (_upstream, bridge) = auto(&[]);

    let answer = bridge.get("/-/health").header("Connection", "close").begin().rest();

    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
}

#[test]
fn a_client_that_speaks_http_2_or_chunks_in_its_headers_does_not_steer_the_answer() {
    let (_upstream, bridge) = auto(&[]);

    let request = bridge.get("/-/health").header("TE", "chunked, trailers");
    let response = request.header("Upgrade", "h2c").header("Connection", "Upgrade").send();

    assert_eq!(response.status, 200);
    assert_eq!(response.header("transfer-encoding"), None);
}

#[test]
fn a_ticket_of_somebody_else_is_worth_nothing() {
    let (_upstream, bridge) = auto(&[]);

    let response = bridge.get("/-/health").header("X-Ticket", "0-00000000000000000000").send();

    assert_eq!(response.status, 200);
}

#[test]
fn sixty_four_descriptors_and_a_hundred_connections_do_not_make_it_deaf() {
    let upstream = Auto::start();
    let mut bridge = Bridge::with_descriptors(&upstream.url(), &["--resume-window", "100ms"], 64);

    let crowd: Vec<Asked> =
        (0..100).map(|n| bridge.get(&format!("/crowd/{n}")).sse().begin()).collect();
    let answered = crowd.iter().filter(|asked| asked.has_answer_within(PATIENCE)).count();
    assert_eq!(answered, 100);
    drop(crowd);

    wait_until(SETTLING, || upstream.open() == 0);
    assert!(bridge.lives());
    assert_served_within_a_second(&bridge);
}

#[test]
fn a_soft_limit_of_sixty_four_descriptors_is_raised_and_a_hundred_streams_are_served() {
    let upstream = Auto::start();
    let bridge = Bridge::with_soft_descriptors(&upstream.url(), 64);

    let streams = storm(bridge.address, "soft", 100);

    assert_eq!(streams.len(), 100);
    assert_served_within_a_second(&bridge);
}

#[test]
fn a_thousand_streams_opened_by_fifty_at_once_are_all_joined_within_five_seconds() {
    let (upstream, bridge) = auto(&["--resume-window", "1s", "-S", "1s"]);
    let before = at_rest(&upstream, &bridge);

    for round in 0..5 {
        let start = Instant::now();
        let streams = storm(bridge.address, &round.to_string(), 1000);
        assert_eq!(streams.len(), 1000);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        drop(streams);
        wait_until(SETTLING, || upstream.open() == 0);
    }

    assert_nothing_left(&bridge, before);
}

/// Opens so many streams from fifty threads (or as many threads as streams), and returns those that had
/// their `joined`.
fn storm(address: SocketAddr, name: &str, streams: usize) -> Vec<Stream> {
    let connectors = streams.min(50);
    let running: Vec<_> = (0..connectors)
        .map(|n| {
            let path = format!("/{name}/{n}");
            let work = move || -> Vec<Stream> {
                (0..streams / connectors).map(|m| joined(address, &format!("{path}/{m}"))).collect()
            };
            Builder::new().name(format!("connector-{n}")).spawn(work).unwrap()
        })
        .collect();
    running.into_iter().flat_map(|connector| connector.join().unwrap()).collect()
}

fn joined(address: SocketAddr, path: &str) -> Stream {
    let mut stream = Request::new(address, "GET", path).sse().stream();
    stream.expect_joined();
    stream
}
