//! An HTTP client that writes what it is told, verbatim, and reads line by line.
//!
//! `Request` is what goes out, `Asked` one that went and has no answer yet, so that a test can script the
//! upstream in between; it becomes a `Response`, a `Stream` or a `Poll`.
//! Waits: on the socket, five seconds at most, and then the test fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt;

use super::framed::Framed;
use super::{Json, PATIENCE, Stream, readable};

const HEALTH: &[u8] = b"GET /-/health HTTP/1.1\r\nHost: a\r\n\r\n";

pub struct Request {
    address: SocketAddr,
    line: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Request {
        let line = format!("{method} {target} HTTP/1.1");
        Request { address, line, headers: Vec::new(), body: Vec::new() }
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn body(mut self, body: &str) -> Request {
        self.body = body.as_bytes().to_vec();
        self.header("Content-Length", body.len().to_string())
    }

    pub fn sse(self) -> Request {
        self.header("Accept", "text/event-stream")
    }

    /// Sends it and does not wait.
    pub fn begin(self) -> Asked {
        Asked::write(self.address, &self.bytes())
    }

    /// Sends it right behind another request on the same connection, whose answer shows that the bridge is at it.
    /// Each connection has a thread of its own: else a busy machine lets later requests overtake this one.
    pub fn begin_seen(self) -> Asked {
        let mut asked = Asked::write(self.address, &[HEALTH, self.bytes().as_slice()].concat());
        assert_eq!(asked.next_response().status, 200);
        asked
    }

    fn bytes(self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.line).into_bytes();
        if !self.headers.iter().any(|(name, _)| name == "Host") {
            bytes.extend_from_slice(format!("Host: {}\r\n", self.address).as_bytes());
        }
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub fn send(self) -> Response {
        self.begin().response()
    }

    /// Sends more than the bridge takes: it answers and may close before it has all of it.
    pub fn send_too_much(self) -> Response {
        let mut asked = Asked::connect(self.address);
        let _ = asked.more(&self.bytes());
        asked.response()
    }

    pub fn stream(self) -> Stream {
        self.begin().stream()
    }

    pub fn poll(self) -> Poll {
        self.begin().poll()
    }

    /// A poll that has given its place back: the next request on its connection is answered after that.
    pub fn poll_and_leave(self) -> Poll {
        let mut asked = self.begin();
        let poll = Poll::new(asked.next_response());
        asked.more(HEALTH).unwrap();
        assert_eq!(asked.next_response().status, 200);
        poll
    }
}

/// A request that was sent. Dropped, it leaves with a FIN.
pub struct Asked {
    reader: BufReader<TcpStream>,
}

impl Asked {
    pub fn connect(address: SocketAddr) -> Asked {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Asked { reader: BufReader::new(stream) }
    }

    pub fn write(address: SocketAddr, bytes: &[u8]) -> Asked {
        let mut asked = Asked::connect(address);
        asked.more(bytes).unwrap();
        asked
    }

    /// More bytes on the same connection.
    pub fn more(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// For the few answers that are due later than five seconds.
    pub fn patient(self, patience: Duration) -> Asked {
        self.reader.get_ref().set_read_timeout(Some(patience)).unwrap();
        self
    }

    pub fn has_answer_within(&self, patience: Duration) -> bool {
        !self.reader.buffer().is_empty() || readable(self.reader.get_ref(), patience)
    }

    /// Whether the bridge has said nothing so far.
    pub fn is_waiting(&self) -> bool {
        self.reader.buffer().is_empty() && !readable(self.reader.get_ref(), Duration::ZERO)
    }

    /// So many bytes of the body.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes).expect("bytes of the body");
        bytes
    }

    /// Leaves with a reset.
    pub fn abort(self) {
        reset(self.reader.get_ref());
    }

    pub fn response(mut self) -> Response {
        self.next_response()
    }

    /// An answer on a connection that stays open.
    pub fn next_response(&mut self) -> Response {
        let mut response = self.head();
        response.body = self.body(&response);
        response
    }

    pub fn stream(mut self) -> Stream {
        let head = self.head();
        if head.status != 200 {
            panic!("no stream but {}: {}", head.status, self.rest());
        }
        Stream::new(head, self.reader)
    }

    pub fn poll(self) -> Poll {
        Poll::new(self.response())
    }

    /// Everything until the bridge closes; a reset counts as a close.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Err(error) = self.reader.read_to_end(&mut bytes) {
            let kind = error.kind();
            assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "no end after {bytes:?}");
        }
        String::from_utf8(bytes).unwrap()
    }

    /// The rest of a body, between two of its chunks.
    pub fn rest_of(&mut self, head: &Response) -> String {
        String::from_utf8(self.body(head)).unwrap()
    }

    /// Reads status line and headers.
    pub fn head(&mut self) -> Response {
        let line = self.line();
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut response = Response { status, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else {
                assert_eq!(line, "", "a header without a colon");
                return response;
            };
            response.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line of the head");
        assert!(line.ends_with("\r\n"), "the head ends in the middle: {line:?}");
        line.trim_end_matches("\r\n").to_owned()
    }

    fn body(&mut self, head: &Response) -> Vec<u8> {
        let mut body = Vec::new();
        if !matches!(head.status, 204 | 304) {
            let mut framed = Framed::new(head, &mut self.reader);
            framed.read_to_end(&mut body).expect("a body that ends");
        }
        body
    }
}

/// Makes the drop of this socket a reset.
pub fn reset(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The sentence of an error that the bridge words, which is the only thing in it.
    pub fn error(&self) -> String {
        assert!((400..600).contains(&self.status), "no error: {self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let json = Json::parse(&self.text());
        assert_eq!(json.keys(), ["error"]);
        json.text("error")
    }

    /// The status, and the sentence, of a request that was refused.
    pub fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        self.error()
    }

    /// The answers of a POST that was taken.
    pub fn done(&self) -> Vec<Json> {
        assert_eq!(self.status, 200, "{}", self.text());
        Json::parse_list(&self.text())
    }
}

/// The answer of a long poll.
pub struct Poll {
    pub head: Response,
    pub json: Json,
    pub messages: Vec<Json>,
}

impl Poll {
    fn new(head: Response) -> Poll {
        assert_eq!(head.status, 200, "{}", head.text());
        let json = Json::parse(&head.text());
        let messages = json.list("messages");
        Poll { head, json, messages }
    }

    pub fn kinds(&self) -> Vec<String> {
        self.messages.iter().map(Json::kind).collect()
    }

    /// The `message` of each, as it came.
    pub fn bodies(&self) -> Vec<String> {
        self.messages.iter().map(|m| m.raw("message").to_owned()).collect()
    }
}
