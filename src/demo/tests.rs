use super::*;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use tungstenite::WebSocket;
use tungstenite::client::IntoClientRequest;

/// More messages than one client is kept waiting for.
const MANY: usize = 2048;

const CHAT: &str = r#"{"channel":"ChatChannel","room":1}"#;

struct Client(WebSocket<TcpStream>);

impl Client {
    /// Connects and takes the welcome.
    fn to(url: &Url) -> Client {
        let mut client = Client::connect(url, Some("actioncable-v1-json, actioncable-unsupported"));
        assert_eq!(client.next(), r#"{"type":"welcome"}"#);
        client
    }

    fn connect(url: &Url, protocols: Option<&'static str>) -> Client {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut request =
            format!("ws://127.0.0.1:{}/any?path", url.port).into_client_request().unwrap();
        if let Some(protocols) = protocols {
            let protocols = protocols.parse().unwrap();
            request.headers_mut().insert("Sec-WebSocket-Protocol", protocols);
        }
        let (socket, answer) = tungstenite::client(request, stream).unwrap();
        let chosen = answer.headers().get("Sec-WebSocket-Protocol");
        assert_eq!(chosen.is_some(), protocols.is_some());
        Client(socket)
    }

    fn command(&mut self, command: &str, identifier: &str, data: Option<&str>) {
        let mut text = json!({ "command": command, "identifier": identifier });
        if let Some(data) = data {
            text["data"] = data.into();
        }
        self.text(text.to_string());
    }

    fn text(&mut self, text: String) {
        self.0.send(Message::text(text)).unwrap();
    }

    fn subscribed(url: &Url, identifier: &str) -> Client {
        let mut client = Client::to(url);
        client.command("subscribe", identifier, None);
        assert_eq!(client.json()["type"], "confirm_subscription");
        client
    }

    /// The next frame that is no ping of ActionCable.
    fn next(&mut self) -> String {
        loop {
            let text = self.0.read().unwrap().into_text().unwrap();
            if !text.starts_with(r#"{"type":"ping""#) {
                return text.to_string();
            }
        }
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.next()).unwrap()
    }
}

#[test]
fn a_client_is_welcomed_with_or_without_a_subprotocol() {
    let url = start().unwrap();

    assert_eq!(Client::connect(&url, Some("actioncable-v1-json")).next(), wire::WELCOME);
    assert_eq!(Client::connect(&url, None).next(), wire::WELCOME);
}

