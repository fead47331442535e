//! What bad upstreams may cost of the memory: a message's bound, and little beside it.

use std::io::Write;

use crate::support::*;

/// KiB: a message of `--max-message` in the making, and what the bridge has at rest, more than once.
const HEAVY: u64 = 64 * 1024;

/// KiB: what it has at rest, more than once.
const LIGHT: u64 = 40 * 1024;

fn expect_peak(bridge: &Bridge, most: u64) {
    let peak = bridge.peak_kib();
    assert!(peak < most, "{peak} KiB");
}

fn expect_lost(upstream: &FakeUpstream, stream: &mut Stream) {
    let told = stream.expect_upstream("disconnected");
    assert!(told.text("reason").contains("--max-message"), "{}", told.text("reason"));
    stream.expect("disconnected");
    upstream.welcome().subscribed(CHAT);
    stream.expect_upstream("connected");
    stream.expect("connected");
}

#[test]
fn a_message_of_20_mb_that_is_sent_to_its_end_is_not_kept() {
    let (upstream, bridge, mut stream, link) = opened(&[]);

    let mut socket = link.stream();
    socket.write_all(&[&[0x81, 127][..], &20_000_000_u64.to_be_bytes()].concat()).unwrap();
    let taken = (0..5_000).take_while(|_| socket.write_all(&[b' '; 4_000]).is_ok()).count();

    assert!(taken < 5_000, "all of it was taken");
    expect_lost(&upstream, &mut stream);
    expect_peak(&bridge, LIGHT);
}

#[test]
fn fragments_without_end_are_kept_up_to_max_message() {
    let (upstream, bridge, mut stream, link) = opened(&[]);
    let piece = [&[0x00, 126, 0x40, 0][..], &[b' '; 0x4000]].concat();

    let mut socket = link.stream();
    socket.write_all(&[0x01, 1, b'"']).unwrap();
    let taken = (0..5_000).take_while(|_| socket.write_all(&piece).is_ok()).count();

    assert!(taken < 5_000, "80 MB were taken");
    expect_lost(&upstream, &mut stream);
    expect_peak(&bridge, HEAVY);
}

#[test]
fn a_flood_of_frames_that_mean_nothing_keeps_nothing() {
    let (_upstream, bridge, mut stream, mut link) = opened(&["-d"]);
    let filler = format!(r#"{{"type":"new","x":{}}}"#, quote(&"x".repeat(100_000)));

    (0..500).for_each(|_| link.raw(&filler));
    (0..500).for_each(|_| link.frame(tungstenite::Message::Ping(vec![7; 125].into())));

    link.message(CHAT, "\"marker\"");
    assert_eq!(stream.received(), "\"marker\"");
    expect_peak(&bridge, LIGHT);
}

#[test]
fn a_flood_of_messages_that_nobody_reads_is_kept_as_far_as_the_bound() {
    let (_upstream, bridge, stream, mut link) = opened(&[]);
    let big = quote(&"x".repeat(100_000));

    (0..500).for_each(|_| link.message(CHAT, &big));
    link.settle();

    expect_peak(&bridge, LIGHT);
    drop(stream);
}

#[test]
fn what_goes_up_to_an_upstream_that_never_reads_is_what_the_requests_hold() {
    let (_upstream, bridge, _stream, _link) = opened(&[]);
    let data = format!(r#"{{"x":{}}}"#, quote(&"x".repeat(100_000)));
    let body = format!("[{}]", vec![send(CHAT, &data); 9].join(","));

    // 18 MB; those that wait for the first have not been taken yet.
    let _stuck: Vec<Asked> = (0..20).map(|_| bridge.post("/a", &body).begin()).collect();
    bridge.settle();

    expect_peak(&bridge, HEAVY + LIGHT);
}

#[test]
fn a_large_message_for_many_streams_that_stopped_reading_is_copied_for_few_at_a_time() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--max-memory", "16000000"]);
    let open = |number| bridge.open_with(&upstream, &format!("/{number}"), CHAT);
    let mut crowd: Vec<(Stream, Link)> = (0..20).map(open).collect();

    let message = quote(&"x".repeat(5_000_000));
    for (_, link) in &mut crowd {
        link.message(CHAT, &message);
        link.settle();
    }
    expect_peak(&bridge, HEAVY);

    // Where there is room again, one that waited is written: the newest is kept.
    let (mut reader, mut link) = crowd.pop().unwrap();
    crowd.into_iter().for_each(|(stream, _)| stream.abort());
    link.message(CHAT, "1");
    let is_it = |event: &Event| event.data.contains(r#""message":1}"#);
    while !is_it(&reader.next()) {}
}

#[test]
fn a_short_message_is_written_beside_a_long_one_that_is_stuck() {
    let upstream = FakeUpstream::start();
    let options = ["--max-memory", "16000000", "--stale-after", "60s"];
    let bridge = Bridge::with(&upstream, &options);
    let mut crowded = bridge.confirmed_by_post(&upstream, "/stuck");
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    let mut stuck = bridge.get("/stuck").sse().begin();
    assert_eq!(stuck.head().status, 200);
    crowded.message(CHAT, &quote(&"x".repeat(5_000_000)));
    // No other event has so many: this one is being written.
    stuck.bytes(20_000);

    for size in [20_000, 65_000] {
        link.message(CHAT, &quote(&"x".repeat(size)));

        assert_eq!(stream.received().len(), size + 2);
    }
}
