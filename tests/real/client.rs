//! One user of the application, on one of the two roads from the bridge to a client.
//!
//! Owns: the open stream, or the place up to which polls were acknowledged, and what was told of the upstream.
//! Waits: for each message as long as a real server may take on a busy machine.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::it::support::{Asked, Bridge, Json, Request, Stream, send, subscribe, unsubscribe};

#[derive(Clone, Copy, Debug)]
pub enum Road {
    Sse,
    Poll,
}

/// Covers the start of a puma and the longest back-off of the bridge.
const MESSAGE_PATIENCE: Duration = Duration::from_secs(45);

/// The identifier of a room.
pub fn room(name: &str) -> String {
    format!(r#"{{"channel":"ChatChannel","room":"{name}"}}"#)
}

/// A request as the browser of this user sends it, from a page of the bridge's own origin.
pub fn dressed(bridge: &Bridge, request: Request, user: &str) -> Request {
    request
        .header("Cookie", format!("user={user}"))
        .header("Origin", format!("http://{}", bridge.address))
}

/// The GET with which a client of this road opens its session.
pub fn opening(bridge: &Bridge, road: Road, path: &str) -> Request {
    match road {
        Road::Sse => bridge.get(path).sse(),
        Road::Poll => bridge.get(&format!("{path}?timeout=1")),
    }
}

pub struct Client<'a> {
    bridge: &'a Bridge,
    path: String,
    user: String,
    ear: Ear,
    /// The `upstream` events that came so far.
    pub told: Vec<Json>,
}

enum Ear {
    Stream(Box<Stream>),
    Polls { acknowledged: String, unread: VecDeque<Json> },
}

impl<'a> Client<'a> {
    /// Opens a session at this path and subscribes to this room; returns its `chan_id` too.
    pub fn enter(
        bridge: &'a Bridge,
        road: Road,
        user: &str,
        path: &str,
        room: &str,
    ) -> (Client<'a>, String) {
        let (path, user, told) = (path.to_owned(), user.to_owned(), Vec::new());
        let (ear, query) = match road {
            Road::Sse => (Ear::Stream(Box::new(join(bridge, &path, &user))), ""),
            Road::Poll => (
                Ear::Polls { acknowledged: "0".to_owned(), unread: VecDeque::new() },
                "?poll-queue=1000",
            ),
        };
        let client = Client { bridge, path, user, ear, told };
        let channel = client.post(query, &subscribe(room));
        (client, channel)
    }

    pub fn subscribe(&self, room: &str) -> String {
        self.post("", &subscribe(room))
    }

    pub fn unsubscribe(&self, room: &str) {
        self.post("", &unsubscribe(room));
    }

    /// Calls an action of the channel.
    pub fn act(&self, room: &str, data: &str) {
        self.post("", &send(room, data));
    }

    /// Ends the session.
    pub fn leave(self) {
        let request = self.bridge.delete(&self.path);
        assert_eq!(dressed(self.bridge, request, &self.user).send().status, 204);
    }

    /// Posts these items at once, and returns their `chan_id`s.
    pub fn post_all(&self, items: &[String]) -> Vec<String> {
        self.post_to(&self.path, &items.join(","))
    }

    /// Posts one item, and returns its `chan_id`.
    fn post(&self, query: &str, item: &str) -> String {
        self.post_to(&format!("{}{query}", self.path), item).remove(0)
    }

    /// Each item must be taken.
    fn post_to(&self, target: &str, items: &str) -> Vec<String> {
        let request = self.bridge.post(target, &format!("[{items}]"));
        let asked = dressed(self.bridge, request, &self.user).begin();
        let answers = asked.patient(MESSAGE_PATIENCE).response().done();
        let taken = answers.iter().inspect(|answer| assert_eq!(answer.raw("error"), "null"));
        taken.map(|answer| answer.text("chan_id")).collect()
    }

    /// The next message but `joined`.
    pub fn next(&mut self) -> Json {
        let deadline = Instant::now() + MESSAGE_PATIENCE;
        loop {
            if let Some(message) = self.look() {
                return message;
            }
            assert!(Instant::now() < deadline, "no message within {MESSAGE_PATIENCE:?}");
        }
    }

    /// A message, or `None` when something else came.
    fn look(&mut self) -> Option<Json> {
        match &mut self.ear {
            Ear::Stream(stream) => {
                let event = stream.next();
                match event.name() {
                    "message" => return Some(event.json()).filter(|m| m.kind() != "joined"),
                    "upstream" => self.told.push(event.json()),
                    _ => {}
                }
                None
            }
            Ear::Polls { unread, .. } if !unread.is_empty() => unread.pop_front(),
            Ear::Polls { acknowledged, unread } => {
                let target = format!("{}?timeout=5&after={acknowledged}", self.path);
                let request = dressed(self.bridge, self.bridge.get(&target), &self.user);
                let answer = request.begin().patient(MESSAGE_PATIENCE).poll();
                if answer.json.raw("upstream") != "null" {
                    self.told.push(Json::parse(answer.json.raw("upstream")));
                }
                if let Some(last) = answer.messages.last() {
                    *acknowledged = last.text("msg_id");
                }
                unread.extend(answer.messages);
                None
            }
        }
    }

    /// The next message is of this type; returns its `chan_id`.
    pub fn expect(&mut self, kind: &str) -> String {
        let message = self.next();
        assert_eq!(message.kind(), kind, "{message:?}");
        message.text("chan_id")
    }

    /// The next message is a `received`; returns what the application sent, byte for byte.
    pub fn received(&mut self) -> String {
        let message = self.next();
        assert_eq!(message.kind(), "received", "{message:?}");
        message.raw("message").to_owned()
    }

    /// Greeted and confirmed, which is how each subscription to a room begins.
    pub fn expect_welcome(&mut self, channel: &str) {
        assert_eq!(self.received(), format!(r#"{{"greeting":"hello {}"}}"#, self.user));
        assert_eq!(self.expect("connected"), channel);
    }

    /// Why the bridge says that the link was lost, each time.
    pub fn reasons(&self) -> Vec<String> {
        let lost = self.told.iter().filter(|told| told.kind() == "disconnected");
        lost.map(|told| told.text("reason")).collect()
    }
}

fn join(bridge: &Bridge, path: &str, user: &str) -> Stream {
    let asked: Asked = dressed(bridge, opening(bridge, Road::Sse, path), user).begin();
    let mut stream = asked.patient(MESSAGE_PATIENCE).stream();
    stream.expect_joined();
    stream
}
