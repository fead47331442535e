//! A scripted ActionCable server: the test decides what each connection is told.
//!
//! Owns: the listening port (which stays ours while nobody listens), the handshake as it came, the frames.
//! Never: answers anything by itself. Whatever a test does not script is held back.
//! Waits: on the socket, five seconds at most, and then the test fails.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::{Role, WebSocket};
use tungstenite::{Error, Message};

use super::{Json, PATIENCE, quote, readable};

/// Connections that may wait to be accepted: more than any test opens at once.
const BACKLOG: i32 = 4096;

pub struct FakeUpstream {
    /// Bound and never listening: it keeps the port from being given away while the upstream is gone.
    _port: OwnedFd,
    address: SocketAddrV4,
    listener: Option<TcpListener>,
}

impl FakeUpstream {
    pub fn start() -> FakeUpstream {
        let port = bound(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        let name = SocketAddr::try_from(rustix::net::getsockname(&port).unwrap()).unwrap();
        let SocketAddr::V4(address) = name else { panic!("an IPv4 socket has an IPv4 name") };
        let mut upstream = FakeUpstream { _port: port, address, listener: None };
        upstream.come_back();
        upstream
    }

    /// An upstream whose port is kept, and refuses every connection until `come_back`.
    pub fn absent() -> FakeUpstream {
        let mut upstream = FakeUpstream::start();
        upstream.go_away();
        upstream
    }

    /// What `-s` takes.
    pub fn url(&self) -> String {
        format!("ws://{}/cable", self.address)
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Stops listening: a connect is refused, and a connection nobody accepted is reset.
    pub fn go_away(&mut self) {
        self.listener = None;
    }

    pub fn come_back(&mut self) {
        let socket = bound(self.address);
        rustix::net::listen(&socket, BACKLOG).unwrap();
        self.listener = Some(TcpListener::from(socket));
    }

    /// Waits for the next connection and reads its handshake.
    pub fn accept(&self) -> Link {
        self.accept_within(PATIENCE).expect("a connection to the upstream")
    }

    pub fn accept_within(&self, patience: Duration) -> Option<Link> {
        let listener = self.listener();
        if !readable(listener, patience) {
            return None;
        }
        Some(Link::arrive(listener.accept().unwrap().0))
    }

    /// The next connection, welcomed.
    pub fn welcome(&self) -> Link {
        let mut link = self.accept();
        link.welcome();
        link
    }

    pub fn into_listener(self) -> TcpListener {
        self.listener.unwrap()
    }

    fn listener(&self) -> &TcpListener {
        self.listener.as_ref().expect("an upstream that listens")
    }
}

fn bound(address: SocketAddrV4) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    socket
}

/// What the bridge asked for, byte for byte.
pub struct Handshake {
    pub request_line: String,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Handshake {
    fn read(stream: &mut TcpStream) -> std::io::Result<Handshake> {
        // A byte at a time: what follows the blank line belongs to the WebSocket.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let mut lines = head.split(|&b| b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
        let request_line = String::from_utf8_lossy(lines.next().unwrap()).into_owned();
        let headers = lines.filter(|line| !line.is_empty()).map(header).collect();
        Ok(Handshake { request_line, headers })
    }

    pub fn target(&self) -> &str {
        self.request_line.split(' ').nth(1).unwrap()
    }

    /// Every value that the header came with.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let wanted = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        wanted.map(|(_, value)| value.as_slice()).collect()
    }

    /// The one value of a header that may come once at most.
    pub fn header(&self, name: &str) -> Option<String> {
        let values = self.all(name);
        assert!(values.len() <= 1, "{name} came {} times", values.len());
        values.first().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

fn header(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|&b| b == b':').expect("a header with a colon");
    let name = String::from_utf8_lossy(&line[..colon]).into_owned();
    (name, line[colon + 1..].trim_ascii().to_vec())
}

/// After so long without an answer the bridge asks for a channel again.
const REPEAT_AFTER: Duration = Duration::from_millis(500);

/// What a client of ActionCable sends.
#[derive(Debug, PartialEq)]
pub struct Command {
    pub command: String,
    pub identifier: String,
    pub data: Option<String>,
}

impl Command {
    pub fn parse(text: &str) -> Command {
        let json = Json::parse(text);
        let data = json.has("data").then(|| json.text("data"));
        Command { command: json.text("command"), identifier: json.text("identifier"), data }
    }
}

/// One connection of the bridge, from its handshake on. Dropped, it closes with a FIN and no close frame.
pub struct Link {
    pub handshake: Handshake,
    socket: WebSocket<TcpStream>,
    began: Instant,
    upgraded: bool,
    /// Text frames that were read while something else was waited for.
    kept: VecDeque<String>,
}

impl Link {
    pub fn arrive(stream: TcpStream) -> Link {
        Link::try_arrive(stream).expect("a whole handshake")
    }

    /// An error where the bridge gave up before its handshake was read.
    pub fn try_arrive(mut stream: TcpStream) -> std::io::Result<Link> {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let handshake = Handshake::read(&mut stream)?;
        let socket = WebSocket::from_raw_socket(stream, Role::Server, None);
        Ok(Link {
            handshake,
            socket,
            began: Instant::now(),
            upgraded: false,
            kept: VecDeque::new(),
        })
    }

