//! What the gate's tests stand on: a small web of tiny_http behind a real gate, and a client that speaks bytes.
//!
//! Never: a fixed wait. Sockets have a timeout of five seconds that only a failing test meets.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tiny_http::{Header, Request, Response, Server};

use super::ticket::Outcome;
use super::*;
use crate::memory::Budget;

pub(super) const SOON: Duration = Duration::from_secs(5);

/// Limits as in life, waits short enough to test them.
pub(super) const BRISK: Timeouts = Timeouts {
    head: Duration::from_millis(400),
    body: Duration::from_millis(400),
    write: Duration::from_millis(400),
    linger: Duration::from_secs(1),
    inner: Duration::from_secs(5),
    evict: Duration::from_millis(250),
};

pub(super) const LIMITS: Limits =
    Limits { connections: 1000, body: 1024, idle: Duration::from_secs(75) };

type Work = dyn Fn(Arc<Head>) -> Later + Send + Sync;

/// `http` in small. `/later` hands over what the test gave, `/break` breaks its inner connection.
pub(super) struct Web {
    later: Arc<Work>,
    /// Break the connection of the next request, before its ticket is looked at.
    pub(super) break_next: Arc<AtomicBool>,
    /// Do not start another server.
    pub(super) broken: AtomicBool,
    pub(super) starts: AtomicUsize,
}

impl Web {
    pub(super) fn new() -> Web {
        Web::with_later(|_| Box::new(|client| client.answer(Answer::new(200).body("later"))))
    }

    pub(super) fn with_later(later: impl Fn(Arc<Head>) -> Later + Send + Sync + 'static) -> Web {
        Web {
            later: Arc::new(later),
            break_next: Arc::default(),
            broken: AtomicBool::new(false),
            starts: AtomicUsize::new(0),
        }
    }

    pub(super) fn open(self) -> Gate {
        Arc::new(self).open_with(LIMITS, Timeouts::USUAL)
    }

    pub(super) fn open_with(self: Arc<Self>, limits: Limits, timeouts: Timeouts) -> Gate {
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
        let inner = Inner::open(self, Budget::new(128 << 20), timeouts).unwrap();
        Gate::open(Door::Public, bind(&address).unwrap(), limits, &inner).unwrap()
    }
}

impl Serve for Web {
    fn serve(
        self: Arc<Self>,
        listener: UnixListener,
        threads: usize,
        tickets: Arc<Tickets>,
    ) -> io::Result<Box<dyn Fn() + Send + Sync>> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(io::Error::other("a test asked for it"));
        }
        self.starts.fetch_add(1, Ordering::Relaxed);
        let server = Arc::new(Server::from_listener(listener, None).map_err(io::Error::other)?);
        // Its Drop panics when the listener has an abstract name.
        std::mem::forget(server.clone());
        let stopped = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let (server, tickets, stopped) = (server.clone(), tickets.clone(), stopped.clone());
            let (later, broken) = (self.later.clone(), self.break_next.clone());
            let work = move || {
                while !stopped.load(Ordering::Relaxed) {
                    if let Ok(request) = server.recv() {
                        serve(request, &tickets, &*later, &broken);
                    }
                }
            };
            thread::Builder::new().name("http".to_owned()).spawn(work)?;
        }
        Ok(Box::new(move || {
            stopped.store(true, Ordering::Relaxed);
            (0..threads).for_each(|_| server.unblock());
        }))
    }

    fn decorate(&self, _door: Door, _head: &Head, answer: &mut Answer) {
        answer.headers.push_str("X-Decorated: yes\r\n");
    }
}

fn serve(request: Request, tickets: &Tickets, later: &Work, broken: &AtomicBool) {
    if broken.swap(false, Ordering::Relaxed) {
        return garbage(request);
    }
    let header = request.headers().iter().find(|header| header.field.equiv(TICKET));
    let ticket = header.map_or("", |header| header.value.as_str());
    let breaks = Cell::new(false);
    let answer = tickets.answer(ticket, |exchange| handle(exchange, later, &breaks));
    if breaks.get() { garbage(request) } else { respond(request, answer) }
}

fn handle(exchange: Exchange, later: &Work, breaks: &Cell<bool>) -> Outcome {
    let target = exchange.head.target.as_str();
    let body = match target.split('?').next().unwrap_or_default() {
        "/echo" => exchange.body.to_vec(),
        "/target" => target.into(),
        "/cookie" => {
            let cookie = exchange.head.first("cookie").unwrap_or_default().escape_ascii();
            cookie.to_string().into_bytes()
        }
        "/peer" => format!("{:?} {:?}", exchange.door, exchange.peer).into_bytes(),
        "/big" => vec![b'x'; 300_000],
        "/panic" => panic!("a test asked for it"),
        "/break" => {
            breaks.set(true);
            Vec::new()
        }
        "/later" => return Ok(later(exchange.head.clone())),
        _ => b"hello".to_vec(),
    };
    Err(Answer::new(200).body(body))
}

fn garbage(request: Request) {
    let mut writer = request.into_writer();
    writer.write_all(b"no HTTP\r\n\r\n").unwrap();
    writer.flush().unwrap();
}

fn respond(request: Request, answer: Answer) {
    let header = Header::from_bytes(&b"X-From"[..], &b"http"[..]).unwrap();
    let response = Response::from_data(answer.body)
        .with_status_code(answer.status)
        .with_header(header)
        .with_chunked_threshold(usize::MAX);
    let _ = request.respond(response);
}

/// A client's end of one connection.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) line: String,
    pub(super) headers: String,
    pub(super) body: String,
}

impl Got {
    pub(super) fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Peer {
    pub(super) fn connect(gate: &Gate) -> Peer {
        let stream = TcpStream::connect(gate.address().to_string()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Peer { stream, reader }
    }

    /// Connects and sends.
    pub(super) fn sends(gate: &Gate, bytes: impl AsRef<[u8]>) -> Peer {
        let mut peer = Peer::connect(gate);
        peer.send(bytes);
        peer
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads an answer's head, and its body if it tells a length.
    pub(super) fn got(&mut self) -> Got {
        let mut got = self.got_head();
        let length = got.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).unwrap();
        got.body = String::from_utf8(body).unwrap();
        got
    }

    pub(super) fn got_head(&mut self) -> Got {
        let line = self.line();
        let mut headers = String::new();
        loop {
            match self.line() {
                header if header.is_empty() => break,
                header => headers.push_str(&(header + "\n")),
            }
        }
        Got { line, headers, body: String::new() }
    }

    /// Reads to the end, which must be an orderly one.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        rest
    }

    pub(super) fn leave(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

pub(super) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

pub(super) fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Looks until it is so. For what no socket and no channel tells: counts that other threads are about to change.
pub(super) fn eventually(mut so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + SOON;
    let pause = crossbeam_channel::never::<()>();
    while !so() {
        if Instant::now() > deadline {
            return false;
        }
        let _ = pause.recv_timeout(Duration::from_millis(5));
    }
    true
}
