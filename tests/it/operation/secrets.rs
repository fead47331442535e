//! No secret reaches what the bridge says: every line at `-d`, `/metrics` and `/sessions`, after everything that there is.

use crate::support::*;

/// What no line may hold: each has its own word, and all of them have this one.
const SECRET: &str = "secret";

const CHANNEL: &str = r#"{"channel":"secret-channel","room":"secret-room"}"#;

struct Told {
    bridge: Bridge,
    /// What the bridge made up, and keeps to itself all the same.
    ids: Vec<String>,
}

impl Told {
    fn expect_nothing_secret(&mut self) {
        let log = self.bridge.end_and_log();
        assert!(log.lines().count() > 6, "nothing was looked at: {log}");
        let shown = log.to_lowercase();
        assert!(!shown.contains(SECRET), "{log}");
        for id in &self.ids {
            assert!(!log.contains(id.as_str()), "{id}: {log}");
        }
    }
}

fn start() -> (FakeUpstream, Told) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-d", "--max-message", "10000", "--max-channels", "3"]);
    (upstream, Told { bridge, ids: Vec::new() })
}

/// A request with a secret in every place.
fn laden(bridge: &Bridge, method: &str, path: &str) -> Request {
    let request = bridge.request(method, &format!("/secret-path{path}?token=secret-query"));
    let request = request.header("Cookie", "c=secret-cookie");
    let request = request.header("Authorization", "Bearer secret-token");
    let request = request.header("Origin", "http://secret-origin.example");
    request.header("X-Other", "secret-header").header("User-Agent", "secret-agent")
}

