//! `--demo`: an ActionCable server inside the process.

use crate::support::*;

const REJECTED: &str = r#"{"channel":"RejectedChannel"}"#;
const CLOCK: &str = r#"{"channel":"ClockChannel"}"#;

fn demo(options: &[&str]) -> (Bridge, Stream) {
    let bridge = Bridge::bare(&[&["--demo", "-l", "127.0.0.1:0"], options].concat());
    let mut stream = bridge.get("/a").sse().stream();
    stream.expect_joined();
    (bridge, stream)
}

#[test]
fn it_confirms_every_channel() {
    let (bridge, mut stream) = demo(&[]);

    bridge.subscribe("/a", CHAT);

    assert_eq!(stream.expect("connected").raw("identifier"), CHAT);
}

#[test]
fn it_sends_each_send_back_to_every_subscriber_of_the_same_identifier() {
    let (bridge, mut stream) = demo(&[]);
    let mut other = bridge.get("/b").sse().stream();
    other.expect_joined();
    bridge.subscribe("/a", CHAT);
    bridge.subscribe("/b", CHAT);
    stream.expect("connected");
    other.expect("connected");

    bridge.act("/a", &[send(CHAT, r#"{"text":"\u00e9","n":1.0}"#)]);

    assert_eq!(stream.received(), r#"{"text":"\u00e9","n":1.0}"#);
    assert_eq!(other.received(), r#"{"text":"\u00e9","n":1.0}"#);
}

#[test]
fn a_subscriber_of_another_identifier_gets_nothing_of_it() {
    let (bridge, mut stream) = demo(&[]);
    bridge.subscribe("/a", CHAT);
    stream.expect("connected");
    let mut other = bridge.get("/b").sse().stream();
    other.expect_joined();
    bridge.subscribe("/b", ROOM);
    other.expect("connected");

    bridge.act("/a", &[send(CHAT, r#"{"n":1}"#)]);
    stream.received();
    bridge.act("/b", &[send(ROOM, r#"{"n":2}"#)]);

    assert_eq!(other.received(), r#"{"n":2}"#);
}

#[test]
fn it_rejects_the_rejected_channel() {
    let (bridge, mut stream) = demo(&[]);

    bridge.subscribe("/a", REJECTED);

    stream.expect("rejected");
}

#[test]
fn the_clock_channel_sends_the_time_each_second() {
    let (bridge, mut stream) = demo(&[]);
    bridge.subscribe("/a", CLOCK);
    stream.expect("connected");

    let (first, second) = (stream.received(), stream.received());

    assert_ne!(first, second);
}

#[test]
fn its_pings_keep_the_link_from_being_stale() {
    let (bridge, stream) = demo(&["--stale-after", "4s", "--heartbeat", "4500ms"]);
    let mut stream = stream.patient(std::time::Duration::from_secs(15));

    assert_eq!(stream.next().name(), "heartbeat");

    bridge.subscribe("/a", CHAT);
    stream.expect("connected");
}

#[test]
fn turbos_channel_sends_markup_each_second() {
    let (bridge, mut stream) = demo(&[]);
    bridge.subscribe("/a", r#"{"channel":"Turbo::StreamsChannel","signed_stream_name":"x"}"#);
    stream.expect("connected");

    let markup = stream.received();

    assert!(markup.starts_with(r#""<turbo-stream action="#), "{markup}");
}

#[test]
fn its_first_words_are_a_curl_line_and_the_address_of_the_page() {
    let (bridge, _stream) = demo(&[]);
    let site = format!("http://{}", bridge.address);

    bridge.wait_for_log(&format!("{site}/-/"));
    let log = bridge.log();
    let told: Vec<&str> = log.lines().filter(|line| line.starts_with("  ")).collect();

    let line = format!(
        "curl -N -H 'Accept: text/event-stream' '{site}/try-me?channel=ClockChannel&raw=1'"
    );
    assert_eq!(told[0].trim(), line);
    assert!(told[1].contains(&format!("{site}/-/")), "{told:?}");
    assert_eq!(bridge.get("/").send().text().lines().next(), Some(&*line));
}
