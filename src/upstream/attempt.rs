//! One attempt to reach the upstream, from the name to the `welcome`, under one deadline.
//!
//! Runs on a handshake worker. Owns: the order of the steps, and the sentence for each that fails.
//! Never: tries again; that is for the session's thread to decide.
//! When the session ends meanwhile: its sockets are cut, so each step fails at once and drops them.

use super::handshake::{HandshakeReply, reply, request};
use super::socket::{Place, UpstreamSocket, brief, left};
use super::thread::{Line, closed_by, disconnected, lost_reason};
use super::tls::explain;
use super::wire::{Intake, Wire};
use super::{Connector, Down, Handshake, Protocol, Url};
use crate::frame::Frame;
use crate::memory::Share;
use crate::report::debug;
use rustix::net::SocketAddrUnix;
use rustls::ClientConnection;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::handshake::client::generate_key;
use tungstenite::{Error, Message};

/// A step of the answer's head; most heads come in one.
const STEP: usize = 2048;

/// How often a full queue of a Unix socket is asked.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);

pub struct Attempt {
    pub connector: Arc<Connector>,
    pub handshake: Arc<Handshake>,
    /// The memory of messages that are not whole yet.
    pub incoming: Share,
    pub line: Arc<Line>,
    pub name: String,
    pub deadline: Instant,
}

pub struct Live {
    /// In a box: it stays in one place, and the session's thread has no room for it on its stack.
    pub wire: Box<Wire>,
    pub protocol: Option<String>,
}

impl Attempt {
    pub fn run(&self) -> Result<Live, Down> {
        let key = generate_key();
        let request = request(&self.connector.settings, &self.handshake, &key)?;
        let socket = self.reach().map_err(|error| self.unreachable(&error))?;
        let (rest, protocol) = self.upgrade(&socket, &request, &key)?;
        let settings = &self.connector.settings;
        let intake = Intake {
            message_max: settings.message_max,
            // By default a minute, in which 16 MiB come over 2.3 Mbit/s. A byte now and then would otherwise count as
            // life for ever.
            message_time: settings.stale_after.saturating_mul(10),
            share: self.incoming.fresh(),
            room_within: settings.stale_after,
            line: Arc::clone(&self.line),
        };
        let mut wire = Wire::new(socket, rest, intake, self.deadline);
        if matches!(self.handshake.speech, Protocol::Cable) {
            self.await_welcome(&mut wire)?;
        }
        wire.forget_deadline();
        Ok(Live { wire: Box::new(wire), protocol })
    }

    fn unreachable(&self, error: &io::Error) -> Down {
        let on_file = self.connector.settings.url.socket.is_some();
        let why = match error.kind() {
            ErrorKind::WouldBlock => {
                "the server takes no connections from its socket's queue, which is full".to_owned()
            }
            ErrorKind::TimedOut => {
                format!("no connection within {}", self.connector.connect_timeout())
            }
            ErrorKind::InvalidData => format!("TLS: {}", explain(error)),
            kind if on_file => of_socket_file(kind, error),
            _ => brief(error),
        };
        Down::failed(&format!("unreachable: {why}"))
    }

    /// The first of the upstream's addresses that connects. Says why the first one did not if none does.
    fn reach(&self) -> io::Result<Arc<UpstreamSocket>> {
        let places = places(&self.connector.settings.url)?;
        let mut failure = None;
        for (nth, place) in places.iter().enumerate() {
            // One that swallows packets must leave time for the others.
            let share = left(self.deadline)? / (places.len() - nth) as u32;
            match self.open(place, Instant::now() + share) {
                Ok(socket) => return Ok(socket),
                Err(error) if self.line.is_closing() => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::other("its name has no address")))
    }

    fn open(&self, place: &Place, connect_deadline: Instant) -> io::Result<Arc<UpstreamSocket>> {
        let socket = Arc::new(self.begin(place, connect_deadline)?);
        if !self.line.watch(&socket) {
            return Err(ErrorKind::Interrupted.into());
        }
        socket.connected(connect_deadline, self.deadline)?;
        Ok(socket)
    }

    /// Where a Unix socket's queue is full, the kernel tells nothing when there is room again: it has to be asked.
    fn begin(&self, place: &Place, deadline: Instant) -> io::Result<UpstreamSocket> {
        loop {
            match UpstreamSocket::connect(place, self.tls()?) {
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock
                        && Instant::now() + QUEUE_PAUSE < deadline
                        && !self.line.is_closing() =>
                {
                    let _ = crossbeam_channel::after(QUEUE_PAUSE).recv();
                }
                result => return result,
            }
        }
    }

