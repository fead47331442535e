//! Takeover: who comes back has its place at once, whoever is stuck, half-open or gone.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::support::*;

const SOON: Duration = Duration::from_secs(1);

/// Fills the stream's road until the bridge's write is stuck: more than any socket buffer takes.
fn stuff(link: &mut Link) {
    let big = quote(&"x".repeat(1 << 20));
    for _ in 0..20 {
        link.message(CHAT, &big);
    }
    link.settle();
}

/// Sends a request and its FIN in one segment: the client has gone before anybody can have looked at it.
fn ask_and_go(address: SocketAddr, target: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    sockopt::set_tcp_cork(&stream, true).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream
}

#[test]
fn a_stream_whose_writer_is_stuck_is_taken_over_at_once() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    stuff(&mut link);
    let start = Instant::now();

    let mut again = bridge.get("/a").sse().header("Last-Event-ID", &stream.last_id).stream();

    again.expect_joined();
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn a_poll_with_an_event_id_takes_a_stuck_stream_over_at_once() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    stuff(&mut link);
    let start = Instant::now();

    let poll = bridge.get(&format!("/a?after={}", stream.last_id)).poll();

    assert!(!poll.messages.is_empty());
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn a_stuck_stream_is_still_there_for_a_stranger() {
    let (_upstream, bridge, _stream, mut link) = opened(&[]);
    stuff(&mut link);

    bridge.get("/a").sse().send().refused(403);
    bridge.get("/a").send().refused(403);
}

#[test]
fn a_stuck_stream_whose_client_has_gone_frees_its_place() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    stuff(&mut link);

    stream.abort();

    bridge.get("/a?timeout=1").poll();
}

#[test]
fn a_half_open_stream_is_taken_over_again_and_again() {
    let (_upstream, bridge, first, mut link) = opened(&[]);
    let mut halves = vec![first];

    for n in 0..10 {
        let id = halves.last().unwrap().last_id.clone();
        let mut next = bridge.get("/a").sse().header("Last-Event-ID", &id).stream();
        next.expect_joined();
        link.message(CHAT, &n.to_string());
        assert_eq!(next.received(), n.to_string());
        halves.push(next);
    }
}

#[test]
fn a_stream_that_was_taken_over_frees_its_connection() {
    let (_upstream, bridge, mut stream, _link) = opened(&[]);
    let before = bridge.descriptors();

    for _ in 0..20 {
        let mut next = bridge.get("/a").sse().header("Last-Event-ID", &stream.last_id).stream();
        next.expect_joined();
        assert_eq!(stream.next().name(), "replaced");
        stream.expect_end();
        stream = next;
    }

    wait_until(PATIENCE, || bridge.descriptors() <= before);
}

#[test]
fn a_poll_whose_client_has_gone_before_it_joined_does_not_replace_a_living_one() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "100ms"]);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    link.confirm(CHAT);
    bridge.get("/a").poll();
    let living = bridge.waiting_poll("/a");

    let gone: Vec<TcpStream> =
        (0..20).map(|_| ask_and_go(bridge.address, "/a?timeout=0", "")).collect();
    bridge.settle();

    link.message(CHAT, "1");
    assert_eq!(living.poll().bodies(), ["1"]);
    drop(gone);
}

#[test]
fn a_stream_whose_client_has_gone_before_it_joined_takes_no_place_over() {
    let (_upstream, bridge, mut living, mut link) = opened(&[]);
    let headers = format!("Accept: text/event-stream\r\nLast-Event-ID: {}\r\n", living.last_id);

    let gone: Vec<TcpStream> =
        (0..20).map(|_| ask_and_go(bridge.address, "/a", &headers)).collect();
    bridge.settle();

    link.message(CHAT, "1");
    assert_eq!(living.received(), "1");
    drop(gone);
}

#[test]
fn a_client_that_has_gone_before_it_joined_ends_no_session_as_a_reload_would() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    let id = stream.last_id.clone();
    drop(stream);

    let gone = ask_and_go(bridge.address, "/a", "Accept: text/event-stream\r\n");
    bridge.settle();

    let mut again = bridge.get("/a").sse().header("Last-Event-ID", &id).stream();
    assert!(again.expect_joined().flag("resumed"));
    link.message(CHAT, "1");
    assert_eq!(again.received(), "1");
    drop(gone);
}

#[test]
fn two_pollers_that_share_an_id_do_not_chase_each_other() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--heartbeat", "50ms"]);
    let mut link = bridge.open_by_post(&upstream, "/a", CHAT);
    link.confirm(CHAT);
    bridge.get("/a").poll();
    let start = Instant::now();

    // Each comes back as soon as it is answered, as a careless client does.
    let mut waiting = bridge.waiting_poll("/a");
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs(3) {
        let next = bridge.waiting_poll("/a");
        assert!(waiting.poll().messages.is_empty());
        waiting = next;
        rounds += 1;
    }

    assert!(rounds <= 4, "{rounds} rounds in {:?}", start.elapsed());
    link.message(CHAT, "1");
    assert_eq!(waiting.poll().bodies(), ["1"]);
}

#[test]
fn of_two_tabs_that_share_an_event_id_the_later_stays_and_the_earlier_is_told_to_stay_away() {
    let (_upstream, bridge, mut first, mut link) = opened(&[]);
    let mut second = bridge.get("/a").sse().header("Last-Event-ID", &first.last_id).stream();
    second.expect_joined();

    let told = first.next();

    assert_eq!((told.name(), first.retry), ("replaced", Some(3_600_000)));
    first.expect_end();
    link.message(CHAT, "1");
    assert_eq!(second.received(), "1");
}

#[test]
fn a_peer_that_vanished_is_probed_within_30_s() {
    let (_upstream, bridge, _stream, _link) = opened(&[]);

    // The kernel's own table: timer 2 is keepalive, its time is in hundredths of a second.
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("0100007F:{:04X}", bridge.address.port());
    let timers: Vec<&str> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() > 5 && words[1] == local && words[3] == "01")
        .map(|words| words[5])
        .collect();

    assert!(!timers.is_empty(), "{table}");
    for timer in timers {
        let (kind, when) = timer.split_once(':').unwrap();
        let hundredths = u64::from_str_radix(when, 16).unwrap();
        assert!(kind == "02" && hundredths <= 3000, "{timer}");
    }
}

#[test]
fn an_event_id_that_is_wrong_in_any_part_takes_nothing_over() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    let (secret, place) = stream.last_id.split_once('.').unwrap();
    let other = |digit: &str| if digit == "0" { "1" } else { "0" };
    let (first, last) = (&secret[..1], &secret[31..]);

    for id in [
        format!("{}{}.{place}", other(first), &secret[1..]),
        format!("{}{}.{place}", &secret[..31], other(last)),
        format!("{}.{place}", &secret[..31]),
        format!("{secret}0.{place}"),
        format!("{}.{place}", secret.to_uppercase().replace('0', "O")),
        format!(".{place}"),
        secret.to_owned(),
        stream.session_id(),
        format!("{}.{place}", stream.session_id()),
        place.to_owned(),
    ] {
        bridge.get("/a").sse().header("Last-Event-ID", &id).send().refused(403);
        let status = bridge.get(&format!("/a?after={id}")).send().status;
        assert!(matches!(status, 400 | 403), "{id}: {status}");
    }

    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
}
