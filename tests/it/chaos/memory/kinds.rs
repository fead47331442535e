//! The kinds of what makes the bridge hold much: each goes on until the siege is over.
//!
//! Never: takes a refusal for an error; an answer that is none of the contract's is one.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::pause;
use super::server::Server;
use crate::support::{CHAT, ROOM, Request, quote, send, subscribe};

pub type Kind = fn(&Siege<'_>);

pub const KINDS: [(&str, Kind); 6] = [
    ("sessions until refused", sessions),
    ("readers and stuck readers", readers),
    ("bodies that wait", bodies),
    ("held sends and identifiers", channels),
    ("5 MB to every session", large),
    ("all at once", all),
];

/// Threads of a kind that opens sessions until it is refused.
const OPENERS: usize = 4;
const READERS: usize = 40;
const BODIES: usize = 500;
const BODY: usize = 1024 * 1024;

/// Identifiers and `send`s of one POST, as large as they may be.
const CHANNELS: usize = 60;
const HELD: usize = 64;

/// After a refusal the next try waits so long.
const BREATH: Duration = Duration::from_millis(200);

/// No kind opens more sessions than this.
const SESSIONS_MAX: usize = 4_000;

/// Enough for a request and an answer.
const STACK: usize = 128 * 1024;

/// What an answer may be: done, an order of the contract's to come again, or the server's silence told.
const STATUSES: [&str; 6] = ["200", "short stream", "413", "502", "503", "closed"];

pub struct Siege<'a> {
    bridge: SocketAddr,
    until: Instant,
    server: &'a Server,
    number: AtomicUsize,
    answers: Mutex<BTreeMap<String, usize>>,
    wrong: Mutex<Vec<String>>,
}

impl<'a> Siege<'a> {
    pub fn new(bridge: SocketAddr, until: Instant, server: &'a Server) -> Self {
        let (answers, wrong) = (Mutex::default(), Mutex::default());
        Siege { bridge, until, server, number: AtomicUsize::new(0), answers, wrong }
    }

    /// The stream of the session that must not notice.
    pub fn honest(&self) -> Request {
        let target = format!("/honest?way=honest&identifier={}", encoded(ROOM));
        Request::new(self.bridge, "GET", &target).sse()
    }

    pub fn expect(&self, result: Result<(), String>) {
        self.wrong.lock().extend(result.err());
    }

    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().clone()
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn path(&self, kind: &str) -> String {
        format!("/{kind}-{}", self.number.fetch_add(1, Ordering::SeqCst))
    }

    /// Sends a request, and reads the head of its answer; the connection, if it goes on.
    fn ask(&self, method: &str, target: &str, headers: &str, body: &str) -> Option<TcpStream> {
        let Some(mut socket) = self.connect() else {
            self.count("closed");
            return None;
        };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        // What is refused before it was sent whole has its answer all the same.
        let _ = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(body.as_bytes()));
        let answer = self.head(&mut socket);
        let status = answer.get(9..12).unwrap_or("closed");
        let is_short = answer.contains("event-stream") && !answer.contains("X-Session-Id");
        self.count(if is_short { "short stream" } else { status });
        (status == "200" && !is_short).then_some(socket)
    }

    fn connect(&self) -> Option<TcpStream> {
        let socket = TcpStream::connect_timeout(&self.bridge, Duration::from_secs(5)).ok()?;
        socket.set_read_timeout(Some(Duration::from_millis(100))).ok()?;
        socket.set_write_timeout(Some(Duration::from_secs(5))).ok()?;
        Some(socket)
    }

    /// Until the blank line, the end, or the siege is over.
    fn head(&self, socket: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") && !self.is_over() {
            match socket.read(&mut byte) {
                Ok(1) => bytes.push(byte[0]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => break,
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn count(&self, answer: &str) {
        if self.is_over() {
            return;
        }
        *self.answers.lock().entry(answer.to_owned()).or_default() += 1;
        if !STATUSES.contains(&answer) {
            self.wrong.lock().push(format!("an answer of {answer}"));
        }
    }

    /// Opens streams of this query until it is refused, and again where one has ended; half of them are read.
    fn crowd(&self, kind: &str, query: &str) {
        together(OPENERS, |_| {
            let mut streams = Vec::new();
            while !self.is_over() {
                let target = format!("{}{query}", self.path(kind));
                match self.ask("GET", &target, "Accept: text/event-stream\r\n", "") {
                    Some(stream) if streams.len() < SESSIONS_MAX / OPENERS => {
                        stream.set_nonblocking(true).unwrap();
                        streams.push(stream);
                    }
                    _ => pause(BREATH),
                }
                read_some(streams.iter_mut().step_by(2));
            }
        });
    }
}

impl fmt::Display for Siege<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answers = self.answers.lock();
        let answers = answers.iter().map(|(answer, count)| format!("{answer}: {count}"));
        f.write_str(&answers.collect::<Vec<_>>().join(", "))
    }
}

