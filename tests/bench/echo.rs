//! Echoes: one client says something to its session and waits until it comes back, again and again.
//!
//! Through the bridge a POST carries it up and the event stream down; through the relay one WebSocket does both.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::clock::now;
use crate::http::{self, Poster};
use crate::mark::{IDENTIFIER, IDENTIFIER_TEXT, Mark, scan};
use crate::websocket;

/// The client's side of one session, subscribed.
pub enum Echo {
    Bridge { stream: Ear, poster: Poster },
    Relay { stream: Ear },
}

impl Echo {
    pub fn through_bridge(port: u16) -> Echo {
        let mut stream = Ear::new(port, &http::stream_request(0));
        stream.wait_for_text("joined");
        let mut poster = Poster::new(port);
        poster.subscribe(0);
        stream.wait_for_text("connected");
        Echo::Bridge { stream, poster }
    }

    pub fn through_relay(port: u16) -> Echo {
        let mut stream = Ear::new(port, &websocket::request(0));
        stream.wait_for_text("welcome");
        stream.say(&format!(r#"{{"command":"subscribe","identifier":{IDENTIFIER_TEXT}}}"#));
        stream.wait_for_text("confirm_subscription");
        Echo::Relay { stream }
    }

    /// One echo. Nanoseconds from before it is said to when it is heard.
    pub fn once(&mut self, number: u32) -> u64 {
        let mark = Mark { slot: 0, number, at: now() };
        let mut text = Vec::new();
        mark.put(&mut text);
        let text = String::from_utf8(text).expect("a mark is ASCII");
        match self {
            Echo::Bridge { stream, poster } => {
                let send = format!(r#"[{{"identifier":{IDENTIFIER},"send":{{"text":"{text}"}}}}]"#);
                poster.post("/bench-0", &send);
                let took = stream.wait_for_number(number) - mark.at;
                // After the event, which may be here first: it is the event that was waited for.
                poster.answer();
                took
            }
            Echo::Relay { stream } => {
                let data = serde_json::to_string(&format!(r#"{{"text":"{text}"}}"#)).unwrap();
                stream.say(&format!(
                    r#"{{"command":"message","identifier":{IDENTIFIER_TEXT},"data":{data}}}"#
                ));
                stream.wait_for_number(number) - mark.at
            }
        }
    }
}

/// A connection that is listened to by blocking on it.
pub struct Ear {
    stream: TcpStream,
    kept: Vec<u8>,
}

impl Ear {
    fn new(port: u16, request: &str) -> Ear {
        let mut stream = http::connect(port);
        stream.write_all(request.as_bytes()).unwrap();
        Ear { stream, kept: Vec::new() }
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(&websocket::masked_text(text)).unwrap();
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer).expect("an echo comes back");
        assert!(read > 0, "the connection ended");
        self.kept.extend_from_slice(&buffer[..read]);
    }

    fn wait_for_text(&mut self, text: &str) {
        while !self.kept.windows(text.len()).any(|window| window == text.as_bytes()) {
            self.read();
        }
        self.kept.clear();
    }

    /// When the message with this number came.
    fn wait_for_number(&mut self, number: u32) -> u64 {
        loop {
            self.read();
            let (at, mut found) = (now(), false);
            let done = scan(&self.kept, |mark| found |= mark.number == number);
            self.kept.drain(..done);
            if found {
                return at;
            }
        }
    }
}
