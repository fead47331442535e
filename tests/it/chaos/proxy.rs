//! A TCP proxy that cuts: each connection has its plan, after how many bytes it ends and how that looks from each side.
//!
//! Owns: one small thread a connection, which relays until the plan says that it is enough.
//! A connection that is held stays open towards the bridge when the client's side has gone: what a client whose
//! network went away looks like to a server.
//! At the limit: the bridge has to end a held one after its client came back; if it does not, that is a complaint.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use super::figures::Figures;
use crate::support::PATIENCE;

/// Enough for two sockets and a buffer.
const STACK: usize = 128 * 1024;

/// Bytes that are relayed at a time.
const BUFFER: usize = 4 * 1024;

/// What a held connection that nobody reads takes in; the rest stays in the bridge until its writer is stuck.
const UNREAD: usize = 4 * 1024;

/// By then the client of a held stream has come back and the bridge has ended it.
const HELD_MAX: Duration = Duration::from_secs(10);

/// How long a held connection that is no listener stays.
const HELD: Duration = Duration::from_secs(1);

/// After how many bytes, in which direction.
#[derive(Clone, Copy, Debug)]
pub enum After {
    Request(usize),
    Answer(usize),
}

/// What becomes of one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Fin,
    Reset,
    /// Stays open, and what comes is read and thrown away.
    Held,
    /// Stays open, and for a while nothing is read: a writer may be stuck meanwhile.
    HeldUnread,
}

#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub after: After,
    pub client: End,
    pub bridge: End,
    /// A stream: who comes back takes its place, and the bridge has to end it. What else is held may rest there.
    pub stream: bool,
}

impl Cut {
    /// Whether the bridge does not see it, and has a listener there.
    pub fn leaves_listener(&self) -> bool {
        self.is_held() && self.stream && matches!(self.after, After::Answer(_))
    }

    fn is_held(&self) -> bool {
        matches!(self.bridge, End::Held | End::HeldUnread)
    }

    fn patience(&self) -> Duration {
        if self.leaves_listener() { HELD_MAX } else { HELD }
    }
}

pub struct Proxy {
    listener: TcpListener,
    bridge: SocketAddr,
    figures: Arc<Figures>,
}

impl Proxy {
    pub fn new(bridge: SocketAddr, figures: Arc<Figures>) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Proxy { listener, bridge, figures }
    }

    /// A connection to the bridge that ends as planned; without a plan it lasts.
    pub fn dial(&self, cut: Option<Cut>) -> TcpStream {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        let near = self.listener.accept().unwrap().0;
        let far = TcpStream::connect(self.bridge).unwrap();
        if cut.is_some_and(|cut| cut.bridge == End::HeldUnread) {
            sockopt::set_socket_recv_buffer_size(&far, UNREAD).unwrap();
        }
        for socket in [&client, &near, &far] {
            socket.set_nodelay(true).unwrap();
            socket.set_write_timeout(Some(PATIENCE)).unwrap();
        }
        let relay = Relay { near, far, cut, figures: Arc::clone(&self.figures) };
        Builder::new().name("proxy".into()).stack_size(STACK).spawn(move || relay.run()).unwrap();
        client
    }
}

struct Relay {
    /// To the client.
    near: TcpStream,
    /// To the bridge.
    far: TcpStream,
    cut: Option<Cut>,
    figures: Arc<Figures>,
}

enum Passed {
    On,
    /// One side has ended by itself.
    Ended,
    /// The plan's bytes are used up.
    Spent,
}

impl Relay {
    fn run(self) {
        let (mut up, mut down) = match self.cut.map(|cut| cut.after) {
            Some(After::Request(bytes)) => (bytes, usize::MAX),
            Some(After::Answer(bytes)) => (usize::MAX, bytes),
            None => (usize::MAX, usize::MAX),
        };
        loop {
            let [client, bridge] = wait([&self.near, &self.far]);
            let mut passed = Passed::On;
            if client {
                passed = pass(&self.near, &self.far, &mut up);
            }
            if bridge && matches!(passed, Passed::On) {
                passed = pass(&self.far, &self.near, &mut down);
            }
            match (passed, self.cut) {
                (Passed::On, _) => {}
                (Passed::Spent, Some(cut)) => return self.end(cut),
                _ => return,
            }
        }
    }

    /// The bridge's side first: when the client sees its end, the bridge could know of it.
    fn end(self, cut: Cut) {
        let Relay { near, far, figures, .. } = self;
        if !cut.is_held() {
            close(far, cut.bridge);
            return close(near, cut.client);
        }
        close(near, cut.client);
        let reads = cut.bridge == End::Held;
        match (cut.leaves_listener(), hold(&far, reads, cut.patience())) {
            (true, true) => figures.ended.one(),
            (true, false) => {
                let what = format!("a half-open stream was not ended within {HELD_MAX:?}");
                figures.complain(&figures.wrong, 1, what);
            }
            (false, _) => {}
        }
    }
}

fn close(socket: TcpStream, how: End) {
    match how {
        End::Reset => sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap(),
        _ => drop(socket.shutdown(Shutdown::Write)),
    }
}

/// Waits until one of the two has something, or has ended.
fn wait(sockets: [&TcpStream; 2]) -> [bool; 2] {
    let mut watched = sockets.map(|socket| PollFd::new(socket, PollFlags::IN | PollFlags::RDHUP));
    poll(&mut watched, None).unwrap();
    [!watched[0].revents().is_empty(), !watched[1].revents().is_empty()]
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, room: &mut usize) -> Passed {
    let mut buffer = [0; BUFFER];
    let wanted = buffer.len().min(*room);
    if wanted == 0 {
        return Passed::Spent;
    }
    match from.read(&mut buffer[..wanted]) {
        Ok(0) | Err(_) => return Passed::Ended,
        Ok(count) => {
            if to.write_all(&buffer[..count]).is_err() {
                return Passed::Ended;
            }
            *room -= count;
        }
    }
    if *room == 0 { Passed::Spent } else { Passed::On }
}

/// Keeps the bridge's side open until the bridge ends it. Whether it did within `patience`.
fn hold(far: &TcpStream, reads: bool, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    // With a full window even the bridge's FIN has to wait: only who reads at last sees it.
    (!reads && ends_until(Instant::now() + HELD, far, PollFlags::RDHUP))
        || ends_until(deadline, far, PollFlags::IN | PollFlags::RDHUP)
}

fn ends_until(deadline: Instant, mut far: &TcpStream, flags: PollFlags) -> bool {
    let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut buffer = [0; BUFFER];
    loop {
        let mut watched = [PollFd::new(far, flags)];
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
        if poll(&mut watched, Some(&left)).unwrap() == 0 {
            return false;
        }
        if watched[0].revents().intersects(ended) {
            return true;
        }
        let _ = far.read(&mut buffer);
    }
}