    fn tls(&self) -> io::Result<Option<ClientConnection>> {
        let Some((config, name)) = &self.connector.tls else { return Ok(None) };
        let connection = ClientConnection::new(Arc::clone(config), name.clone());
        connection.map(Some).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    /// Sends the request and reads the answer's head. What was read beyond it is the first of the frames.
    fn upgrade(
        &self,
        socket: &UpstreamSocket,
        request: &[u8],
        key: &str,
    ) -> Result<(Vec<u8>, Option<String>), Down> {
        let failed = |error: io::Error| self.no_answer(&error);
        let named = self.connector.settings.host_header.is_some();
        socket.send(request).map_err(failed)?;
        let mut answer = Vec::with_capacity(STEP);
        loop {
            let size = self.read_more(socket, &mut answer).map_err(failed)?;
            match reply(&answer, key, &self.handshake.speech, named)? {
                HandshakeReply::Switched { head, protocol } => {
                    return Ok((answer.split_off(head), protocol));
                }
                HandshakeReply::Partial if size == 0 => {
                    return Err(failed(ErrorKind::UnexpectedEof.into()));
                }
                HandshakeReply::Partial => {}
            }
        }
    }

    fn read_more(&self, socket: &UpstreamSocket, answer: &mut Vec<u8>) -> io::Result<usize> {
        socket.read_timeout(Some(left(self.deadline)?))?;
        let start = answer.len();
        answer.resize(start + STEP, 0);
        let size = socket.read(&mut answer[start..]);
        answer.truncate(start + *size.as_ref().unwrap_or(&0));
        size
    }

    fn no_answer(&self, error: &io::Error) -> Down {
        Down::failed(&match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                let wait = self.connector.connect_timeout();
                format!("the handshake was not answered within {wait}")
            }
            ErrorKind::UnexpectedEof => "closed by the upstream during the handshake".to_owned(),
            // TLS 1.3 refuses after its own handshake.
            ErrorKind::InvalidData => format!("the handshake broke off: TLS: {}", explain(error)),
            _ => format!("the handshake broke off: {}", brief(error)),
        })
    }

    /// Reads up to the `welcome`. A ping may come before it; nothing else does that matters.
    fn await_welcome(&self, wire: &mut Wire) -> Result<(), Down> {
        loop {
            let message = wire.read().map_err(|error| self.no_welcome(&error))?;
            match message {
                Message::Text(text) => {
                    let frame = Frame::parse(&text).unwrap_or(Frame::Other);
                    let (kind, bytes) = (frame.kind(), text.len());
                    debug!("event=frame session={} dir=in type={kind} bytes={bytes}", self.name);
                    match frame {
                        Frame::Welcome => return Ok(()),
                        Frame::Disconnect { reason, reconnect } => {
                            return Err(disconnected(reason, reconnect, false));
                        }
                        _ => {}
                    }
                }
                Message::Close(frame) => {
                    wire.flush();
                    return Err(closed_by(frame, false));
                }
                _ => {}
            }
        }
    }

    fn no_welcome(&self, error: &Error) -> Down {
        match error {
            Error::Io(error)
                if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) =>
            {
                Down::failed(&format!("no welcome within {}", self.connector.connect_timeout()))
            }
            error => Down::failed(&lost_reason(error, &self.connector.settings)),
        }
    }
}

/// Why a socket file cannot be connected to. Without its path, which is of no concern to a client.
fn of_socket_file(kind: ErrorKind, error: &io::Error) -> String {
    let why = match kind {
        ErrorKind::NotFound => {
            "the socket file of --server is not there, start the server or correct the path"
        }
        ErrorKind::ConnectionRefused => {
            "nothing listens on the socket file of --server, start the server that made it"
        }
        ErrorKind::PermissionDenied => {
            "no permission for the socket file of --server: the bridge's user needs write permission \
             for it and x for its folders"
        }
        _ => return format!("the socket file of --server: {}", brief(error)),
    };
    why.to_owned()
}

fn places(url: &Url) -> io::Result<Vec<Place>> {
    let Some(path) = &url.socket else {
        return Ok(resolve(&url.host, url.port)?.into_iter().map(Place::Tcp).collect());
    };
    Ok(vec![Place::Unix(SocketAddrUnix::new(path.as_str())?)])
}

/// The addresses to try, in order. `localhost` asks no resolver: a static binary in an empty root has none.
pub(super) fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(both.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    let found = (host, port).to_socket_addrs();
    found.map(Iterator::collect).map_err(|error| {
        let error = error.to_string();
        let why = error.trim_start_matches("failed to lookup address information: ");
        io::Error::other(format!("its name does not resolve: {why}"))
    })
}
