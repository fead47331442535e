//! `close`, in each state that the thread may be in: it ends, tells nothing more, and the socket is closed.

use super::*;

#[test]
fn a_live_link_gets_a_close_frame() {
    let server = Server::start();
    let client = server.client();
    let web = server.welcome();
    client.up();

    client.upstream.close(1001, "going away");

    client.ended();
    assert_eq!(close_code(web), 1001);
}

#[test]
fn a_link_under_a_flood_is_closed_too() {
    let server = Server::start();
    let client = server.client();
    let mut web = server.welcome();
    let link = client.up();
    let flood = std::thread::Builder::new().name("flood".to_owned()).spawn(move || {
        let text = format!(r#"{{"identifier":"{{}}","message":"{}"}}"#, "x".repeat(1000));
        while web.send(Message::text(text.as_str())).is_ok() {}
    });
    client.text();

    client.upstream.close(1000, "");

    // Whatever was told before the order is still in the channel.
    while client.told.recv_timeout(LIMIT).is_ok() {}
    assert!(link.send("late").is_err());
    flood.unwrap().join().unwrap();
}

#[test]
fn dropping_the_handle_closes_as_well() {
    let server = Server::start();
    let Client { upstream, told } = server.client();
    let web = server.welcome();
    told.recv_timeout(LIMIT).unwrap();

    drop(upstream);

    assert_eq!(close_code(web), 1000);
}

#[test]
fn an_attempt_that_waits_for_an_answer_is_given_up() {
    let server = Server::start();
    let client = server.client();
    let mut peer = server.accept();
    peer.head();

    client.upstream.close(1000, "");

    client.ended();
    peer.assert_eof();
}

#[test]
fn an_attempt_that_waits_for_the_welcome_is_given_up() {
    let server = Server::start();
    let client = server.client();
    let web = server.switch();

    client.upstream.close(1000, "");

    client.ended();
    Peer { tcp: web.into_inner() }.assert_eof();
}

#[test]
fn an_attempt_whose_connect_hangs_is_given_up() {
    let server = Server::start();
    rustix::net::listen(&server.listener, 0).unwrap();
    let address = server.listener.local_addr().unwrap();
    // The one place in the backlog; from now on the kernel answers no SYN.
    let _filler = TcpStream::connect(address).unwrap();
    let client = server.client();
    let settings = Settings { connect_timeout: Duration::from_millis(200), ..server.settings() };
    let other = Client::start(&Connector::new(settings).unwrap(), cable(), AfterDown::Stop);
    assert_eq!(other.lost().0, "unreachable: no connection within 200ms");

    client.upstream.close(1000, "");

    client.ended();
    assert_eq!(connecting_to(address.port()), 0);
}

/// Sockets of this machine that have sent a SYN to `port` and wait.
fn connecting_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X} 02 ");
    table.lines().filter(|line| line.contains(&remote)).count()
}

#[test]
fn a_back_off_is_cut_short() {
    let server = Server::start();
    let connector = server.connector();
    let client = Client::start(&connector, cable(), AfterDown::Retry);
    // The longer the back-off, the more there is to cut short.
    for _ in 0..3 {
        server.accept().answer("HTTP/1.1 503 X\r\n\r\n");
        client.lost();
    }

    client.upstream.close(1000, "");

    client.ended();
}

#[test]
fn a_wait_for_a_permit_is_cut_short() {
    let server = Server::start();
    let connector = server.connector();
    (0..RECONNECTS_MAX).for_each(|_| connector.permits.0.send(()).unwrap());
    let client = Client::start(&connector, cable(), AfterDown::Retry);
    server.accept().answer("HTTP/1.1 503 X\r\n\r\n");
    client.lost();
    // Longer than the first back-off lasts: nobody comes.
    set_socket_timeout(&server.listener, Timeout::Recv, Some(Duration::from_millis(600))).unwrap();
    assert!(server.listener.accept().is_err());

    client.upstream.close(1000, "");

    client.ended();
    assert_eq!(connector.permits.1.len(), RECONNECTS_MAX);
}

#[test]
fn a_stuck_writer_does_not_hold_it_up() {
    let server = Server::start();
    let client = server.client();
    let web = server.welcome();
    let link = client.up();
    let (about_to, began) = bounded(1);
    let writer = std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
        about_to.send(()).unwrap();
        let megabyte = "x".repeat(1 << 20);
        (0..100).map(|_| link.send(&megabyte)).find(Result::is_err).is_some()
    });
    began.recv().unwrap();

    client.upstream.close(1000, "");

    client.ended();
    assert!(writer.unwrap().join().unwrap());
    drop(web);
}

#[test]
fn a_link_that_is_kept_does_not_keep_the_socket() {
    let server = Server::start();
    let client = server.client();
    let mut web = server.welcome();
    let link = client.up();

    client.upstream.close(1000, "");
    client.ended();

    assert!(link.socket.upgrade().is_none());
    web.get_mut().shutdown(Shutdown::Write).unwrap();
}

/// An owner with a bug.
struct Careless {
    broken: Sender<()>,
}

impl LinkHandler for Careless {
    fn incoming(&self) -> Share {
        Budget::new(1 << 30).share(Held::Incoming)
    }

    fn handshake(&self) -> Arc<Handshake> {
        Arc::new(cable())
    }

    fn up(&self, _link: Arc<Link>) {
        panic!("a test's own panic");
    }

    fn text(&self, _text: &str, _frame: Option<Frame<'_>>) {}

    fn text_freed(&self) {}

    fn down(&self, _down: Down) -> AfterDown {
        AfterDown::Stop
    }

    fn broken(&self) {
        self.broken.send(()).unwrap();
    }
}

#[test]
fn a_panic_of_the_owner_ends_its_own_upstream_and_the_owner_is_told() {
    let server = Server::start();
    let (tell, told) = bounded(1);
    let owner = Arc::new(Careless { broken: tell });
    let _upstream = server.connector().start("7f3a", owner).unwrap();

    let mut web = server.welcome();

    told.recv_timeout(LIMIT).unwrap();
    assert!(web.read().is_err());
}