#[test]
fn a_channel_is_confirmed_with_its_identifier_as_it_is_spelled() {
    let mut client = Client::to(&start().unwrap());
    let identifier = r#""{\"room\": 1.0,\u0022channel\":\"Caf\u00e9\"}""#;

    client.text(format!(r#"{{"command":"subscribe","identifier":{identifier}}}"#));

    assert_eq!(
        client.json(),
        json!({ "identifier": serde_json::from_str::<String>(identifier).unwrap(), "type": "confirm_subscription" })
    );
}

#[test]
fn a_send_comes_back_to_every_subscriber_byte_for_byte() {
    let url = start().unwrap();
    let mut one = Client::subscribed(&url, CHAT);
    let mut two = Client::subscribed(&url, CHAT);
    let data = r#"{"n": 12345678901234567890, "x":1.0,"s":"\u00e9"}"#;

    one.command("message", CHAT, Some(data));

    let expected = format!(r#"{{"identifier":{},"message":{data}}}"#, json!(CHAT));
    assert_eq!((one.next(), two.next()), (expected.clone(), expected));
}

#[test]
fn the_order_of_keys_makes_no_other_channel() {
    let url = start().unwrap();
    let mut one = Client::subscribed(&url, CHAT);
    let other = r#"{"room":1, "channel":"ChatChannel"}"#;
    let mut two = Client::subscribed(&url, other);

    one.command("message", CHAT, Some("{}"));

    assert_eq!(two.json(), json!({ "identifier": other, "message": {} }));
}

#[test]
fn another_spelling_of_a_number_makes_another_channel() {
    let url = start().unwrap();
    let mut one = Client::subscribed(&url, r#"{"channel":"C","n":1.0}"#);
    let mut two = Client::subscribed(&url, r#"{"channel":"C","n":1.00}"#);

    one.command("message", r#"{"channel":"C","n":1.0}"#, Some("1"));
    assert_eq!(one.json()["message"], 1);
    two.command("message", r#"{"channel":"C","n":1.00}"#, Some("2"));

    assert_eq!(two.json()["message"], 2);
}

#[test]
fn turbos_channel_tells_the_time_as_markup() {
    let identifier = r#"{"channel":"Turbo::StreamsChannel","signed_stream_name":"x"}"#;
    let mut client = Client::subscribed(&start().unwrap(), identifier);

    let told = client.json();

    let markup = told["message"].as_str().unwrap();
    assert!(
        markup.starts_with(r#"<turbo-stream action="update" target="clock"><template>2"#),
        "{markup}"
    );
    assert!(markup.ends_with("Z</template></turbo-stream>"), "{markup}");
}

#[test]
fn the_rejected_channel_is_rejected() {
    let mut client = Client::to(&start().unwrap());
    let identifier = r#"{"channel":"RejectedChannel","x":1}"#;

    client.command("subscribe", identifier, None);

    assert_eq!(client.json(), json!({ "identifier": identifier, "type": "reject_subscription" }));
}

#[test]
fn the_clock_channel_tells_the_time() {
    let identifier = r#"{"channel":"ClockChannel"}"#;
    let mut client = Client::subscribed(&start().unwrap(), identifier);

    let told = client.json();

    assert_eq!(told["identifier"], identifier);
    let time = told["message"]["time"].as_str().unwrap();
    let age = std::time::SystemTime::now()
        .duration_since(humantime::parse_rfc3339(time).unwrap())
        .unwrap();
    assert!(age < Duration::from_secs(5), "{time}");
}

#[test]
fn everyone_is_pinged_with_the_time_in_seconds() {
    let mut client = Client::to(&start().unwrap());

    let text = client.0.read().unwrap().into_text().unwrap();

    let ping: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(ping["type"], "ping");
    assert!(ping["message"].as_u64().unwrap() > 1_700_000_000);
}

#[test]
fn a_client_that_unsubscribed_hears_no_more() {
    let url = start().unwrap();
    let mut one = Client::subscribed(&url, CHAT);
    let mut two = Client::subscribed(&url, CHAT);
    one.command("unsubscribe", CHAT, None);
    one.command("message", CHAT, Some(r#""from nobody""#));
    one.command("subscribe", r#"{"channel":"Marker"}"#, None);
    assert_eq!(one.json()["type"], "confirm_subscription");

    two.command("message", CHAT, Some("1"));

    assert_eq!(two.json()["message"], 1);
    one.command("message", r#"{"channel":"Marker"}"#, Some("2"));
    assert_eq!(one.json()["message"], 2);
}

#[test]
fn what_is_no_command_is_ignored() {
    let mut client = Client::subscribed(&start().unwrap(), CHAT);
    for text in ["", "{", "[]", r#"{"command":"subscribe"}"#, r#"{"command":1,"identifier":"{}"}"#]
    {
        client.text(text.to_owned());
    }
    for identifier in ["", "{", "[]", "{}", r#"{"channel":1}"#, &"[".repeat(100_000)] {
        client.command("subscribe", identifier, None);
    }
    client.command("dance", CHAT, None);
    for data in [None, Some(""), Some("{"), Some("1 2")] {
        client.command("message", CHAT, data);
    }
    client.0.send(Message::binary(vec![0, 255])).unwrap();

    client.command("message", CHAT, Some(r#""marker""#));

    assert_eq!(client.json()["message"], "marker");
}

#[test]
fn an_identifier_as_deep_as_the_bridge_takes_is_taken() {
    let deep = format!(r#"{{"channel":"Deep","x":{}{}}}"#, "[".repeat(60), "]".repeat(60));

    Client::subscribed(&start().unwrap(), &deep);
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_holds_up_no_other() {
    let url = start().unwrap();
    let mut slow = Client::subscribed(&url, CHAT);
    let mut quick = Client::subscribed(&url, CHAT);
    let data = format!("\"{}\"", "x".repeat(16 * 1024));

    // More than the buffers of a socket hold: 32 MiB.
    for _ in 0..MANY {
        quick.command("message", CHAT, Some(&data));
        assert_eq!(quick.json()["message"].as_str().map(str::len), Some(16 * 1024));
    }

    // The end comes, and not the five seconds of a silence: EOF or a reset.
    let mut rest = Vec::new();
    let end = slow.0.get_mut().read_to_end(&mut rest).map_err(|error| error.kind());
    assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    assert!(rest.len() < MANY / 2 * 16 * 1024, "{}", rest.len());
}

#[test]
fn a_burst_of_sends_comes_back_whole_and_in_order() {
    let url = start().unwrap();
    let mut client = Client::subscribed(&url, CHAT);
    let count = 3 * 1024;

    for number in 0..count {
        client.command("message", CHAT, Some(&number.to_string()));
    }

    for number in 0..count {
        assert_eq!(client.json()["message"], number);
    }
}

#[test]
fn a_ping_is_answered_and_a_close_too() {
    let mut client = Client::to(&start().unwrap());

    client.0.send(Message::Ping(vec![7].into())).unwrap();
    assert_eq!(client.0.read().unwrap(), Message::Pong(vec![7].into()));

    client.0.close(None).unwrap();
    assert!(matches!(client.0.read().unwrap(), Message::Close(_)));
}

#[test]
fn a_connection_without_a_handshake_disturbs_no_other() {
    let url = start().unwrap();
    let mut other = TcpStream::connect((url.host.as_str(), url.port)).unwrap();
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = other.read_to_end(&mut answer);

    Client::to(&url);
}

#[test]
fn a_client_that_left_is_forgotten() {
    let room = DemoRoom::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket = DemoSocket::new(listener.accept().unwrap().0).unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();

    assert!(serve(&socket, &room).is_err());

    assert!(room.peers().is_empty());
}
