//! The upstream against a server that each test scripts, over real sockets of the loopback.
//!
//! The test's own thread is the server: it accepts, answers, and then looks at what the handler was told.
//! Every wait has a limit of five seconds that only a failing test meets.

mod closing;
mod loss;
mod opening;
mod sockets;
mod tls;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout};
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use super::*;
use crate::memory::{Budget, Held};

const LIMIT: Duration = Duration::from_secs(5);
const WELCOME: &str = r#"{"type":"welcome"}"#;

/// What the handler was told, in order.
#[derive(Debug)]
enum Told {
    Up(Arc<Link>),
    Text(String),
    /// And whether it was up before.
    Down(Down, bool),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({:?})", self.protocol)
    }
}

impl Down {
    fn lost(reason: &str) -> Down {
        Down::Lost { reason: reason.to_owned(), was_up: true, close: None }
    }
}

/// A handler that writes down what it is told. Its channel ends with the thread of the upstream.
struct Listener {
    told: Sender<Told>,
    next: AfterDown,
    handshake: Arc<Handshake>,
    was_up: AtomicBool,
}

impl LinkHandler for Listener {
    fn handshake(&self) -> Arc<Handshake> {
        Arc::clone(&self.handshake)
    }

    fn incoming(&self) -> Share {
        Budget::new(1 << 30).share(Held::Incoming)
    }

    fn up(&self, link: Arc<Link>) {
        self.was_up.store(true, Ordering::Relaxed);
        self.told.send(Told::Up(link)).unwrap();
    }

    fn text(&self, text: &str, _frame: Option<Frame<'_>>) {
        self.told.send(Told::Text(text.to_owned())).unwrap();
    }

    fn text_freed(&self) {}

    fn down(&self, down: Down) -> AfterDown {
        let was_up = self.was_up.load(Ordering::Relaxed);
        self.told.send(Told::Down(down, was_up)).unwrap();
        self.next
    }

    fn broken(&self) {}
}

struct Client {
    upstream: Upstream,
    told: Receiver<Told>,
}

impl Client {
    fn start(connector: &Arc<Connector>, handshake: Handshake, next: AfterDown) -> Client {
        let (tell, told) = bounded(10_000);
        let handshake = Arc::new(handshake);
        let handler =
            Arc::new(Listener { told: tell, next, handshake, was_up: AtomicBool::new(false) });
        Client { upstream: connector.start("7f3a", handler).unwrap(), told }
    }

    fn next(&self) -> Told {
        self.told.recv_timeout(LIMIT).unwrap()
    }

    fn up(&self) -> Arc<Link> {
        match self.next() {
            Told::Up(link) => link,
            told => panic!("{told:?} instead of up"),
        }
    }

    fn text(&self) -> String {
        match self.next() {
            Told::Text(text) => text,
            told => panic!("{told:?} instead of text"),
        }
    }

    fn down(&self) -> (Down, bool) {
        match self.next() {
            Told::Down(down, was_up) => (down, was_up),
            told => panic!("{told:?} instead of down"),
        }
    }

    /// The reason of a `Lost`, and whether the link was up.
    fn lost(&self) -> (String, bool) {
        match self.down().0 {
            Down::Lost { reason, was_up, .. } => (reason, was_up),
            down => panic!("{down:?} instead of lost"),
        }
    }

    /// Waits for the end of the thread, in whose course nothing more is told.
    fn ended(&self) {
        let end = self.told.recv_timeout(LIMIT);
        assert!(matches!(end, Err(crossbeam_channel::RecvTimeoutError::Disconnected)), "{end:?}");
    }
}

fn cable() -> Handshake {
    Handshake { query: String::new(), headers: Vec::new(), protocol: Protocol::Cable }
}

fn raw(protocols: &str) -> Handshake {
    Handshake { protocol: Protocol::Raw { protocols: protocols.to_owned() }, ..cable() }
}

/// A listener whose connections the test answers itself.
struct Server {
    listener: TcpListener,
}

impl Server {
    fn bind(address: &str) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        set_socket_timeout(&listener, Timeout::Recv, Some(LIMIT)).unwrap();
        Server { listener }
    }

    fn start() -> Server {
        Server::bind("127.0.0.1:0")
    }

    fn settings(&self) -> Settings {
        let port = self.listener.local_addr().unwrap().port();
        Settings {
            url: Url::parse(&format!("ws://127.0.0.1:{port}/cable")).unwrap(),
            host_header: None,
            connect_timeout: LIMIT,
            stale_after: LIMIT,
            message_max: 1 << 20,
        }
    }

    fn connector(&self) -> Arc<Connector> {
        Connector::new(self.settings()).unwrap()
    }

    fn client(&self) -> Client {
        Client::start(&self.connector(), cable(), AfterDown::Stop)
    }

    fn accept(&self) -> Peer {
        let (tcp, _) = self.listener.accept().unwrap();
        Peer::new(tcp)
    }

    /// Accepts and switches to WebSocket, with ActionCable's subprotocol.
    fn switch(&self) -> WebSocket<TcpStream> {
        let mut peer = self.accept();
        peer.switch("Sec-WebSocket-Protocol: actioncable-v1-json\r\n");
        peer.web()
    }

    fn welcome(&self) -> WebSocket<TcpStream> {
        let mut web = self.switch();
        web.send(Message::text(WELCOME)).unwrap();
        web
    }
}

struct Peer {
    tcp: TcpStream,
}

impl Peer {
    fn new(tcp: TcpStream) -> Peer {
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        tcp.set_write_timeout(Some(LIMIT)).unwrap();
        Peer { tcp }
    }

    fn head(&mut self) -> Vec<u8> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.tcp.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        head
    }

    fn answer(&mut self, head: &str) {
        self.head();
        self.tcp.write_all(head.as_bytes()).unwrap();
    }

    /// Answers with a 101, and these headers.
    fn switch(&mut self, headers: &str) {
        let head = String::from_utf8_lossy(&self.head()).into_owned();
        let answer = switching(&key_of(&head), headers);
        self.tcp.write_all(answer.as_bytes()).unwrap();
    }

    fn web(self) -> WebSocket<TcpStream> {
        WebSocket::from_raw_socket(self.tcp, Role::Server, None)
    }

    /// Asserts that the other side has closed its socket.
    fn assert_eof(&mut self) {
        let mut rest = Vec::new();
        let _ = self.tcp.set_read_timeout(Some(Duration::from_secs(1)));
        self.tcp.read_to_end(&mut rest).unwrap();
    }
}

fn key_of(head: &str) -> String {
    let line = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    line.unwrap().to_owned()
}

fn switching(key: &str, headers: &str) -> String {
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{headers}\r\n"
    )
}

/// Reads up to the close frame of the client, whose code it returns, and then to the end of the connection.
fn close_code(mut web: WebSocket<TcpStream>) -> u16 {
    let code = loop {
        if let Message::Close(frame) = web.read().unwrap() {
            break frame.unwrap().code.into();
        }
    };
    Peer { tcp: web.into_inner() }.assert_eof();
    code
}

fn reset(tcp: &TcpStream) {
    set_socket_linger(tcp, Some(Duration::ZERO)).unwrap();
}