/// What is there on each of them, and no more.
fn read_some<'a>(streams: impl Iterator<Item = &'a mut TcpStream>) {
    let mut waste = [0; 64 * 1024];
    for stream in streams {
        while matches!(stream.read(&mut waste), Ok(1..)) {}
    }
}

fn together(threads: usize, work: impl Fn(usize) + Sync) {
    let work = &work;
    thread::scope(|scope| {
        for number in 0..threads {
            let named = thread::Builder::new().stack_size(STACK);
            named.spawn_scoped(scope, move || work(number)).unwrap();
        }
    });
}

fn sessions(siege: &Siege<'_>) {
    siege.crowd("sessions", "");
}

fn large(siege: &Siege<'_>) {
    siege.crowd("large", "?way=large&channel=ChatChannel");
}

/// Messages of 1 KB, 50 a second, to sessions that read and to as many that do not.
fn readers(siege: &Siege<'_>) {
    let message = quote(&"x".repeat(1_000));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !siege.is_over() {
                siege.server.tell_crowd(&message);
                pause(Duration::from_millis(20));
            }
        });
        together(2 * READERS, |number| {
            while !siege.is_over() {
                let target = format!("{}?channel=ChatChannel", siege.path("readers"));
                let accept = "Accept: text/event-stream\r\n";
                let Some(mut stream) = siege.ask("GET", &target, accept, "") else {
                    pause(BREATH);
                    continue;
                };
                let mut waste = [0; 4096];
                while !siege.is_over() && (number % 2 == 1 || is_open(stream.read(&mut waste))) {
                    pause(Duration::from_millis(20));
                }
            }
        });
    });
}

fn is_open(read: std::io::Result<usize>) -> bool {
    read.map_or_else(|error| error.kind() == std::io::ErrorKind::WouldBlock, |size| size > 0)
}

/// POSTs that wait for a server that does not answer.
fn bodies(siege: &Siege<'_>) {
    let text = "x".repeat(BODY - 100);
    let body = format!("[{}]", send(CHAT, &quote(&text)));
    together(BODIES, |_| {
        while !siege.is_over() {
            let target = format!("{}?way=hang&poll-queue=32", siege.path("bodies"));
            drop(siege.ask("POST", &target, "", &body));
            pause(BREATH * 5);
        }
    });
}

/// Sessions whose server confirms nothing and reads nothing, full of identifiers and of `send`s that wait.
fn channels(siege: &Siege<'_>) {
    let named = |n: usize| format!(r#"{{"channel":"C","x":"{n:04}{}"}}"#, "x".repeat(4_000));
    let subscribes = (0..CHANNELS).map(|n| subscribe(&named(n)));
    let text = quote(&"x".repeat(8_000));
    let sends = (0..HELD).map(|_| send(&named(0), &text));
    let body = format!("[{}]", subscribes.chain(sends).collect::<Vec<_>>().join(","));
    let cookie = format!("Cookie: {}\r\n", "c".repeat(12_000));
    let opened = AtomicUsize::new(0);
    together(OPENERS, |_| {
        while !siege.is_over() {
            let target = format!("{}?way=deaf&poll-queue=32", siege.path("channels"));
            let is_in = siege.ask("POST", &target, &cookie, &body).is_some();
            if !is_in || opened.fetch_add(1, Ordering::SeqCst) > SESSIONS_MAX {
                pause(BREATH);
            }
        }
    });
}

fn all(siege: &Siege<'_>) {
    thread::scope(|scope| {
        for (_, kind) in &KINDS[..KINDS.len() - 1] {
            scope.spawn(move || kind(siege));
        }
    });
}

/// As it stands in a URL.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