    pub fn stream(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Answers the handshake with a status that is no upgrade, and closes.
    pub fn answer(mut self, status: u16) {
        let head =
            format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.socket.get_mut().write_all(head.as_bytes()).unwrap();
    }

    /// Answers 101, and stays silent.
    pub fn upgrade(&mut self) {
        self.upgrade_with("Sec-WebSocket-Protocol: actioncable-v1-json\r\n");
    }

    pub fn upgrade_without_subprotocol(&mut self) {
        self.upgrade_with("");
    }

    /// Answers 101 with these header lines beside the ones that must be.
    pub fn upgrade_with(&mut self, headers: &str) {
        let key = self.handshake.header("Sec-WebSocket-Key").expect("a key");
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{headers}\r\n",
            derive_accept_key(key.as_bytes())
        );
        self.bytes(head.as_bytes());
        self.upgraded = true;
    }

    pub fn welcome(&mut self) {
        if !self.upgraded {
            self.upgrade();
        }
        self.raw(r#"{"type":"welcome"}"#);
    }

    /// One text frame, as it is.
    pub fn raw(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// Bytes on the socket, as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).unwrap();
    }

    pub fn frame(&mut self, frame: Message) {
        self.socket.send(frame).unwrap();
    }

    pub fn ping(&mut self) {
        self.raw(r#"{"type":"ping","message":1700000000}"#);
    }

    pub fn confirm(&mut self, identifier: &str) {
        let identifier = quote(identifier);
        self.raw(&format!(r#"{{"identifier":{identifier},"type":"confirm_subscription"}}"#));
    }

    pub fn reject(&mut self, identifier: &str) {
        let identifier = quote(identifier);
        self.raw(&format!(r#"{{"identifier":{identifier},"type":"reject_subscription"}}"#));
    }

    /// A message of a channel; `json` goes out as it is written.
    pub fn message(&mut self, identifier: &str, json: &str) {
        let identifier = quote(identifier);
        self.raw(&format!(r#"{{"identifier":{identifier},"message":{json}}}"#));
    }

    /// ActionCable's farewell; without `reconnect` the key is left out.
    pub fn disconnect(&mut self, reason: &str, reconnect: Option<bool>) {
        let reason = quote(reason);
        let reconnect = reconnect.map_or(String::new(), |r| format!(r#","reconnect":{r}"#));
        self.raw(&format!(r#"{{"type":"disconnect","reason":{reason}{reconnect}}}"#));
    }

    /// A close frame, then a FIN.
    pub fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.socket.send(Message::Close(Some(frame))).unwrap();
    }

    /// A reset instead of an orderly end.
    pub fn cut(self) {
        sockopt::set_socket_linger(self.socket.get_ref(), Some(Duration::ZERO)).unwrap();
    }

    /// The next text frame of the bridge; `None` once it has closed.
    pub fn next_text(&mut self) -> Option<String> {
        if let Some(text) = self.kept.pop_front() {
            return Some(text);
        }
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(error) => {
                    assert!(!timed_out(&error), "nothing came from the bridge");
                    return None;
                }
            }
        }
    }

    /// Waits until the bridge has read everything that was sent so far: it answers a ping after that.
    pub fn settle(&mut self) {
        let before = self.kept.len();
        self.until_pong();
        assert!(self.kept.len() == before, "a pong was due, this came: {:?}", self.kept);
    }

    /// Keeps what comes before the answer to a ping.
    fn until_pong(&mut self) {
        self.frame(Message::Ping(Vec::new().into()));
        loop {
            match self.socket.read().expect("a pong from the bridge") {
                Message::Pong(_) => return,
                Message::Text(text) => self.kept.push_back(text.as_str().to_owned()),
                other => panic!("a pong was due, this came: {other:?}"),
            }
        }
    }

    pub fn expect_command(&mut self) -> Command {
        Command::parse(&self.next_text().expect("a command, and the bridge closed"))
    }

    pub fn expect_subscribe(&mut self, identifier: &str) {
        self.expect("subscribe", identifier);
    }

    pub fn expect_unsubscribe(&mut self, identifier: &str) {
        self.expect("unsubscribe", identifier);
    }

    /// The next command is a `message`; returns its data.
    pub fn expect_send(&mut self, identifier: &str) -> String {
        self.expect("message", identifier).data.expect("data")
    }

    fn expect(&mut self, command: &str, identifier: &str) -> Command {
        let came = self.expect_command();
        assert_eq!((came.command.as_str(), came.identifier.as_str()), (command, identifier));
        came
    }

    /// Expects a subscribe and confirms it.
    pub fn subscribed(&mut self, identifier: &str) {
        self.expect_subscribe(identifier);
        self.confirmed(identifier);
    }

    /// Confirms, and the bridge knows. It asks again after half a second without an answer, which on a busy machine
    /// passes: such a repeat is taken away, but on a link that is too young for one.
    pub fn confirmed(&mut self, identifier: &str) {
        self.confirm(identifier);
        self.until_pong();
        if self.began.elapsed() < REPEAT_AFTER {
            return;
        }
        let repeats = |text: &String| {
            let command = Command::parse(text);
            command.command == "subscribe" && command.identifier == identifier
        };
        self.kept.retain(|text| !repeats(text));
    }

    /// Waits for the end of the connection. The code of the close frame, if one came first.
    pub fn expect_close(&mut self) -> Option<u16> {
        assert!(self.kept.is_empty(), "a close was due, this came: {:?}", self.kept);
        let mut code = None;
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => code = frame.map(|frame| frame.code.into()),
                Ok(Message::Text(text)) => panic!("a close was due, this came: {text}"),
                Ok(_) => {}
                Err(error) => {
                    assert!(!timed_out(&error), "the bridge did not close");
                    return code;
                }
            }
        }
    }
}

fn timed_out(error: &Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error, Error::Io(io) if matches!(io.kind(), WouldBlock | TimedOut))
}
