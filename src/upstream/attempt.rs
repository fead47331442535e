//! One attempt to reach the upstream, from the name to the 101, under one deadline.
//!
//! Runs on a thread of the pool. Owns: the order of the steps, and the sentence for each that fails.
//! Never: tries again; that is for the session's thread to decide.
//! When the session ends meanwhile: its sockets are cut, so each step but a name look-up fails at once and drops them.

use super::handshake::{reply, request};
use super::line::Line;
use super::socket::{UpstreamSocket, brief, left};
use super::tls::explain;
use super::{Connector, Down, Handshake, Permit, Url};
use rustix::net::{SocketAddrAny, SocketAddrUnix};
use rustls::ClientConnection;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;
use tungstenite::handshake::client::generate_key;

/// A step of the answer's head; most heads come in one.
const STEP: usize = 2048;

pub struct Attempt {
    pub connector: Arc<Connector>,
    pub handshake: Arc<Handshake>,
    pub line: Arc<Line>,
    /// Of one that is not the first; over with the `welcome`.
    pub permit: Option<Permit>,
    /// Of the `welcome`, too.
    pub deadline: Instant,
}

/// A connection on which WebSocket is spoken from `rest` on, which came behind the answer.
pub struct Live {
    pub socket: Arc<UpstreamSocket>,
    pub rest: Vec<u8>,
    /// The subprotocol that was chosen.
    pub protocol: Option<String>,
    pub permit: Option<Permit>,
    pub deadline: Instant,
}

impl Attempt {
    pub fn run(self) -> Result<Live, Down> {
        let key = generate_key();
        let request = request(&self.connector.settings, &self.handshake, &key)?;
        let socket = self.reach().map_err(|error| self.unreachable(&error))?;
        let failed = |error: io::Error| self.no_answer(&error);
        socket.send(&request).map_err(failed)?;
        let named = self.connector.settings.host_header.is_some();
        let (mut answer, mut step) = (Vec::new(), [0; STEP]);
        loop {
            let size = self.read(&socket, &mut step).map_err(failed)?;
            answer.extend_from_slice(&step[..size]);
            if let Some((head, protocol)) = reply(&answer, &key, &self.handshake.protocol, named)? {
                let rest = answer.split_off(head);
                let Attempt { permit, deadline, .. } = self;
                return Ok(Live { socket, rest, protocol, permit, deadline });
            }
            if size == 0 {
                return Err(failed(ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Without the path of a socket file, which is of no concern to a client.
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
            ErrorKind::NotFound if on_file => {
                "the socket file of --server is not there, start the server or correct the path"
                    .to_owned()
            }
            ErrorKind::ConnectionRefused if on_file => {
                "nothing listens on the socket file of --server, start the server that made it"
                    .to_owned()
            }
            ErrorKind::PermissionDenied if on_file => {
                "no permission for the socket file of --server: the bridge's user needs write \
                 permission for it and x for its folders"
                    .to_owned()
            }
            _ if on_file => format!("the socket file of --server: {}", brief(error)),
            _ => brief(error),
        };
        Down::failed(&format!("unreachable: {why}"))
    }

    /// The first of the upstream's addresses that connects. Says why the first one did not if none does.
    fn reach(&self) -> io::Result<Arc<UpstreamSocket>> {
        let addresses = addresses(&self.connector.settings.url)?;
        let mut failure = None;
        for (nth, address) in addresses.iter().enumerate() {
            // One that swallows packets must leave time for the others.
            let share = left(self.deadline)? / (addresses.len() - nth) as u32;
            match self.open(address, Instant::now() + share) {
                Ok(socket) => return Ok(socket),
                Err(error) if self.line.is_closing() => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::other("its name has no address")))
    }

    fn open(
        &self,
        to: &SocketAddrAny,
        connect_deadline: Instant,
    ) -> io::Result<Arc<UpstreamSocket>> {
        let socket = Arc::new(UpstreamSocket::connect(to, self.tls()?, connect_deadline)?);
        if !self.line.watch(&socket) {
            return Err(ErrorKind::Interrupted.into());
        }
        socket.connected(connect_deadline, self.deadline)?;
        Ok(socket)
    }

    fn tls(&self) -> io::Result<Option<ClientConnection>> {
        let Some((config, name)) = &self.connector.tls else { return Ok(None) };
        let connection = ClientConnection::new(Arc::clone(config), name.clone());
        connection.map(Some).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    }

    fn read(&self, socket: &UpstreamSocket, step: &mut [u8]) -> io::Result<usize> {
        socket.read_timeout(Some(left(self.deadline)?))?;
        socket.read(step)
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
}

fn addresses(url: &Url) -> io::Result<Vec<SocketAddrAny>> {
    match &url.socket {
        Some(path) => Ok(vec![SocketAddrUnix::new(path.as_str())?.into()]),
        None => Ok(resolve(&url.host, url.port)?.into_iter().map(Into::into).collect()),
    }
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
