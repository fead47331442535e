//! Bad upstreams: the process lives, nobody else is disturbed, and a link that cannot go on is made anew.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tungstenite::Message;

use crate::support::*;

fn expect_alive(stream: &mut Stream, link: &mut Link) {
    link.message(CHAT, "\"marker\"");
    assert_eq!(stream.received(), "\"marker\"");
}

/// Whoever breaks the protocol has its link dropped and made anew.
fn expect_made_anew(upstream: &FakeUpstream, stream: &mut Stream) -> String {
    let told = stream.expect_upstream("disconnected");
    assert!(told.flag("reconnect"));
    stream.expect("disconnected");
    let mut link = upstream.welcome();
    stream.expect_upstream("connected");
    link.subscribed(CHAT);
    stream.expect("connected");
    expect_alive(stream, &mut link);
    told.text("reason")
}

#[test]
fn wrong_types_in_every_place_are_passed_over() {
    let (_upstream, _bridge, mut stream, mut link) = opened(&[]);
    let values = ["null", "7", "true", "[]", "{}", "\"x\"", "-1e400", "[[[]]]"];

    for value in values {
        for frame in [
            value.to_owned(),
            format!(r#"{{"type":{value}}}"#),
            format!(r#"{{"type":{value},"identifier":{}}}"#, quote(CHAT)),
            format!(r#"{{"identifier":{value},"message":1}}"#),
            format!(r#"{{"identifier":{value},"type":"confirm_subscription"}}"#),
            format!(r#"{{"identifier":{value},"type":"reject_subscription"}}"#),
            format!(r#"{{"type":"ping","message":{value}}}"#),
        ] {
            link.raw(&frame);
        }
    }

    expect_alive(&mut stream, &mut link);
}

#[test]
fn wrong_types_in_a_disconnect_break_nothing() {
    for frame in [
        r#"{"type":"disconnect"}"#,
        r#"{"type":"disconnect","reason":7}"#,
        r#"{"type":"disconnect","reason":null,"reconnect":null}"#,
        r#"{"type":"disconnect","reason":{},"reconnect":true}"#,
    ] {
        let (_upstream, mut bridge, mut stream, mut link) = opened(&[]);

        link.raw(frame);

        assert_eq!(stream.next().name(), "upstream", "{frame}");
        assert!(bridge.lives());
    }
}

#[test]
fn identifiers_that_were_never_asked_for_are_told_to_nobody() {
    let (_upstream, _bridge, mut stream, mut link) = opened(&[]);

    for n in 0..2000 {
        let stranger = format!(r#"{{"channel":"Stranger","n":{n}}}"#);
        link.message(&stranger, "1");
        link.confirm(&stranger);
        link.reject(&stranger);
    }
    link.message("no json", "1");
    link.message("", "1");

    expect_alive(&mut stream, &mut link);
}

#[test]
fn nesting_of_100_000_breaks_nothing() {
    let (_upstream, mut bridge, mut stream, mut link) = opened(&[]);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));

    link.raw(&deep);
    link.raw(&format!(r#"{{"type":{deep}}}"#));
    link.raw(&format!(r#"{{"identifier":{},"message":{}}}"#, quote(CHAT), "[".repeat(100_000)));
    link.message(CHAT, "\"marker\"");

    assert_eq!(stream.received(), "\"marker\"");
    assert!(bridge.lives());
}

#[test]
fn a_message_with_nesting_of_100_000_is_told_byte_for_byte_or_not_at_all() {
    let (_upstream, mut bridge, mut stream, mut link) = opened(&[]);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));

    link.message(CHAT, &deep);
    link.message(CHAT, "\"marker\"");

    let first = stream.next().data;
    if first.contains(&deep) {
        assert!(stream.next().data.contains("marker"));
    } else {
        assert!(first.contains("marker"));
    }
    assert!(bridge.lives());
}

#[test]
fn lone_surrogates_and_duplicate_keys_of_a_message_are_told_byte_for_byte() {
    let (_upstream, _bridge, mut stream, mut link) = opened(&[]);

    for json in [r#""\ud800""#, r#"{"a":"\udc00\ud800"}"#, r#"{"a":1,"a":2}"#] {
        link.message(CHAT, json);
        assert_eq!(stream.received(), json);
    }
}

#[test]
fn duplicate_keys_and_lone_surrogates_of_the_cables_own_break_nothing() {
    let (_upstream, mut bridge, mut stream, mut link) = opened(&[]);

    link.raw(r#"{"type":"ping","type":"welcome"}"#);
    link.raw(&format!(r#"{{"identifier":"x","identifier":{},"message":1}}"#, quote("y")));
    link.raw(r#"{"identifier":"\ud800","message":1}"#);
    link.raw(r#"{"type":"\ud800"}"#);

    expect_alive(&mut stream, &mut link);
    assert!(bridge.lives());
}

#[test]
fn a_second_welcome_breaks_nothing() {
    let (_upstream, _bridge, mut stream, mut link) = opened(&[]);

    link.welcome();
    link.welcome();

    expect_alive(&mut stream, &mut link);
}

#[test]
fn a_message_in_fragments_with_a_ping_in_between_arrives_whole() {
    let (_upstream, _bridge, mut stream, mut link) = opened(&[]);
    let text = format!(r#"{{"identifier":{},"message":"ä🚀"}}"#, quote(CHAT));
    let bytes = text.as_bytes();

    // Cut within a character: a text is whole when the message is.
    let cut = text.find('🚀').unwrap() + 2;
    let (head, tail) = bytes.split_at(cut);
    link.bytes(&[&[0x01, head.len() as u8], head].concat());
    link.bytes(&[0x89, 2, b'h', b'i']);
    link.bytes(&[0x00, 0]);
    link.bytes(&[&[0x80, tail.len() as u8], tail].concat());

    assert_eq!(stream.received(), "\"ä🚀\"");
}

#[test]
fn a_ping_with_a_payload_is_answered_with_it() {
    let (_upstream, bridge, _stream, mut link) = opened(&[]);

    for payload in [vec![], b"hi".to_vec(), vec![0xff; 125]] {
        link.frame(Message::Ping(payload.clone().into()));
        // Read by hand: the test's own WebSocket would hide what a pong holds.
        let pong = read_frame(link.stream(), 0x8a);
        assert_eq!(pong, payload);
        // The link goes on as before.
        bridge.act("/a", &[send(CHAT, "{}")]);
        read_frame(link.stream(), 0x81);
    }
}

/// The payload of the next frame, which is masked and of this kind.
fn read_frame(mut stream: &TcpStream, kind: u8) -> Vec<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!((head[0], head[1] & 0x80), (kind, 0x80));
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).unwrap();
    let length = usize::from(head[1] & 0x7f);
    assert!(length < 126);
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

#[test]
fn a_pong_that_nobody_asked_for_is_passed_over() {
    let (_upstream, _bridge, mut stream, mut link) = opened(&[]);

    link.frame(Message::Pong(b"x".to_vec().into()));

    expect_alive(&mut stream, &mut link);
}

#[test]
fn frames_that_break_the_protocol_cost_the_link_and_nothing_else() {
    for (what, bytes) in [
        ("a reserved bit", &[0xc1, 0x01, b'x'][..]),
        ("an unknown opcode", &[0x83, 0x00]),
        ("a control frame over 125", &[0x89, 126, 0x00, 126]),
        ("a control frame in pieces", &[0x09, 0x00]),
        ("a continuation of nothing", &[0x80, 0x01, b'x']),
        ("a masked frame", &[0x81, 0x81, 1, 2, 3, 4, b'x']),
        ("a length beyond all", &[0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("a close of one byte", &[0x88, 0x01, 0x03]),
        ("a text that is no UTF-8", &[0x81, 0x02, 0xff, 0xfe]),
    ] {
        let (upstream, mut bridge, mut stream, mut link) = opened(&[]);

        eprintln!("{what}");
        // What is announced comes: a link that waits for it is stale, not broken.
        link.bytes(&[bytes, &[0; 126]].concat());

        expect_made_anew(&upstream, &mut stream);
        assert!(bridge.lives(), "{what}");
    }
}

#[test]
fn a_message_of_20_mb_drops_the_link_by_its_length_alone() {
    let (upstream, _bridge, mut stream, mut link) = opened(&[]);

    link.bytes(&[&[0x81, 127][..], &20_000_000_u64.to_be_bytes()].concat());

    let reason = expect_made_anew(&upstream, &mut stream);
    assert!(reason.contains("--max-message"), "{reason}");
}

#[test]
fn a_message_of_15_mb_arrives() {
    let (_upstream, _bridge, stream, mut link) = opened(&[]);
    let mut stream = stream.patient(Duration::from_secs(20));
    let json = quote(&"x".repeat(15_000_000));

    link.message(CHAT, &json);

    assert!(stream.received() == json);
}

#[test]
fn an_upstream_that_never_reads_holds_up_no_other_session() {
    let (upstream, mut bridge, _stream, link) = opened(&[]);
    let body = format!("[{}]", send(CHAT, &format!(r#"{{"x":{}}}"#, quote(&"x".repeat(900_000)))));
    // More than the road takes: some of them wait.
    let stuck: Vec<Asked> = (0..20).map(|_| bridge.post("/a", &body).begin()).collect();

    let start = Instant::now();
    let (mut other, mut other_link) = bridge.open_with(&upstream, "/b", CHAT);
    other_link.message(CHAT, "1");

    assert_eq!(other.received(), "1");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(bridge.lives());
    drop((stuck, link));
}

#[test]
fn an_upstream_that_never_reads_does_not_keep_its_session_from_being_deleted() {
    let (_upstream, bridge, mut stream, _link) = opened(&[]);
    let body = format!("[{}]", send(CHAT, &format!(r#"{{"x":{}}}"#, quote(&"x".repeat(900_000)))));
    let _stuck: Vec<Asked> = (0..20).map(|_| bridge.post("/a", &body).begin()).collect();
    bridge.settle();

    assert_eq!(bridge.delete("/a").send().status, 204);

    stream.until_end();
}

#[test]
fn an_upstream_that_never_answers_the_close_is_left_all_the_same() {
    let (_upstream, bridge, _stream, link) = opened(&[]);

    bridge.delete("/a").send();

    // Reads and writes nothing: a FIN or a reset must come by itself.
    let mut rest = Vec::new();
    let mut stream = link.stream();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert_eq!(rest.first(), Some(&0x88), "{rest:?}");
}

#[test]
fn an_upstream_that_resets_in_the_handshake_is_502_for_a_poll() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a").begin();

    upstream.accept().cut();

    asked.response().refused(502);
}

#[test]
fn a_redirect_is_not_followed() {
    let (upstream, elsewhere) = (FakeUpstream::start(), FakeUpstream::start());
    let bridge = Bridge::start(&upstream);

    for status in [301, 302, 303, 307, 308] {
        let asked = bridge.get("/a").begin();
        let head = format!(
            "HTTP/1.1 {status} Moved\r\nLocation: http://{}/cable\r\nContent-Length: 0\r\n\r\n",
            elsewhere.host()
        );
        upstream.accept().bytes(head.as_bytes());
        assert!(asked.response().refused(502).contains(&status.to_string()));
    }

    assert!(elsewhere.accept_within(Duration::ZERO).is_none());
}

#[test]
fn handshakes_that_are_answered_wrongly_are_502_for_a_poll() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let upgrade =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";

    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 99999 X\r\n\r\n".to_owned(),
        "HTTP/1.1 101\r\n\r\n".to_owned(),
        format!("{upgrade}\r\n"),
        format!("{upgrade}Sec-WebSocket-Accept: wrong\r\n\r\n"),
        "SSH-2.0-OpenSSH_9.2p1\r\n\r\n".to_owned(),
        "\0\0\0\0\r\n\r\n".to_owned(),
        "{\"type\":\"welcome\"}\r\n\r\n".to_owned(),
        format!("HTTP/1.1 101 X\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
        format!("HTTP/1.1 101 X\r\n{}\r\n", "a: b\r\n".repeat(3_000)),
    ] {
        let asked = bridge.get("/a").begin();
        let link = upstream.accept();
        let _ = link.stream().write_all(answer.as_bytes());
        let shown = &answer[..answer.len().min(60)];
        assert_eq!(asked.response().status, 502, "{shown:?}");
    }
}

#[test]
fn a_handshake_answer_without_end_costs_no_memory_and_is_given_up() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a").begin();
    let link = upstream.accept();

    let _ = link.stream().write_all(b"HTTP/1.1 101 X\r\nX: ");
    let taken = (0..20_000).take_while(|_| link.stream().write_all(&[b'x'; 4096]).is_ok()).count();

    assert!(taken < 20_000, "80 MB of a header were taken");
    asked.response().refused(502);
    assert!(bridge.lives());
}

#[test]
fn a_subprotocol_that_is_not_actioncables_is_502() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for protocol in ["actioncable-unsupported", "graphql-ws", "actioncable-v1-json, x"] {
        let asked = bridge.get("/a").begin();
        let mut link = upstream.accept();
        link.upgrade_with(&format!("Sec-WebSocket-Protocol: {protocol}\r\n"));
        asked.response().refused(502);
    }
}

#[test]
fn a_welcome_in_the_same_breath_as_the_101_is_not_lost() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a").sse().begin();
    let link = upstream.accept();
    let key = link.handshake.header("Sec-WebSocket-Key").unwrap();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let welcome = r#"{"type":"welcome"}"#;

    let mut bytes = format!(
        "HTTP/1.1 101 X\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    bytes.extend([0x81, welcome.len() as u8]);
    bytes.extend(welcome.as_bytes());
    link.stream().write_all(&bytes).unwrap();

    asked.stream().expect_joined();
}

#[test]
fn a_handshake_answer_that_comes_a_byte_at_a_time_is_read() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let asked = bridge.get("/a").sse().begin();
    let link = upstream.accept();
    let key = link.handshake.header("Sec-WebSocket-Key").unwrap();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );

    for byte in head.as_bytes() {
        link.stream().write_all(&[*byte]).unwrap();
    }
    let welcome = r#"{"type":"welcome"}"#;
    link.stream().write_all(&[0x81, welcome.len() as u8]).unwrap();
    link.stream().write_all(welcome.as_bytes()).unwrap();

    asked.stream().expect_joined();
}

#[test]
fn line_breaks_in_what_the_upstream_says_are_no_lines_of_the_stream() {
    let (_upstream, _bridge, mut stream, mut link) = opened(&[]);

    link.disconnect("a\r\nevent: evil\n\ndata: x\u{2028}", Some(true));

    let told = stream.expect_upstream("disconnected");
    assert!(told.text("reason").contains("evil"));
    assert_eq!(stream.expect("disconnected").kind(), "disconnected");
}
