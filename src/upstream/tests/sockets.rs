//! A server on a Unix socket.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;

use super::*;

/// A place for a socket file, and what is there is gone with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> File {
        let name = format!("cable-{}-{name}.sock", std::process::id());
        File(std::env::temp_dir().join(name))
    }

    fn client(&self, connect_timeout: Duration) -> Client {
        let url = Url::parse(&format!("unix:{}:/cable?own=1", self.0.display())).unwrap();
        let settings = Settings {
            url,
            host_header: None,
            connect_timeout,
            stale_after: LIMIT,
            message_max: 1 << 20,
        };
        Client::start(&Connector::new(settings).unwrap(), cable(), AfterDown::Stop)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn it_is_spoken_to_as_over_tcp_and_is_told_localhost() {
    let file = File::new("spoken");
    let listener = UnixListener::bind(&file.0).unwrap();
    let client = file.client(LIMIT);

    let (stream, _) = listener.accept().unwrap();
    let mut peer = Peer::new(TcpStream::from(OwnedFd::from(stream)));
    let head = String::from_utf8(peer.head()).unwrap();
    assert!(head.starts_with("GET /cable?own=1 HTTP/1.1\r\nHost: localhost\r\n"), "{head}");
    peer.tcp.write_all(switching(&key_of(&head), "").as_bytes()).unwrap();

    let mut web = peer.web();
    web.send(Message::text(WELCOME)).unwrap();
    let link = client.up();
    link.send("up").unwrap();
    assert_eq!(web.read().unwrap(), Message::text("up"));
    drop(web);
    assert_eq!(client.lost(), ("closed by the upstream".to_owned(), true));
}

#[test]
fn each_way_not_to_be_there_has_its_sentence() {
    let (absent, deserted, other) =
        (File::new("absent"), File::new("deserted"), File::new("dgram"));
    drop(UnixListener::bind(&deserted.0).unwrap());
    let _datagrams = UnixDatagram::bind(&other.0).unwrap();

    for (file, sentence) in [
        (&absent, "the socket file of --server is not there"),
        (&deserted, "nothing listens on the socket file of --server"),
        (&other, "the socket file of --server: protocol wrong type for socket"),
    ] {
        let (reason, was_up) = file.client(LIMIT).lost();
        assert!(reason.contains(sentence) && !was_up, "{reason}");
        assert!(!reason.contains("/tmp"), "{reason}");
    }
}

#[test]
fn a_queue_that_stays_full_is_a_failure_in_time_and_one_that_empties_is_none() {
    let file = File::new("full");
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&file.0).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    set_socket_timeout(&socket, Timeout::Recv, Some(LIMIT)).unwrap();
    let listener = UnixListener::from(socket);
    let _first = std::os::unix::net::UnixStream::connect(&file.0).unwrap();

    let (reason, _) = file.client(Duration::from_secs(1)).lost();
    assert!(reason.contains("takes no connections"), "{reason}");

    let _client = file.client(LIMIT);
    let _accepted = (listener.accept().unwrap(), listener.accept().unwrap());
}

#[test]
fn a_server_that_never_answers_is_a_failure_in_time() {
    let file = File::new("silent");
    let _listener = UnixListener::bind(&file.0).unwrap();

    let (reason, _) = file.client(Duration::from_secs(1)).lost();

    assert_eq!(reason, "the handshake was not answered within 1s");
}
