//! The demo's sockets and what goes over them: the handshake, commands in, frames out.
//!
//! Owns: the wording of each frame, what counts as a command, and how one socket serves two threads.
//! Never: touches a message's text; it goes back as it came, byte for byte.

use crate::frame::{Identifier, quoted};
use serde::Deserialize;
use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

const PROTOCOL: &str = "actioncable-v1-json";

/// Longest command: the default `--max-body`, should each of its bytes be escaped, and then some.
const COMMAND_MAX: usize = 4 << 20;

/// How long a handshake may take to arrive.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long a write may be stuck, and others wait behind it.
const WRITE_MAX: Duration = Duration::from_secs(1);

pub const WELCOME: &str = r#"{"type":"welcome"}"#;

/// One descriptor for the reader, those that write, and what cuts the connection.
#[derive(Clone)]
pub struct DemoSocket {
    stream: Arc<TcpStream>,
    /// The reader's: what tungstenite would write by itself goes nowhere, so that frames never mix.
    mute: bool,
}

impl DemoSocket {
    pub fn new(stream: TcpStream) -> io::Result<DemoSocket> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HANDSHAKE_MAX))?;
        stream.set_write_timeout(Some(WRITE_MAX))?;
        Ok(DemoSocket { stream: Arc::new(stream), mute: false })
    }

    pub fn writer(&self) -> WebSocket<DemoSocket> {
        WebSocket::from_raw_socket(self.clone(), Role::Server, Some(sizes()))
    }

    /// Ends the connection, also for a thread that is blocked in a read or a write.
    pub fn cut(&self) {
        // It fails when the other end was faster.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Read for DemoSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.stream).read(buffer)
    }
}

impl Write for DemoSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.mute { Ok(bytes.len()) } else { (&*self.stream).write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes the handshake, on whatever path, and gives what reads the client's frames from then on.
pub fn handshake(socket: &DemoSocket) -> io::Result<WebSocket<DemoSocket>> {
    let accepted =
        tungstenite::accept_hdr_with_config(socket.clone(), choose_protocol, Some(sizes()));
    let mut incoming = accepted.map_err(|error| io::Error::other(error.to_string()))?;
    incoming.get_mut().mute = true;
    socket.stream.set_read_timeout(None)?;
    Ok(incoming)
}

#[allow(clippy::result_large_err, reason = "tungstenite gives the type")]
fn choose_protocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offers = request.headers().get_all("Sec-WebSocket-Protocol");
    let mut offered = offers.iter().filter_map(|value| value.to_str().ok());
    if offered.any(|names| names.split(',').any(|name| name.trim() == PROTOCOL)) {
        let chosen = HeaderValue::from_static(PROTOCOL);
        response.headers_mut().insert("Sec-WebSocket-Protocol", chosen);
    }
    Ok(response)
}

fn sizes() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(16 * 1024)
        .max_message_size(Some(COMMAND_MAX))
        .max_frame_size(Some(COMMAND_MAX))
}

/// What a client asks for; `data` is a JSON value as text.
#[derive(Deserialize)]
pub struct Command<'a> {
    #[serde(borrow)]
    pub command: Cow<'a, str>,
    #[serde(borrow)]
    identifier: Cow<'a, str>,
    #[serde(borrow, default)]
    pub data: Cow<'a, str>,
}

impl Command<'_> {
    pub fn identifier(&self) -> Option<Identifier> {
        Identifier::parse(serde_json::from_str(&self.identifier).ok()?).ok()
    }
}

pub fn ping(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!(r#"{{"type":"ping","message":{seconds}}}"#)
}

/// A frame about a channel: `field` is a name and its value, as JSON.
pub fn frame(identifier: &Identifier, field: &str) -> Message {
    Message::text(format!(r#"{{"identifier":{},{field}}}"#, identifier.wire()))
}

pub fn time(now: SystemTime) -> String {
    format!(r#"{{"time":"{}"}}"#, humantime::format_rfc3339_seconds(now))
}

/// The same for a page with Turbo and an element whose id is `clock`.
pub fn turbo_time(now: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(now);
    let element = format!(r#"<turbo-stream action="update" target="clock"><template>{time}"#);
    quoted(&format!("{element}</template></turbo-stream>"))
}
