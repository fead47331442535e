//! Tunnels: a WebSocket carried over HTTP, for code that speaks the upstream's protocol itself.

mod closing;
mod down;
mod opening;
mod polls;
mod returning;
mod up;

use crate::support::*;

/// What a client of ActionCable offers.
const OFFER: &str = "actioncable-v1-json,actioncable-unsupported";

/// The answer of a tunnel's poll.
struct Reply {
    json: Json,
    messages: Vec<String>,
}

impl Reply {
    fn id(&self) -> String {
        self.json.text("last_event_id")
    }

    /// The next poll, which acknowledges this reply.
    fn after(&self) -> String {
        format!("/t?protocol=p1&timeout=1&after={}", self.id())
    }

    fn close(&self) -> Option<Json> {
        let raw = self.json.raw("close");
        (raw != "null").then(|| Json::parse(raw))
    }
}

fn reply(response: &Response) -> Reply {
    assert_eq!(response.status, 200, "{}", response.text());
    let json = Json::parse(&response.text());
    let messages = json.texts("messages");
    Reply { json, messages }
}

fn poll(bridge: &Bridge, target: &str) -> Reply {
    reply(&bridge.get(target).send())
}

/// The upstream takes the tunnel that was asked for.
fn accepted(upstream: &FakeUpstream) -> Link {
    let mut link = upstream.accept();
    link.upgrade_with("Sec-WebSocket-Protocol: p1\r\n");
    link
}

/// A tunnel with a stream at `/t`, whose `open` was read.
fn opened_tunnel(options: &[&str]) -> (FakeUpstream, Bridge, Stream, Link) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, options);
    let asked = bridge.get("/t?protocol=p1").sse().begin();
    let link = accepted(&upstream);
    let mut stream = asked.stream();
    stream.expect_named("open");
    (upstream, bridge, stream, link)
}

/// A tunnel with a poll at `/t`, whose first reply came.
fn polled_tunnel(options: &[&str]) -> (FakeUpstream, Bridge, Link, Reply) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, options);
    let asked = bridge.get("/t?protocol=p1").begin();
    let link = accepted(&upstream);
    let first = reply(&asked.response());
    (upstream, bridge, link, first)
}

fn back_to_tunnel(bridge: &Bridge, id: &str) -> Request {
    bridge.get("/t?protocol=p1").sse().header("Last-Event-ID", id)
}

/// Sends these frames, and waits until the bridge has them.
fn frames_sent(link: &mut Link, frames: &[&str]) {
    frames.iter().for_each(|frame| link.raw(frame));
    link.settle();
}

/// The next event is this frame.
fn expect_frame(stream: &mut Stream, frame: &str) {
    let event = stream.next();
    assert_eq!((event.name(), event.data.as_str()), ("message", frame));
}

/// The `close` of a tunnel that cannot be gone on with.
fn gone(response: &Response) -> Option<Json> {
    assert_eq!(response.status, 410, "{}", response.text());
    let json = Json::parse(&response.text());
    assert_eq!(json.keys(), ["close", "error"]);
    assert!(!json.text("error").is_empty());
    (json.raw("close") != "null").then(|| Json::parse(json.raw("close")))
}
