//! Where to listen, and the listening sockets with their options.
//!
//! Owns: the rules for `localhost`, all interfaces and stale socket files, and the listener's options, which connections inherit.
//! Never: removes a file that is no socket, or a socket that another process listens on.

use crate::tcp;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Connections that the kernel holds for the accept loop. With std's 128 a burst of 500 took two seconds, the time of a lost SYN.
const BACKLOG: i32 = 4096;

/// Bytes, doubled by the kernel, for a reader of TCP that does not read. A bound, since the mailbox is the place to wait in.
const SEND_BUFFER: usize = 64 * 1024;

/// Where to listen, as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `host` is a name or an address without brackets; "" is all interfaces. Port 0 is any free one.
    Tcp { host: String, port: u16 },
    /// The path of a socket file.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Debug)]
pub struct ListenSocket {
    fd: OwnedFd,
    /// What was bound: port 0 has become a number.
    pub(super) address: Address,
}

/// Binds and listens. `AddrInUse` also for a socket file that another process listens on, and for a file that is no socket.
pub fn bind(address: &Address) -> io::Result<ListenSocket> {
    match address {
        Address::Tcp { host, port } => bind_tcp(host, *port),
        Address::Unix(path) => bind_unix(path),
    }
}

impl ListenSocket {
    /// Waits for a client. No address for one that came by a socket file.
    pub(super) fn accept(&self) -> io::Result<(OwnedFd, Option<IpAddr>)> {
        let accept = || net::acceptfrom_with(&self.fd, SocketFlags::CLOEXEC);
        let (fd, peer) = rustix::io::retry_on_intr(accept)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        // An IPv4 client of a dual stack socket is told by its IPv4 address.
        Ok((fd, peer.map(|peer| peer.ip().to_canonical())))
    }

    /// Listens no more: an `accept` that waits ends with an error, and a socket file that no process listens on is removed.
    pub(super) fn shut(&self) {
        let _ = net::shutdown(&self.fd, net::Shutdown::Both);
        if let Address::Unix(path) = &self.address {
            let _ = remove_stale(path);
        }
    }
}

fn bind_tcp(host: &str, port: u16) -> io::Result<ListenSocket> {
    let everywhere = host.is_empty();
    let mut error = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in look_up(host, port)? {
        match listen_tcp(address, everywhere) {
            Err(failed) if !everywhere || failed.kind() != ErrorKind::AddrInUse => error = failed,
            listened => return listened,
        }
    }
    Err(error)
}

/// All interfaces are IPv6's, with IPv4 on the same socket, or IPv4's alone where the machine has no IPv6. `localhost` is
/// 127.0.0.1 without a look-up: a resolver may be missing or may answer ::1 alone.
fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(match host {
        "" => vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()],
        _ if host.eq_ignore_ascii_case("localhost") => vec![(Ipv4Addr::LOCALHOST, port).into()],
        _ => (host, port).to_socket_addrs()?.collect(),
    })
}

fn listen_tcp(address: SocketAddr, dual_stack: bool) -> io::Result<ListenSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    if dual_stack && address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, false)?;
    }
    tcp::set_options(&fd)?;
    sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER)?;
    net::bind(&fd, &address)?;
    net::listen(&fd, BACKLOG)?;
    let at = SocketAddr::try_from(net::getsockname(&fd)?)?;
    Ok(ListenSocket { fd, address: Address::Tcp { host: at.ip().to_string(), port: at.port() } })
}

fn bind_unix(path: &Path) -> io::Result<ListenSocket> {
    let address = net::SocketAddrUnix::new(path)?;
    let fd = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match net::bind(&fd, &address) {
        Err(Errno::ADDRINUSE) => {
            remove_stale(path)?;
            net::bind(&fd, &address)?;
        }
        bound => bound?,
    }
    // Before it listens: until then no client can connect, whatever the mask made of the mode.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    net::listen(&fd, BACKLOG)?;
    Ok(ListenSocket { fd, address: Address::Unix(path.to_owned()) })
}

/// Removes a socket file that its process left behind: the kernel refuses a connection to it.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AddrInUse, "there is a file that is no socket"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Err(ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::tcp::{KEEPALIVE_IDLE, USER_TIMEOUT};

    fn tcp(host: &str) -> Address {
        Address::Tcp { host: host.to_owned(), port: 0 }
    }

    /// A path in a directory of this test's own.
    fn socket(test: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("gate-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir(&directory).unwrap();
        directory.join("socket")
    }

    #[test]
    fn an_address_reads_as_it_is_typed() {
        let shown = |host: &str| Address::Tcp { host: host.to_owned(), port: 80 }.to_string();

        assert_eq!(shown("127.0.0.1"), "127.0.0.1:80");
        assert_eq!(shown("::"), "[::]:80");
        assert_eq!(shown(""), ":80");
        assert_eq!(Address::Unix("/run/a".into()).to_string(), "unix:/run/a");
    }

    #[test]
    fn localhost_is_bound_without_a_look_up() {
        let bound = bind(&tcp("localhost")).unwrap().address;

        assert!(matches!(bound, Address::Tcp { host, port } if host == "127.0.0.1" && port > 0));
    }

    #[test]
    fn all_interfaces_include_ipv4_and_its_clients_have_ipv4_addresses() {
        let listener = bind(&tcp("")).unwrap();
        let Address::Tcp { port, .. } = listener.address else { unreachable!() };

        let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();

        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn a_connection_inherits_the_options_of_its_listener() {
        let listener = bind(&tcp("127.0.0.1")).unwrap();
        let _client = TcpStream::connect(listener.address.to_string()).unwrap();
        let (fd, _) = listener.accept().unwrap();

        assert!(sockopt::tcp_nodelay(&fd).unwrap());
        assert!(sockopt::socket_keepalive(&fd).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&fd).unwrap(), KEEPALIVE_IDLE);
        assert_eq!(sockopt::tcp_user_timeout(&fd).unwrap(), USER_TIMEOUT);
        // The kernel doubles what it is asked for.
        assert_eq!(sockopt::socket_send_buffer_size(&fd).unwrap(), 2 * SEND_BUFFER);
    }

    #[test]
    fn a_port_that_is_taken_is_an_address_in_use() {
        let listener = bind(&tcp("127.0.0.1")).unwrap();

        let error = bind(&listener.address).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let path = socket("stale");
        let address = Address::Unix(path.clone());
        drop(bind(&address).unwrap());
        assert!(path.exists(), "left behind");

        let live = bind(&address).unwrap();

        assert_eq!(bind(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        live.shut();
        assert!(!path.exists());
        std::fs::remove_dir(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let path = socket("file");
        std::fs::write(&path, "precious").unwrap();

        let error = bind(&Address::Unix(path.clone())).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
