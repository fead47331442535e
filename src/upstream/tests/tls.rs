//! The same over TLS, with a certificate made for the test.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::loss::{assert_whole_and_in_order, send_from_four_threads};
use super::*;

type Stream = StreamOwned<ServerConnection, TcpStream>;

struct TlsServer {
    tcp: Server,
    config: Arc<ServerConfig>,
    roots: RootCertStore,
}

impl TlsServer {
    fn start() -> TlsServer {
        TlsServer::with(|_| {})
    }

    /// With a certificate that signs itself, for `localhost`, after this was done to it.
    fn with(change: impl FnOnce(&mut CertificateParams)) -> TlsServer {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        change(&mut params);
        let signing_key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&signing_key).unwrap().der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        TlsServer { tcp: Server::start(), config: Arc::new(config), roots }
    }

    fn settings(&self) -> Settings {
        let mut settings = self.tcp.settings();
        settings.url.tls = true;
        settings.url.host = "localhost".into();
        settings
    }

    fn client(&self) -> Client {
        let settings = self.settings();
        let tls = super::super::tls::tls(self.roots.clone(), &settings.url).unwrap();
        Client::start(&Connector::with_tls(settings, Some(tls)), cable(), AfterDown::Stop)
    }

    fn accept(&self) -> Stream {
        let tcp = self.tcp.accept().tcp;
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.config)).unwrap(), tcp)
    }

    fn welcome(&self) -> WebSocket<Stream> {
        let mut stream = self.accept();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let key = key_of(&String::from_utf8(head).unwrap());
        stream.write_all(switching(&key, "").as_bytes()).unwrap();
        let mut web = WebSocket::from_raw_socket(stream, Role::Server, None);
        web.send(Message::text(WELCOME)).unwrap();
        web
    }
}

#[test]
fn a_certificate_that_is_trusted_lets_it_come_up() {
    let server = TlsServer::start();
    let client = server.client();

    let mut web = server.welcome();
    let link = client.up();

    link.send("hello").unwrap();
    assert_eq!(web.read().unwrap(), Message::text("hello"));
}

/// The handshake fails, and the reason begins so.
#[track_caller]
fn is_refused(server: &TlsServer, client: &Client, reason: &str) {
    // The handshake runs with the first read.
    assert!(server.accept().read(&mut [0]).is_err());

    let (told, _) = client.lost();
    assert!(
        told.starts_with(&format!("unreachable: TLS: the upstream's certificate {reason}")),
        "{told}"
    );
}

#[test]
fn a_certificate_that_is_not_trusted_is_a_failure_that_says_what_to_do() {
    let server = TlsServer::start();
    let connector = Connector::new(server.settings()).unwrap();
    let client = Client::start(&connector, cable(), AfterDown::Stop);

    is_refused(
        &server,
        &client,
        "is from an authority that is not trusted here: name its PEM file",
    );
}

#[test]
fn each_fault_of_a_certificate_says_what_to_do() {
    type Fault = fn(&mut CertificateParams);
    let faults: [(Fault, &str); 6] = [
        (
            |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "is an authority's own (CA:TRUE)",
        ),
        (|it| it.not_after = rcgen::date_time_ymd(2020, 1, 1), "has expired: renew it"),
        (|it| it.not_before = rcgen::date_time_ymd(3000, 1, 1), "is not valid yet: set the clock"),
        (|it| it.subject_alt_names.clear(), "has no name in its subjectAltName"),
        (
            |it| {
                it.subject_alt_names =
                    CertificateParams::new(["a.test".to_owned()]).unwrap().subject_alt_names
            },
            "is for a.test: write",
        ),
        (
            |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "is not one for servers: make it with",
        ),
    ];
    for (change, reason) in faults {
        let server = TlsServer::with(change);
        let client = server.client();

        is_refused(&server, &client, reason);
    }
}

#[test]
fn a_handshake_that_hangs_is_a_failure_in_time() {
    let server = TlsServer::start();
    let settings = Settings { connect_timeout: Duration::from_millis(200), ..server.settings() };
    let client = Client::start(&Connector::new(settings).unwrap(), cable(), AfterDown::Stop);

    assert_eq!(client.lost().0, "unreachable: no connection within 200ms");
}

#[test]
fn a_port_without_tls_is_a_failure_that_says_so() {
    let server = TlsServer::start();
    let client = server.client();

    server.tcp.accept().tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();

    let (reason, _) = client.lost();
    assert!(reason.contains("does not speak TLS there; if that is meant, write ws://"), "{reason}");
}

#[test]
fn big_and_small_messages_arrive() {
    let server = TlsServer::start();
    let client = server.client();
    let mut web = server.welcome();
    client.up();

    for size in [1, 900, 1024, 4096, 16_384, 16_385, 65_536, 500_000, 3] {
        let text = format!(r#"{{"identifier":"{{}}","message":"{}"}}"#, "x".repeat(size));
        web.send(Message::text(text.as_str())).unwrap();

        assert!(client.text() == text, "{size}");
    }
}

#[test]
fn frames_of_several_threads_stay_whole() {
    let server = TlsServer::start();
    let client = server.client();
    let mut web = server.welcome();
    let link = client.up();

    send_from_four_threads(&link);

    // Each is sent back, so that both directions are busy at once.
    for _ in 0..10_000 {
        let text = web.read().unwrap().into_text().unwrap();
        let echo = format!(r#"{{"identifier":"{{}}","message":"{text}"}}"#);
        web.send(Message::text(echo)).unwrap();
    }
    let texts = (0..10_000).map(|_| {
        let text = client.text();
        text[r#"{"identifier":"{}","message":""#.len()..text.len() - 2].to_owned()
    });
    assert_whole_and_in_order(texts.collect());
}

#[test]
fn a_close_says_goodbye_in_both_languages() {
    let server = TlsServer::start();
    let client = server.client();
    let mut web = server.welcome();
    client.up();

    client.upstream.close(1001, "");

    client.ended();
    assert!(
        matches!(web.read().unwrap(), Message::Close(Some(frame)) if frame.code == 1001.into())
    );
    let mut stream = web.into_inner();
    // Without a close_notify this would be an error.
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_close_while_the_handshake_hangs_gives_it_up() {
    let server = TlsServer::start();
    let client = server.client();
    let mut peer = server.tcp.accept();
    peer.tcp.read_exact(&mut [0; 5]).unwrap();

    client.upstream.close(1000, "");

    client.ended();
    peer.assert_eof();
}
