//! A session for tests: nothing has come of its first attempt, and no thread is behind it. And a client that stays.

use super::join::ListenerClient;
use super::{JoinRequest, Kind, Rules, Session, Start, Table};
use crate::mailbox::Bounds;
use crate::upstream::{Connector, Handshake, Protocol, Settings, Url};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

pub fn session() -> Arc<Session> {
    let settings = Settings {
        url: Url::parse("ws://127.0.0.1:1/").unwrap(),
        host_header: None,
        connect_timeout: LONG,
        stale_after: LONG,
        message_max: 1000,
    };
    let rules = Rules {
        reuse: false,
        strict_headers: false,
        poll_window: LONG,
        resume_window: LONG,
        bounds: Bounds { events: 10, bytes: 1000 },
        channels_max: 10,
        sessions_max: 10,
        memory_max: 1 << 20,
    };
    let table = Table::start(rules, Connector::new(settings).unwrap()).unwrap();
    let request = JoinRequest {
        path: "/a".to_owned(),
        start: Start::Fresh,
        kind: Kind::Stream,
        tunnel: false,
        came_back: false,
        queue: None,
        channels: Vec::new(),
        handshake: Handshake {
            query: String::new(),
            headers: Vec::new(),
            protocol: Protocol::Cable,
        },
    };
    Session::new(&table, &request)
}

pub struct Client;

impl ListenerClient for Client {
    fn has_left(&self) -> bool {
        false
    }

    fn cut(&self) {}
}
