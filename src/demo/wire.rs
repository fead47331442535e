//! The demo's sockets and what goes over them: the handshake, commands in, frames out.
//!
//! Owns: the wording of each frame, what counts as a command, and how one socket serves two threads.
//! Never: touches an identifier's or a message's text; both go back as they came, byte for byte.
//! When a client does not read for 10 seconds, its writer ends and cuts the connection.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Receiver;
use serde::Deserialize;
use serde_json::value::RawValue;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::HeaderValue;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{HandshakeError, Message, WebSocket};

const PROTOCOL: &str = "actioncable-v1-json";

/// Longest command: the default `--max-body`, should each of its bytes be escaped, and then some.
const COMMAND_MAX: usize = 4 << 20;

/// How long a handshake may take to arrive, and how long a write may be stuck.
const PATIENCE: Duration = Duration::from_secs(10);

pub const WELCOME: &str = r#"{"type":"welcome"}"#;

/// One descriptor for the reader, the writer, and whoever cuts the connection.
#[derive(Clone)]
pub struct Socket(Arc<TcpStream>);

/// The reader's side. What tungstenite would write by itself goes nowhere: the writer alone writes,
/// so that frames never mix.
pub struct ReadHalf(Socket);

impl Socket {
    pub fn new(stream: TcpStream) -> io::Result<Socket> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Socket(Arc::new(stream)))
    }

    /// Ends the connection, also for a thread that is blocked in a read or a write.
    pub fn cut(&self) {
        // It fails when the other end was faster.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for ReadHalf {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for ReadHalf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes the handshake, on whatever path, and gives what reads the client's frames from then on.
pub fn handshake(socket: &Socket) -> Result<WebSocket<ReadHalf>, Box<tungstenite::Error>> {
    match tungstenite::accept_hdr(socket.clone(), choose_protocol) {
        Ok(_) => {}
        Err(HandshakeError::Failure(error)) => return Err(Box::new(error)),
        Err(HandshakeError::Interrupted(_)) => {
            return Err(Box::new(io::Error::from(io::ErrorKind::TimedOut).into()));
        }
    }
    socket.0.set_read_timeout(None).map_err(|error| Box::new(error.into()))?;
    // Nothing is lost with the handshake's buffer: tungstenite refuses bytes that follow a request.
    Ok(WebSocket::from_raw_socket(ReadHalf(socket.clone()), Role::Server, Some(sizes())))
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

/// Writes what is queued until the queue is closed, the client is gone, or a close frame was sent.
pub fn write(socket: &Socket, queue: &Receiver<Message>) {
    let mut outgoing = WebSocket::from_raw_socket(socket.clone(), Role::Server, Some(sizes()));
    for message in queue {
        let written = outgoing.write(message);
        // A burst goes out in few writes.
        let flushed = if queue.is_empty() { outgoing.flush() } else { Ok(()) };
        if written.and(flushed).is_err() {
            break;
        }
    }
    socket.cut();
}

/// What a client may ask for.
pub enum Command<'a> {
    Subscribe(Identifier),
    Unsubscribe(Identifier),
    /// The data, a JSON value as text.
    Message(Identifier, Cow<'a, str>),
}

/// The name of a channel.
#[derive(Clone, PartialEq, Eq)]
pub struct Identifier {
    /// The JSON string as it came, quotes and escapes included.
    text: Box<str>,
    /// The same for all spellings of the same JSON value.
    pub key: String,
    pub channel: String,
}

#[derive(Deserialize)]
struct Untangled<'a> {
    #[serde(borrow)]
    command: Cow<'a, str>,
    #[serde(borrow)]
    identifier: &'a RawValue,
    #[serde(borrow, default)]
    data: Cow<'a, str>,
}

impl<'a> Command<'a> {
    /// `None` for whatever is no command.
    pub fn parse(text: &'a str) -> Option<Command<'a>> {
        let Untangled { command, identifier, data } = serde_json::from_str(text).ok()?;
        let identifier = Identifier::parse(identifier)?;
        match &*command {
            "subscribe" => Some(Command::Subscribe(identifier)),
            "unsubscribe" => Some(Command::Unsubscribe(identifier)),
            "message" => {
                serde_json::from_str::<&RawValue>(&data).ok()?;
                Some(Command::Message(identifier, data))
            }
            _ => None,
        }
    }
}

impl Identifier {
    /// A JSON string that holds an object with a string `channel`.
    fn parse(raw: &RawValue) -> Option<Identifier> {
        let inner: String = serde_json::from_str(raw.get()).ok()?;
        let value: serde_json::Value = serde_json::from_str(&inner).ok()?;
        let channel = value.get("channel")?.as_str()?.to_owned();
        Some(Identifier { text: raw.get().into(), key: value.to_string(), channel })
    }
}

pub fn ping(unix_seconds: u64) -> String {
    format!(r#"{{"type":"ping","message":{unix_seconds}}}"#)
}

pub fn confirm(identifier: &Identifier) -> String {
    format!(r#"{{"identifier":{},"type":"confirm_subscription"}}"#, identifier.text)
}

pub fn reject(identifier: &Identifier) -> String {
    format!(r#"{{"identifier":{},"type":"reject_subscription"}}"#, identifier.text)
}

/// `message` is a JSON value as text.
pub fn message(identifier: &Identifier, message: &str) -> String {
    format!(r#"{{"identifier":{},"message":{message}}}"#, identifier.text)
}

/// What a clock channel says.
pub fn time(now: SystemTime) -> String {
    format!(r#"{{"time":"{}"}}"#, humantime::format_rfc3339_seconds(now))
}
