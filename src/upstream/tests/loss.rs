//! A link that was up: what it carries, how it is lost, and how it comes back.

use super::*;
use crate::stats::Counter;

#[test]
fn a_disconnect_after_the_welcome_says_whether_to_come_back() {
    for (frame, expected) in [
        (
            r#"{"type":"disconnect","reason":"unauthorized","reconnect":false}"#,
            Down::Refused { reason: "unauthorized".into() },
        ),
        (
            r#"{"type":"disconnect","reason":"server_restart","reconnect":true}"#,
            Down::lost("server_restart"),
        ),
        (r#"{"type":"disconnect"}"#, Down::lost("no reason given")),
    ] {
        let server = Server::start();
        let client = server.client();
        let mut web = server.welcome();
        client.up();

        web.send(Message::text(frame)).unwrap();

        assert_eq!(client.down(), (expected, true));
        assert_eq!(close_code(web), 1000);
    }
}

#[test]
fn silence_is_a_loss() {
    let server = Server::start();
    let settings = Settings { stale_after: Duration::from_millis(200), ..server.settings() };
    let client = Client::start(&Connector::new(settings).unwrap(), cable(), AfterDown::Stop);
    let _web = server.welcome();
    client.up();

    assert_eq!(client.lost(), ("stale: no frame for 200ms".to_owned(), true));
    client.ended();
}

#[test]
fn a_reset_is_a_loss() {
    let server = Server::start();
    let client = server.client();
    let web = server.welcome();
    client.up();

    reset(web.get_ref());
    drop(web);

    assert_eq!(client.lost(), ("connection reset by peer".to_owned(), true));
}

#[test]
fn an_end_is_a_loss() {
    let server = Server::start();
    let client = server.client();
    let web = server.welcome();
    client.up();

    drop(web);

    assert_eq!(client.down(), (Down::lost("closed by the upstream"), true));
}

#[test]
fn a_close_frame_is_answered_and_told() {
    let server = Server::start();
    let client = server.client();
    let mut web = server.welcome();
    client.up();

    let frame =
        tungstenite::protocol::CloseFrame { code: 1001.into(), reason: "going away".into() };
    web.close(Some(frame)).unwrap();

    assert_eq!(close_code(web), 1001);
    let reason = "closed by the upstream (1001 going away)".to_owned();
    let close = Some((1001, "going away".to_owned()));
    assert_eq!(client.down(), (Down::Lost { reason, was_up: true, close }, true));
}

#[test]
fn a_message_over_the_limit_is_a_loss_that_names_the_option() {
    for fragments in [1, 4] {
        let server = Server::start();
        let settings = Settings { message_max: 1000, ..server.settings() };
        let client = Client::start(&Connector::new(settings).unwrap(), cable(), AfterDown::Stop);
        let mut web = server.welcome();
        client.up();

        send_fragments(&mut web, &"x".repeat(1001), fragments);

        assert_eq!(client.lost(), ("a message over --max-message (1000 bytes)".to_owned(), true));
        assert_eq!(close_code(web), 1009);
    }
}

#[test]
fn fragments_are_one_message() {
    let server = Server::start();
    let client = server.client();
    let mut web = server.welcome();
    client.up();
    let text =
        format!(r#"{{"identifier":"{{}}","message":"{}"}}"#, "\u{e9}\u{1f600}".repeat(50_000));

    // Cut within characters, with pings in between.
    send_fragments(&mut web, &text, 7);

    assert!(client.text() == text);
}

/// Sends `text` in `count` frames, with a ping after each but the last.
fn send_fragments(web: &mut WebSocket<TcpStream>, text: &str, count: usize) {
    use tungstenite::protocol::frame::Frame;
    use tungstenite::protocol::frame::coding::{Data, OpCode};

    let size = text.len().div_ceil(count);
    for (nth, part) in text.as_bytes().chunks(size).enumerate() {
        let opcode = OpCode::Data(if nth == 0 { Data::Text } else { Data::Continue });
        let frame = Frame::message(part.to_vec(), opcode, nth + 1 == count);
        // The other side may have hung up over the part before.
        if web.send(Message::Frame(frame)).is_err() || web.send(Message::Ping("x".into())).is_err()
        {
            return;
        }
    }
}

#[test]
fn a_broken_frame_is_a_loss() {
    let server = Server::start();
    let client = server.client();
    let mut web = server.welcome();
    client.up();

    web.get_mut().write_all(&[0x83, 0x00]).unwrap();

    assert!(client.lost().0.starts_with("broken WebSocket frame: "));
    assert_eq!(close_code(web), 1002);
}

#[test]
fn text_that_is_not_utf8_is_a_loss() {
    let server = Server::start();
    let client = server.client();
    let mut web = server.welcome();
    client.up();

    web.get_mut().write_all(&[0x81, 0x01, 0xff]).unwrap();

    assert_eq!(client.lost().0, "a text frame that is not UTF-8");
}

#[test]
fn frames_of_several_threads_stay_whole() {
    let server = Server::start();
    let client = server.client();
    let mut web = server.welcome();
    let link = client.up();

    send_from_four_threads(&link);

    let mut texts = Vec::new();
    while texts.len() < 10_000 {
        if texts.len() % 1000 == 0 {
            web.send(Message::Ping("between".into())).unwrap();
        }
        if let Message::Text(text) = web.read().unwrap() {
            texts.push(text.to_string());
        }
    }
    assert_whole_and_in_order(texts);
}

/// 2,500 numbered texts from each.
pub fn send_from_four_threads(link: &Arc<Link>) {
    for thread in 0..4 {
        let link = Arc::clone(link);
        let send = move || {
            for nth in 0..2500 {
                link.send(&numbered(thread, nth)).unwrap();
            }
        };
        std::thread::Builder::new().name(format!("sender-{thread}")).spawn(send).unwrap();
    }
}

fn numbered(thread: usize, nth: usize) -> String {
    format!("{thread} {nth:04} {}", "x".repeat(nth % 300))
}

pub fn assert_whole_and_in_order(texts: Vec<String>) {
    let mut next = [0; 4];
    for text in texts {
        let thread: usize = text[..1].parse().unwrap();
        assert_eq!(text, numbered(thread, next[thread]));
        next[thread] += 1;
    }
    assert_eq!(next, [2500; 4]);
}

#[test]
fn an_upstream_that_takes_nothing_loses_its_link() {
    let server = Server::start();
    let settings = Settings { stale_after: 10 * LIMIT, ..server.settings() };
    let client = Client::start(&Connector::new(settings).unwrap(), cable(), AfterDown::Stop);
    let _web = server.welcome();
    let link = client.up();
    let megabyte = "x".repeat(1 << 20);

    let sent = (0..100).map(|_| link.send(&megabyte)).find(Result::is_err);

    assert_eq!(sent.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(client.lost(), ("writing failed: timed out".to_owned(), true));
    assert_eq!(link.send("more").unwrap_err().kind(), ErrorKind::NotConnected);
}

#[test]
fn a_lost_link_comes_back_and_the_old_one_is_dead() {
    let server = Server::start();
    let client = Client::start(&server.connector(), cable(), AfterDown::Retry);
    drop(server.welcome());
    let old = client.up();
    assert_eq!(client.down(), (Down::lost("closed by the upstream"), true));

    let mut web = server.welcome();
    let new = client.up();

    assert_eq!(old.send("old").unwrap_err().kind(), ErrorKind::NotConnected);
    new.send("new").unwrap();
    assert_eq!(web.read().unwrap(), Message::text("new"));
}

#[test]
fn attempts_go_on_while_they_fail() {
    let server = Server::start();
    let connector = server.connector();
    let client = Client::start(&connector, cable(), AfterDown::Retry);

    server.accept().answer("HTTP/1.1 503 X\r\n\r\n");
    server.accept().answer("HTTP/1.1 404 X\r\n\r\n");
    let _web = server.welcome();

    assert!(!client.lost().1);
    assert!(matches!(client.down(), (Down::Denied { status: 404, .. }, false)));
    client.up();
    let stats = &connector.stats;
    let counted = [&stats.upstream_up, &stats.upstream_denied, &stats.upstream_failed];
    assert_eq!(counted.map(Counter::get), [1; 3]);
    assert_eq!((stats.upstream_refused.get(), stats.upstream_lost.get()), (0, 0));
}

#[test]
fn an_owner_that_says_stop_ends_the_thread() {
    let server = Server::start();
    let client = server.client();
    drop(server.welcome());
    client.up();
    client.down();

    client.ended();
}
