//! The upstream: one WebSocket to the cable server for each session, and the thread that keeps it.
//!
//! Owns: connecting (plain or TLS), the opening handshake, `welcome`, reading, reconnecting with back-off.
//! Never: knows that HTTP clients exist, or what a channel is; the session, its `LinkHandler`, is told what comes.
//! Flow: `Connector::start` -> thread -> a handshake on the pool -> `LinkHandler::up`, `text`…, `down` -> again, or the end.
//! Writers: any thread, through `Link::send`, one whole frame at a time.
//! When the upstream takes no bytes for 10 s, or sends none for `stale_after`: the link is cut, and made anew.

mod attempt;
mod diagnosis;
mod handshake;
mod line;
mod pool;
mod socket;
#[cfg(test)]
mod tests;
mod thread;
mod tls;
mod url;
mod wire;

use crate::frame::Frame;
use crate::memory::Share;
use crate::report::{self, debug};
use crate::stats::Stats;
use crossbeam_channel::{Receiver, Sender, bounded};
pub use handshake::is_token;
use line::Line;
use pool::Pool;
use socket::UpstreamSocket;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Weak};
use std::time::Duration;
use thread::LinkThread;
use tls::Tls;
pub use url::Url;
use wire::text_frame;

/// Stack of a session's thread. Decrypting and parsing take up to 32 KiB in a debug build; the rest is for
/// what the handler does with a text. Only what is touched costs memory.
const STACK: usize = 128 * 1024;

/// Sessions that may shake hands again at a time, so that a restarted upstream is not overrun.
const RECONNECTS_MAX: usize = 64;

#[derive(Clone, Debug)]
pub struct Settings {
    pub url: Url,
    /// The `Host` that the server is told in place of the client's, which then is the `X-Forwarded-Host`.
    pub host_header: Option<String>,
    /// From the first packet to the `welcome`.
    pub connect_timeout: Duration,
    /// A cable that sends nothing for this long is lost.
    pub stale_after: Duration,
    /// Bytes of one message; a longer one costs the link.
    pub message_max: usize,
}

/// One session's part of the handshake: all but the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Appended to the query of the URL; without a leading `?` or `&`, empty for none.
    pub query: String,
    /// Sent in this order, bytes unchanged, but for `Host`, which comes first.
    pub headers: Vec<(String, Vec<u8>)>,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// ActionCable: up with its `welcome`.
    Cable,
    /// Whatever the client speaks: offers these subprotocols, separated by commas, and is up with the 101.
    Raw { protocols: String },
}

/// The session, as its upstream sees it. All calls but the first `handshake` come from its thread, in order.
pub trait LinkHandler: Send + Sync + 'static {
    /// What the next attempt carries. What is spoken stays the same.
    fn handshake(&self) -> Arc<Handshake>;

    /// The memory of messages that are not whole yet; it holds nothing yet.
    fn incoming(&self) -> Share;

    /// The link is there: with the `welcome`, or with the 101 where the protocol is raw.
    fn up(&self, link: Arc<Link>);

    /// A text frame came. Of a cable's it is read already, and is never a `welcome`, a `ping`, a `disconnect` or no JSON.
    fn text(&self, text: &str, frame: Option<Frame<'_>>);

    /// What `text` was given has been freed: only copies of the handler's own are left of it.
    fn text_freed(&self);

    /// An attempt failed, or the link is lost.
    fn down(&self, down: Down) -> AfterDown;

    /// The thread has panicked, in one of these calls most likely, and ends: there will be no further call.
    fn broken(&self);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterDown {
    Retry,
    /// Ends the thread.
    Stop,
}

/// Why there is no link, by what it means to the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Down {
    /// The handshake was answered with a 4xx other than 408 and 429. `why` is a sentence that names it.
    Denied { status: u16, why: String },
    /// A `disconnect` with `reconnect:false`, before or after the `welcome`.
    Refused { reason: String },
    /// Anything else. `close` is the close frame, where one came.
    Lost { reason: String, was_up: bool, close: Option<(u16, String)> },
}

