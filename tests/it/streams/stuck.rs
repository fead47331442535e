//! Readers that stop reading, and what they find when they go on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::io::{Errno, ioctl_fionread};
use rustix::net::sockopt;

use crate::support::*;

/// Far more than the sockets between the bridge and a reader hold, and so is what is kept of it without options.
const MESSAGES: u64 = 30;
const BYTES: usize = 100_000;

/// So few are kept that a reader which is stuck for this long misses some.
const KEPT: u64 = 4;
const OPTIONS: [&str; 2] = ["--max-queue", "4"];

/// A writer that has room writes within this.
const STILL: Duration = Duration::from_secs(1);

/// A stream that nobody reads, after all the messages.
fn stuck(bridge: &Bridge, upstream: &FakeUpstream) -> (Stream, Link) {
    let (stream, mut link) = bridge.open_with(upstream, "/a", CHAT);
    flood(&mut link);
    (stream, link)
}

fn flood(link: &mut Link) {
    for number in 1..=MESSAGES {
        link.message(CHAT, &format!(r#"{{"n":{number},"pad":"{}"}}"#, "x".repeat(BYTES)));
    }
    link.settle();
}

fn number(received: &str) -> u64 {
    Json::parse(received).number("n")
}

/// Reads up to the last `dropped` event: it was not always stuck, and may have missed some before. The number that is
/// due next.
fn until_last_dropped(stream: &mut Stream) -> u64 {
    let mut due = 1;
    while due + KEPT <= MESSAGES {
        let event = stream.next();
        if event.name() == "dropped" {
            due += event.json().number("dropped");
        } else {
            assert_eq!(number(event.json().raw("message")), due);
            due += 1;
        }
    }
    due
}

#[test]
fn a_reader_that_stopped_is_told_how_many_are_gone_and_gets_the_newest() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &OPTIONS);
    let (mut stream, _link) = stuck(&bridge, &upstream);

    let due = until_last_dropped(&mut stream);

    let newest: Vec<u64> = (0..KEPT).map(|_| number(&stream.received())).collect();
    assert_eq!(newest, (due..=MESSAGES).collect::<Vec<_>>());
}

#[test]
fn what_dropped_has_told_is_not_told_again_to_who_comes_back_with_its_id() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &OPTIONS);
    let (mut stream, _link) = stuck(&bridge, &upstream);
    let due = until_last_dropped(&mut stream);

    let mut next = bridge.get("/a").sse().header("Last-Event-ID", &stream.last_id).stream();

    let joined = next.expect_joined();
    assert_eq!((joined.flag("resumed"), joined.number("dropped")), (true, 0));
    assert_eq!(number(&next.received()), due);
}

#[test]
fn a_stuck_stream_that_is_taken_over_is_cut_off_although_nobody_reads_it() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let mut old = BufReader::new(TcpStream::connect(bridge.address).unwrap());
    old.get_mut()
        .write_all(b"GET /a HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")
        .unwrap();
    let mut link = upstream.welcome();
    let id =
        old.by_ref().lines().find_map(|line| Some(line.unwrap().strip_prefix("id: ")?.to_owned()));
    bridge.subscribe("/a", CHAT);
    link.subscribed(CHAT);
    flood(&mut link);
    wait_until_it_stands_still(old.get_ref());

    let mut new = bridge.get("/a").sse().header("Last-Event-ID", id.unwrap()).stream();
    new.expect_joined();

    // The end comes before a byte is read: a FIN would have to wait behind what the kernel keeps for this reader.
    wait_until(PATIENCE, || sockopt::socket_error(old.get_ref()).unwrap() == Err(Errno::CONNRESET));
    // Had it waited for its reader it would say now that it was replaced.
    let mut rest = Vec::new();
    let _ = old.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("event: replaced"));
}

/// Until nothing more arrives, although nobody reads: the writer is stuck.
fn wait_until_it_stands_still(socket: &TcpStream) {
    let mut last = (0, Instant::now());
    wait_until(PATIENCE, || {
        let arrived = ioctl_fionread(socket).unwrap();
        if arrived != last.0 {
            last = (arrived, Instant::now());
        }
        last.1.elapsed() > STILL
    });
}
