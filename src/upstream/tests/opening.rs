//! From the first packet to the `welcome`, and every way in which that fails.

use super::*;

#[test]
fn a_welcome_brings_it_up() {
    let server = Server::start();
    let client = server.client();

    let mut web = server.welcome();

    assert_eq!(client.up().protocol(), Some("actioncable-v1-json"));
    web.send(Message::text(r#"{"type":"confirm_subscription","identifier":"{}"}"#)).unwrap();
    assert_eq!(client.text(), r#"{"type":"confirm_subscription","identifier":"{}"}"#);
}

#[test]
fn what_comes_with_the_101_in_one_packet_is_not_lost() {
    let server = Server::start();
    let client = server.client();

    let mut peer = server.accept();
    let head = String::from_utf8(peer.head()).unwrap();
    let mut bytes = switching(&key_of(&head), "").into_bytes();
    for text in
        [WELCOME, r#"{"identifier":"{}","message":1}"#, r#"{"identifier":"{}","message":2}"#]
    {
        bytes.extend([0x81, text.len() as u8]);
        bytes.extend(text.bytes());
    }
    peer.tcp.write_all(&bytes).unwrap();

    assert_eq!(client.up().protocol(), None);
    assert_eq!(client.text(), r#"{"identifier":"{}","message":1}"#);
    assert_eq!(client.text(), r#"{"identifier":"{}","message":2}"#);
}

#[test]
fn pings_welcomes_and_nonsense_are_not_delivered() {
    let server = Server::start();
    let client = server.client();
    let mut web = server.switch();
    web.send(Message::text(r#"{"type":"ping","message":1}"#)).unwrap();
    web.send(Message::text("[")).unwrap();
    web.send(Message::text(WELCOME)).unwrap();
    client.up();

    for text in [r#"{"type":"ping","message":2}"#, WELCOME, "nonsense"] {
        web.send(Message::text(text)).unwrap();
    }
    web.send(Message::binary(vec![1, 2])).unwrap();
    web.send(Message::text(r#"{"type":"marker"}"#)).unwrap();

    assert_eq!(client.text(), r#"{"type":"marker"}"#);
}

#[test]
fn the_request_carries_the_clients_bytes_unchanged() {
    let server = Server::start();
    let connector = Connector::new(Settings {
        url: Url { query: Some("own=1".into()), ..server.settings().url },
        ..server.settings()
    });
    let headers = vec![
        ("Cookie".to_owned(), b"name=\xe9\xff; b=\"x\"".to_vec()),
        ("host".to_owned(), b"chat.example.org".to_vec()),
        ("Origin".to_owned(), b"https://chat.example.org".to_vec()),
    ];
    let handshake = Handshake { query: "token=%41&x".into(), headers, ..cable() };

    let _client = Client::start(&connector.unwrap(), handshake, AfterDown::Stop);

    let head = server.accept().head();
    let start = b"GET /cable?own=1&token=%41&x HTTP/1.1\r\nHost: chat.example.org\r\nUpgrade: websocket\r\n";
    assert!(head.starts_with(start), "{}", head.escape_ascii());
    let end = b"Sec-WebSocket-Protocol: actioncable-v1-json, actioncable-unsupported\r\n\
        Cookie: name=\xe9\xff; b=\"x\"\r\nOrigin: https://chat.example.org\r\n\r\n";
    assert!(head.ends_with(end), "{}", head.escape_ascii());
}

#[test]
fn without_a_host_it_is_the_one_of_the_url() {
    let server = Server::start();
    let _client = server.client();

    let head = String::from_utf8(server.accept().head()).unwrap();

    let address = server.listener.local_addr().unwrap();
    assert!(head.starts_with(&format!("GET /cable HTTP/1.1\r\nHost: {address}\r\n")), "{head}");
}

#[test]
fn a_header_with_a_line_break_is_never_sent() {
    let server = Server::start();
    for value in [&b"a\r\nX: y"[..], b"a\nb", b"a\0b"] {
        let headers = vec![("Cookie".to_owned(), value.to_vec())];
        let client =
            Client::start(&server.connector(), Handshake { headers, ..cable() }, AfterDown::Stop);

        assert_eq!(client.lost().0, "the header Cookie holds a line break or a NUL");
    }
}

#[test]
fn no_welcome_is_a_failure_in_time() {
    let server = Server::start();
    let settings = Settings { connect_timeout: Duration::from_secs(1), ..server.settings() };
    let client = Client::start(&Connector::new(settings).unwrap(), cable(), AfterDown::Stop);
    let mut web = server.switch();

    // Bytes are no welcome: the deadline is for all of it.
    web.send(Message::text(r#"{"type":"ping","message":1}"#)).unwrap();

    assert_eq!(client.lost(), ("no welcome within 1s".to_owned(), false));
    assert!(Peer { tcp: web.into_inner() }.tcp.read_to_end(&mut Vec::new()).is_ok());
}

#[test]
fn an_upstream_that_accepts_and_is_silent_is_a_failure_in_time() {
    let server = Server::start();
    let settings = Settings { connect_timeout: Duration::from_secs(1), ..server.settings() };
    let client = Client::start(&Connector::new(settings).unwrap(), cable(), AfterDown::Stop);

    assert_eq!(client.lost().0, "the handshake was not answered within 1s");
}

#[test]
fn a_dead_port_is_unreachable() {
    let server = Server::start();
    let connector = server.connector();
    drop(server);

    let client = Client::start(&connector, cable(), AfterDown::Stop);

    assert_eq!(client.lost(), ("unreachable: connection refused".to_owned(), false));
    client.ended();
}

#[test]
fn a_4xx_is_a_denial_that_names_the_status() {
    for handshake in [cable(), raw("")] {
        let server = Server::start();
        let client = Client::start(&server.connector(), handshake, AfterDown::Stop);

        server.accept().answer("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");

        let (Down::Denied { status: 404, why }, false) = client.down() else { panic!() };
        assert!(why.contains("404"), "{why}");
        assert!(why.contains("allowed_request_origins"), "{why}");
    }
}

#[test]
fn other_statuses_may_pass() {
    for status in [200, 204, 301, 302, 408, 429, 500, 502, 503] {
        let server = Server::start();
        let client = server.client();

        let mut peer = server.accept();
        peer.answer(&format!("HTTP/1.1 {status} X\r\n\r\n"));

        let (reason, was_up) = client.lost();
        assert!(reason.starts_with(&format!("the handshake was answered with {status}: ")));
        assert!(!was_up);
        peer.assert_eof();
    }
}

#[test]
fn a_redirect_is_told_with_its_location_but_for_the_clients_query() {
    for (location, hint) in [
        ("https://site.example/cable?token=secret", "X-Forwarded-Proto"),
        ("/users/sign_in?token=secret", "a login"),
    ] {
        let server = Server::start();
        let client = server.client();

        server.accept().answer(&format!("HTTP/1.1 301 X\r\nlocation: {location}\r\n\r\n"));

        let reason = client.lost().0;
        assert!(reason.contains(location.split('?').next().unwrap()), "{reason}");
        assert!(reason.contains(hint) && !reason.contains("secret"), "{reason}");
    }
}

#[test]
fn a_location_of_any_length_and_bytes_is_shown_short() {
    let server = Server::start();
    let client = server.client();

    let location = "\u{1f}é".repeat(2000);
    server.accept().answer(&format!("HTTP/1.1 302 X\r\nLocation: /{location}\r\n\r\n"));

    let reason = client.lost().0;
    assert!(reason.len() < 600 && reason.is_ascii(), "{reason}");
}

#[test]
fn a_server_that_goes_by_name_is_told_its_own_and_the_clients_beside_it() {
    let server = Server::start();
    let settings = || Settings { host_header: Some("app.router:81".into()), ..server.settings() };
    let host = ("Host".to_owned(), b"site.example".to_vec());
    let forwarded = ("x-forwarded-host".to_owned(), b"edge.example".to_vec());
    for (headers, expected) in [
        (vec![host.clone()], Some("X-Forwarded-Host: site.example\r\n")),
        (vec![host, forwarded], Some("x-forwarded-host: edge.example\r\n")),
        (vec![], None),
    ] {
        let connector = Connector::new(settings()).unwrap();
        let client = Client::start(&connector, Handshake { headers, ..cable() }, AfterDown::Stop);
        let mut peer = server.accept();

        let head = String::from_utf8(peer.head()).unwrap();

        assert!(head.contains("\r\nHost: app.router:81\r\n"), "{head}");
        assert!(!head.contains("Host: site.example\r\n") || head.contains("X-Forwarded-Host: s"));
        let count = head.to_ascii_lowercase().matches("x-forwarded-host").count();
        assert_eq!(count, usize::from(expected.is_some()), "{head}");
        assert!(head.contains(expected.unwrap_or_default()), "{head}");
        peer.tcp.write_all(b"HTTP/1.1 404 X\r\n\r\n").unwrap();
        let (Down::Denied { why, .. }, _) = client.down() else { panic!() };
        assert!(why.contains("that has to name the site"), "{why}");
    }
}

#[test]
fn a_401_and_a_403_are_denials() {
    for status in [400, 401, 403, 499] {
        let server = Server::start();
        let client = server.client();

        server.accept().answer(&format!("HTTP/1.1 {status} X\r\n\r\n"));

        let (Down::Denied { status: told, why }, false) = client.down() else { panic!() };
        assert_eq!(told, status);
        assert!(why.contains(&status.to_string()), "{why}");
    }
}

#[test]
fn a_101_that_is_none_fails() {
    let switching = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    for (answer, reason) in [
        (
            format!("{switching}Sec-WebSocket-Accept: c3VyZWx5IHdyb25nIGtleSEhISE=\r\n\r\n"),
            "a wrong Sec-WebSocket-Accept",
        ),
        (format!("{switching}\r\n"), "a wrong Sec-WebSocket-Accept"),
        ("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n".to_owned(), "no upgrade"),
        ("HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n".to_owned(), "no upgrade"),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "no HTTP"),
        (format!("HTTP/1.1 101 X\r\nA: {}\r\n\r\n", "a".repeat(17_000)), "over 16 KiB"),
    ] {
        let server = Server::start();
        let client = server.client();

        server.accept().answer(&answer);

        let (told, was_up) = client.lost();
        assert!(told.contains(reason) && !was_up, "{told}");
    }
}

#[test]
fn an_answer_that_breaks_off_fails() {
    let server = Server::start();
    let client = server.client();

    server.accept().answer("HTTP/1.1 101 Swi");

    assert_eq!(client.lost().0, "closed by the upstream during the handshake");
}

#[test]
fn a_subprotocol_that_was_not_offered_fails() {
    for (handshake, chosen) in [
        (cable(), "actioncable-unsupported"),
        (cable(), "graphql-ws"),
        (raw("graphql-ws, a"), "b"),
        (raw(""), "b"),
    ] {
        let server = Server::start();
        let client = Client::start(&server.connector(), handshake, AfterDown::Stop);

        server.accept().switch(&format!("Sec-WebSocket-Protocol: {chosen}\r\n"));

        let (reason, _) = client.lost();
        assert!(reason.contains(&format!("the subprotocol {chosen}")), "{reason}");
    }
}

#[test]
fn an_extension_that_was_not_offered_fails() {
    let server = Server::start();
    let client = server.client();

    server.accept().switch("Sec-WebSocket-Extensions: permessage-deflate\r\n");

    assert!(client.lost().0.contains("extension"));
}

#[test]
fn a_raw_one_is_up_with_the_101() {
    let server = Server::start();
    let client = Client::start(&server.connector(), raw("graphql-ws,other"), AfterDown::Stop);

    let mut peer = server.accept();
    peer.switch("Sec-WebSocket-Protocol: other\r\n");
    let mut web = peer.web();

    assert_eq!(client.up().protocol(), Some("other"));
    for text in ["plain", WELCOME, r#"{"type":"disconnect"}"#] {
        web.send(Message::text(text)).unwrap();
        assert_eq!(client.text(), text);
    }
}

#[test]
fn a_raw_one_without_subprotocols_offers_none() {
    let server = Server::start();
    let _client = Client::start(&server.connector(), raw(""), AfterDown::Stop);

    let head = String::from_utf8(server.accept().head()).unwrap();

    assert!(!head.contains("Sec-WebSocket-Protocol"), "{head}");
}

#[test]
fn a_disconnect_before_the_welcome_says_whether_to_come_back() {
    for (frame, expected) in [
        (
            r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#,
            Down::Refused { reason: "unauthorized".into() },
        ),
        (
            r#"{"type":"disconnect","reconnect":false}"#,
            Down::Refused { reason: "no reason given".into() },
        ),
        (r#"{"type":"disconnect","reason":"remote","reconnect":true}"#, Down::failed("remote")),
        (r#"{"type":"disconnect","reason":"remote"}"#, Down::failed("remote")),
    ] {
        let server = Server::start();
        let client = server.client();

        let mut web = server.switch();
        web.send(Message::text(frame)).unwrap();

        assert_eq!(client.down(), (expected, false));
    }
}

#[test]
fn localhost_is_both_loopbacks_without_a_lookup() {
    let server = Server::bind("[::1]:0");
    let mut settings = server.settings();
    settings.url.host = "LocalHost".into();
    let client = Client::start(&Connector::new(settings).unwrap(), cable(), AfterDown::Stop);

    let _web = server.welcome();

    client.up();
}

#[test]
fn a_name_that_does_not_resolve_is_unreachable() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.url.host = "no.such.host.invalid".into();
    let client = Client::start(&Connector::new(settings).unwrap(), cable(), AfterDown::Stop);

    let (reason, _) = client.lost();

    assert!(reason.starts_with("unreachable: its name does not resolve: "), "{reason}");
}