#[test]
fn a_stream_its_channels_and_its_messages() {
    let (upstream, mut told) = start();
    let asked = laden(&told.bridge, "GET", "").sse().begin();
    let mut link = upstream.welcome();
    let mut stream = asked.stream();
    stream.expect_joined();
    let items =
        [subscribe(CHANNEL), send(CHANNEL, r#"{"secret-key":"secret-data"}"#), subscribe("7")];
    let body = format!("[{}]", items.join(","));
    let answers = laden(&told.bridge, "POST", "").body(&body).send().done();
    link.subscribed(CHANNEL);
    stream.expect("connected");
    link.expect_send(CHANNEL);
    link.message(CHANNEL, "\"secret-message\"");
    stream.received();
    link.raw(r#"{"type":"secret-type"}"#);
    link.raw("secret, and no JSON");
    link.frame(tungstenite::Message::binary(b"secret".to_vec()));
    link.settle();
    let resumed = laden(&told.bridge, "GET", "").sse().header("Last-Event-ID", &stream.last_id);
    resumed.stream().expect_joined();
    laden(&told.bridge, "DELETE", "").send();
    link.expect_close();

    let secret_part = stream.last_id.split('.').next().unwrap().to_owned();
    told.ids = vec![stream.session_id(), answers[0].text("chan_id"), secret_part];
    told.expect_nothing_secret();
}

#[test]
fn a_link_that_is_lost_and_an_upstream_that_refuses() {
    let (upstream, mut told) = start();
    for status in [401, 404, 503] {
        let asked = laden(&told.bridge, "GET", &format!("/{status}")).begin();
        let mut link = upstream.accept();
        link.bytes(
            format!(
                "HTTP/1.1 {status} secret-phrase\r\nX: secret-header\r\nContent-Length: 11\r\n\r\nsecret-body"
            )
            .as_bytes(),
        );
        asked.response();
    }
    let asked = laden(&told.bridge, "GET", "").sse().begin();
    let mut link = upstream.welcome();
    let mut stream = asked.stream();
    stream.expect_joined();
    link.raw(&format!(r#"{{"x":{}}}"#, quote(&"secret".repeat(10_000))));
    stream.expect_upstream("disconnected");
    let mut link = upstream.welcome();
    stream.expect_upstream("connected");
    link.bytes(&[0xc1, 6]);
    link.bytes(b"secret");
    stream.expect_upstream("disconnected");
    upstream.welcome().close(1001, "");
    stream.expect_upstream("connected");
    stream.expect_upstream("disconnected");

    told.expect_nothing_secret();
}

#[test]
fn a_tunnel_and_its_frames() {
    let (upstream, mut told) = start();
    let target = "/secret-tunnel?protocol=p1&token=secret-query";
    let asked = told.bridge.get(target).sse().header("Cookie", "c=secret-cookie").begin();
    let mut link = upstream.accept();
    link.upgrade_with("Sec-WebSocket-Protocol: p1\r\n");
    let mut stream = asked.stream();
    stream.expect_named("open");
    told.bridge.post("/secret-tunnel?seq=1", "\"secret-frame\"").send();
    told.bridge.post("/secret-tunnel?seq=3", "\"secret-frame\"").send();
    told.bridge.post("/secret-tunnel?seq=2", "secret-body").send();
    assert_eq!(link.next_text().as_deref(), Some("secret-frame"));
    link.raw("secret-frame");
    stream.next();
    let poll = told.bridge.get(&format!("{target}&after={}&timeout=1", stream.last_id)).send();
    let event_id = Json::parse(&poll.text()).text("last_event_id");
    link.close(4000, "");
    wait_until(PATIENCE, || {
        told.bridge.post("/secret-tunnel?seq=2&protocol=", "\"secret\"").send().status == 410
    });

    told.ids = vec![stream.session_id(), event_id.split('.').next().unwrap().to_owned()];
    told.expect_nothing_secret();
}

#[test]
fn requests_that_are_refused() {
    let (_upstream, mut told) = start();
    let bridge = &told.bridge;
    for raw in [
        "GET /secret HTTP/2.0\r\n\r\n".to_owned(),
        "GET /secret\x01 HTTP/1.1\r\n\r\n".to_owned(),
        "secret\r\n\r\n".to_owned(),
        "GET /secret HTTP/1.1\r\nsecret\r\n\r\n".to_owned(),
        "POST /secret HTTP/1.1\r\nContent-Length: secret\r\n\r\nsecret".to_owned(),
        "POST /secret HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n".to_owned(),
        format!("GET /secret HTTP/1.1\r\nX: {}\r\n\r\n", "secret".repeat(5_000)),
        format!("GET /{} HTTP/1.1\r\n\r\n", "secret".repeat(200)),
    ] {
        bridge.raw(raw).rest();
    }
    for request in [
        laden(bridge, "PUT", ""),
        laden(bridge, "POST", "").body("[secret"),
        laden(bridge, "GET", "").header("Sec-Fetch-Mode", "navigate"),
        bridge.get("/secret?after=secret"),
        bridge.get("/-/secret"),
        bridge.get("/.well-known/secret"),
        bridge.delete("/secret"),
        bridge.post("/secret", &" ".repeat(2 << 20)),
    ] {
        assert!(request.send().status >= 400);
    }

    let log = told.bridge.end_and_log();
    assert!(!log.to_lowercase().contains(SECRET), "{log}");
}

#[test]
fn the_address_of_the_upstream_is_told_without_its_query_and_its_password() {
    let upstream = FakeUpstream::absent();
    let url = format!("ws://{}/cable?key=secret-key", upstream.host());
    let mut bridge = Bridge::at(&url, &["-d"]);

    let error = bridge.get("/a").send().refused(502);

    assert!(!error.contains(SECRET), "{error}");
    let log = bridge.end_and_log();
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn the_metrics_and_the_list_of_sessions() {
    let upstream = FakeUpstream::start();
    let admin = Place::new("secret-admin");
    let bridge = Bridge::with(&upstream, &["-d", "--admin", &admin.address()]);
    let asked = laden(&bridge, "GET", "").sse().begin();
    let mut link = upstream.welcome();
    let mut stream = asked.stream();
    stream.expect_joined();
    bridge.act("/secret-path", &[subscribe(CHANNEL)]);
    link.subscribed(CHANNEL);
    stream.expect("connected");
    link.message(CHANNEL, "\"secret-message\"");
    stream.received();

    let session_id = stream.session_id();
    for page in ["/metrics", "/sessions"] {
        let text = admin.get(page);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(!text.contains(SECRET) && !text.contains(&session_id), "{text}");
        assert!(!text.contains(&stream.last_id), "{text}");
    }
    assert!(admin.get("/sessions").contains(&session_id[..6]));
}

#[test]
fn a_403_tells_a_stranger_nothing_about_the_session() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--strict-headers"]);
    let asked = bridge.get("/a").sse().header("Cookie", "c=1").begin();
    let _link = upstream.welcome();
    let mut stream = asked.stream();
    stream.expect_joined();

    for request in [
        bridge.get("/a").sse(),
        bridge.get("/a"),
        bridge.delete("/a"),
        bridge.post("/a", &format!("[{}]", subscribe(CHAT))),
        bridge.get("/a").sse().header("Cookie", "c=1"),
    ] {
        let response = request.send();
        let said = format!("{response:?}{}", response.refused(403));
        assert!(!said.contains(&stream.session_id()) && !said.contains("c=1"), "{said}");
    }
}