impl Down {
    fn failed(reason: &str) -> Down {
        Down::Lost { reason: reason.to_owned(), was_up: false, close: None }
    }
}

/// The sending side of one live link. It does not keep the socket open: that ends with the link.
pub struct Link {
    socket: Weak<UpstreamSocket>,
    protocol: Option<String>,
    name: String,
}

impl Link {
    /// Sends one text frame, whole, after those that other threads are sending. Blocks for 10 s at most; then, as after any error,
    /// the link is cut and its handler told.
    pub fn send(&self, text: &str) -> io::Result<()> {
        let socket = self.socket.upgrade().ok_or(ErrorKind::NotConnected)?;
        socket.send(&text_frame(text)?)?;
        debug!("event=frame session={} dir=out type=text bytes={}", self.name, text.len());
        Ok(())
    }

    /// The subprotocol that the upstream chose.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }
}

/// What a session holds to end its upstream. Dropping it ends it too, with 1000.
pub struct Upstream {
    line: Arc<Line>,
}

impl Upstream {
    /// Ends the thread wherever it is, and never blocks. A live link gets a close frame; within a second its socket is closed,
    /// unless its thread is in a write just then. The handler hears nothing more. `reason` is at most 123 bytes.
    pub fn close(&self, code: u16, reason: &'static str) {
        self.line.close(code, reason);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.close(1000, "");
    }
}

/// What all upstreams share: the settings, the TLS roots, the pool, the leave to reconnect, the counters.
pub struct Connector {
    settings: Settings,
    tls: Option<Tls>,
    pool: Pool,
    /// Holds a message for each session that shakes hands again.
    permits: (Sender<()>, Receiver<()>),
    pub stats: Arc<Stats>,
}

impl Connector {
    /// Loads the roots where the URL asks for TLS.
    pub fn new(settings: Settings) -> Result<Arc<Connector>, report::Error> {
        let tls =
            if settings.url.tls { Some(tls::tls(tls::roots()?, &settings.url)?) } else { None };
        Ok(Connector::with_tls(settings, tls))
    }

    fn with_tls(settings: Settings, tls: Option<Tls>) -> Arc<Connector> {
        let (pool, permits) = (Pool::new(), bounded(RECONNECTS_MAX));
        Arc::new(Connector { settings, tls, pool, permits, stats: Arc::default() })
    }

    /// Says so if the upstream's name does not resolve: most likely it is misspelt, but it may come to be known. Asked beside
    /// everything else, since a resolver may take its time.
    pub fn warn_of_unknown_name(&self) {
        let url = self.settings.url.clone();
        if url.socket.is_some() {
            return;
        }
        let ask = move || {
            if let Err(error) = attempt::resolve(&url.host, url.port) {
                report::warning!("event=unknown-name host={} error=\"{error}\"", url.host);
            }
        };
        // Without a thread there is no warning; what follows will say so louder.
        let _ = std::thread::Builder::new().name("resolve".to_owned()).spawn(ask);
    }

    /// Starts the thread `upstream-<name>`, which connects at once. The handler may hear of it before this
    /// returns. An error means that no thread could be started.
    pub fn start(
        self: &Arc<Self>,
        name: &str,
        handler: Arc<dyn LinkHandler>,
    ) -> io::Result<Upstream> {
        let line = Arc::<Line>::default();
        let thread = LinkThread {
            connector: Arc::clone(self),
            name: name.to_owned(),
            cable: handler.handshake().protocol == Protocol::Cable,
            handler,
            line: Arc::clone(&line),
        };
        let builder = std::thread::Builder::new().name(format!("upstream-{name}"));
        builder.stack_size(STACK).spawn(move || thread.run_to_the_end())?;
        Ok(Upstream { line })
    }

    fn connect_timeout(&self) -> humantime::FormattedDuration {
        humantime::format_duration(self.settings.connect_timeout)
    }
}

/// Leave for one handshake, until it is dropped.
struct Permit(Receiver<()>);

impl Drop for Permit {
    fn drop(&mut self) {
        let _ = self.0.try_recv();
    }
}
