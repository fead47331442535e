//! The server of these attacks: an echo, or what the query of a session asks for.
//!
//! Owns: one accepting thread, one small thread a link. The honest session has a server of its own, which nothing holds up.

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::thread::Builder;
use std::time::Duration;

use tungstenite::handshake::derive_accept_key;

use super::pause;
use crate::support::{Auto, CHAT, FakeUpstream, Link, ROOM, quote};

/// Enough for a handshake and a frame.
const STACK: usize = 128 * 1024;

/// Pings between two large messages.
const PINGS: usize = 4;
const PING_EACH: Duration = Duration::from_secs(2);

/// One that hangs lets go by then.
const HOLD_PINGS: usize = 60;

const PING: &str = r#"{"type":"ping","message":1}"#;

const LARGE: usize = 5_000_000;

pub struct Server {
    pub url: String,
    crowd: Arc<Auto>,
    honest: Arc<Auto>,
}

impl Server {
    pub fn start() -> Server {
        let listening = FakeUpstream::start();
        let url = listening.url();
        let (crowd, honest) = (Arc::new(Auto::start()), Arc::new(Auto::start()));
        let autos = (Arc::clone(&crowd), Arc::clone(&honest));
        let accept = move || accept(&listening.into_listener(), &autos);
        Builder::new().name("server".into()).spawn(accept).unwrap();
        Server { url, crowd, honest }
    }

    pub fn tell_honest(&self, number: u64) {
        self.honest.broadcast(ROOM, &number.to_string());
    }

    /// To every session of the crowd that is subscribed.
    pub fn tell_crowd(&self, json: &str) {
        self.crowd.broadcast(CHAT, json);
    }
}

/// For as long as the process lives: it is the test's.
fn accept(listener: &TcpListener, autos: &(Arc<Auto>, Arc<Auto>)) {
    while let Ok((stream, _)) = listener.accept() {
        let (crowd, honest) = (Arc::clone(&autos.0), Arc::clone(&autos.1));
        let serve = move || {
            // Under attack a session may be over before its handshake was read.
            let Ok(link) = Link::try_arrive(stream) else { return };
            let query = link.handshake.target().split_once('?').map_or("", |(_, query)| query);
            match query.to_owned().as_str() {
                "way=honest" => honest.adopt(link),
                "way=hang" => wait(&link, ""),
                "way=deaf" => deaf(link),
                "way=large" => large(link),
                _ => crowd.adopt(link),
            }
        };
        // A machine without room for another thread is one whose server does not answer.
        let _ = Builder::new().name("server-link".into()).stack_size(STACK).spawn(serve);
    }
}

/// Welcomes and reads nothing.
fn deaf(mut link: Link) {
    if welcomed(&mut link) {
        wait(&link, PING);
    }
}

/// Confirms the one channel, and sends a large message now and then, whatever room there is.
fn large(mut link: Link) {
    if !welcomed(&mut link) || link.next_text().is_none() {
        return;
    }
    let identifier = quote(CHAT);
    let confirmed = format!(r#"{{"identifier":{identifier},"type":"confirm_subscription"}}"#);
    if !pour(&link, &confirmed) {
        return;
    }
    for _ in 0..HOLD_PINGS {
        let sent = (0..PINGS).all(|_| {
            pause(PING_EACH);
            pour(&link, PING)
        });
        if !sent || !pour(&link, large_message()) {
            return;
        }
    }
}

/// One for all links, of which there may be thousands.
fn large_message() -> &'static str {
    static MESSAGE: OnceLock<String> = OnceLock::new();
    let identifier = quote(CHAT);
    let text = || format!(r#"{{"identifier":{identifier},"message":"{}"}}"#, "x".repeat(LARGE));
    MESSAGE.get_or_init(text)
}

/// The link may be over at any time: that is no trouble of this side's.
fn welcomed(link: &mut Link) -> bool {
    let key = link.handshake.header("Sec-WebSocket-Key").unwrap();
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    link.stream().write_all(head.as_bytes()).is_ok() && pour(link, r#"{"type":"welcome"}"#)
}

/// Sends this now and then, until the link is over.
fn wait(link: &Link, text: &str) {
    for _ in 0..HOLD_PINGS {
        pause(PING_EACH);
        if !text.is_empty() && !pour(link, text) {
            return;
        }
    }
}

/// One text frame, if the bridge takes it.
fn pour(link: &Link, text: &str) -> bool {
    let mut stream = link.stream();
    stream
        .write_all(&frame_head(text.len()))
        .and_then(|()| stream.write_all(text.as_bytes()))
        .is_ok()
}

fn frame_head(length: usize) -> Vec<u8> {
    let mut head = vec![0x81, 127];
    match u16::try_from(length) {
        Ok(short @ ..126) => head[1] = short as u8,
        Ok(length) => {
            head[1] = 126;
            head.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => head.extend_from_slice(&(length as u64).to_be_bytes()),
    }
    head
}
