//! One attacker: strikes of one kind, at a bounded pace, on a thread of its own, counted.
//!
//! Never: takes a refusal, an end or silence for an error. Only an answer that must not be is one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::tick;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use crate::chaos::figures::{Count, Figures};
use crate::chaos::rng::Rng;

/// A connect, a write or a read of an attacker takes no longer: the next strike is due.
const HURRY: Duration = Duration::from_secs(2);

/// Bytes of an answer that are looked at.
const ANSWER_MAX: usize = 64 * 1024;

const STACK: usize = 256 * 1024;

/// A kind of attack: its name, strikes a second, and one strike.
pub type Attack = (&'static str, u32, fn(&mut Attacker));

pub struct Attacker {
    pub bridge: SocketAddr,
    pub name: &'static str,
    pub rng: Rng,
    /// Connections that are not let go of yet.
    pub held: Vec<TcpStream>,
    /// How many strikes there were before this one.
    pub round: u64,
    pub count: Arc<Count>,
    pub figures: Arc<Figures>,
}

impl Attacker {
    /// Strikes until it is stopped, then lets go of everything.
    pub fn begin(mut self, attack: Attack, stopped: Arc<AtomicBool>) -> JoinHandle<()> {
        let (name, pace, strike) = attack;
        let work = move || {
            for _ in tick(Duration::from_secs(1) / pace) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                strike(&mut self);
                self.round += 1;
            }
        };
        Builder::new().name(name.into()).stack_size(STACK).spawn(work).unwrap()
    }

    /// A new connection with these bytes on it, as far as they are taken.
    pub fn fling(&mut self, bytes: impl AsRef<[u8]>) -> Option<TcpStream> {
        let mut socket = TcpStream::connect_timeout(&self.bridge, HURRY).ok()?;
        socket.set_nodelay(true).ok()?;
        socket.set_read_timeout(Some(HURRY)).ok()?;
        socket.set_write_timeout(Some(HURRY)).ok()?;
        let _ = socket.write_all(bytes.as_ref());
        self.count.one();
        Some(socket)
    }

    /// Flings, and reads until the bridge closes, or what comes soon.
    pub fn answer(&mut self, bytes: impl AsRef<[u8]>) -> String {
        self.fling(bytes).map_or(String::new(), |mut socket| read(&mut socket))
    }

    /// The answer must be one 4xx, 501, 503 or 505, or a close, and nothing behind it.
    pub fn refused(&mut self, bytes: impl AsRef<[u8]>) {
        let answer = self.answer(&bytes);
        let fine = answer.is_empty()
            || ["4", "501", "503", "505"].iter().any(|s| answer[9..].starts_with(s));
        if !fine || answer.matches("\r\nContent-Length: ").count() > 1 {
            let shown: Vec<u8> = bytes.as_ref().iter().take(200).copied().collect();
            self.complain(&format!("{:?}: {answer:.300}", String::from_utf8_lossy(&shown)));
        }
    }

    /// Leaves with a FIN or a reset.
    pub fn leave(&mut self, socket: TcpStream) {
        if self.rng.percent(50) {
            let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        }
    }

    /// A path that nobody has had before.
    pub fn path(&mut self) -> String {
        format!("/{}-{}-{}", self.name.replace(' ', "-"), self.round, self.rng.below(1 << 30))
    }

    /// Lets go of those that the bridge has ended, and counts the others.
    pub fn sift(&mut self) -> usize {
        // A FIN counts, whatever lies unread before it.
        self.held.retain(|socket| {
            let mut watched = [PollFd::new(socket, PollFlags::RDHUP)];
            poll(&mut watched, Some(&Timespec::default())).unwrap() == 0
        });
        self.held.len()
    }

    pub fn complain(&self, what: &str) {
        self.figures.complain(&self.figures.wrong, 1, format!("{}: {what}", self.name));
    }
}

/// What comes until the end, within a hurry.
pub fn read(socket: &mut TcpStream) -> String {
    let deadline = Instant::now() + HURRY;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.len() < ANSWER_MAX && Instant::now() < deadline {
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
