//! The thread of one session's upstream: attempt, read, back off, and again.
//!
//! Owns: when to try again, what ends a link, and what the handler is told.
//! Never: connects or shakes hands itself (workers do, on deeper stacks).
//! Each of its waits can be woken by `Upstream::close`, which is the only way to end it besides `AfterDown::Stop`.

use super::attempt::{Attempt, Live};
use super::backoff::pause_after;
use super::socket::{UpstreamSocket, brief};
use super::wire::{Wire, close_frame};
use super::{AfterDown, Connector, Down, Link, LinkHandler, Permit, Protocol, Settings};
use crate::frame::Frame;
use crate::report::{self, Level, debug, info};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message};

/// A worker has this long to say itself why it failed; one that hangs in a name lookup is left behind.
const WORKER_GRACE: Duration = Duration::from_secs(1);

/// A link that held for less counts as a failure: an upstream that welcomes and closes at once, or two sessions that make each
/// other go, would have a handshake each 300 ms for ever.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Failures in a row that are said: an absence of hours must not be a line of each session every 10 s.
const FAILURES_SAID: u32 = 2;

/// What the handle, the session's thread and its handshake worker share.
#[derive(Default)]
pub struct Line {
    closing: AtomicBool,
    /// Held for a moment only, and for no I/O but a `shutdown`, which does not block.
    state: Mutex<LineState>,
}

#[derive(Default)]
struct LineState {
    close: Option<(u16, &'static str)>,
    /// The socket of the moment. Weak: it closes when its thread lets go of it.
    socket: Weak<UpstreamSocket>,
    up: bool,
    /// While the thread waits for something else than the socket. Not kept while the link is up: 0.8 KB a session.
    wake: Option<Sender<()>>,
}

impl Line {
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Ends the reads and connects of now and of later. The first order counts.
    pub fn close(&self, code: u16, reason: &'static str) {
        let mut state = self.state.lock();
        state.close.get_or_insert((code, reason));
        self.closing.store(true, Ordering::Release);
        match state.socket.upgrade() {
            Some(socket) if state.up => socket.stop_reading(),
            Some(socket) => socket.cut(),
            None => {}
        }
        if let Some(wake) = &state.wake {
            // Full: it was told before.
            let _ = wake.try_send(());
        }
    }

    /// From now on `close` sends a message. A thread that waits for it looks first whether it is too late for that.
    fn wakes(&self) -> (Sender<()>, Receiver<()>) {
        let (wake, woken) = bounded(1);
        self.state.lock().wake = Some(wake.clone());
        (wake, woken)
    }

    /// From now on `close` cuts `socket`. False when it is too late for that.
    pub fn watch(&self, socket: &Arc<UpstreamSocket>) -> bool {
        let mut state = self.state.lock();
        state.socket = Arc::downgrade(socket);
        state.up = false;
        state.close.is_none()
    }

    /// From now on `close` leaves the sending side open, for the close frame.
    fn up(&self) -> bool {
        let mut state = self.state.lock();
        state.up = true;
        state.wake = None;
        state.close.is_none()
    }

    fn order(&self) -> Option<(u16, &'static str)> {
        self.state.lock().close
    }
}

pub struct LinkThread {
    pub connector: Arc<Connector>,
    pub name: String,
    pub speech: Protocol,
    pub handler: Arc<dyn LinkHandler>,
    pub line: Arc<Line>,
}

impl LinkThread {
    /// A panic is told by the process's hook; here it is the end of this session and of no other.
    pub fn run_to_the_end(&self) {
        if catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            self.handler.broken();
        }
    }

    fn run(&self) {
        let mut welcomed = false;
        let mut failures = 0;
        let mut permit = None;
        while let Some(attempt) = self.attempt(permit) {
            let down = match attempt {
                Ok(live) => {
                    let since = Instant::now();
                    let down = self.carry(live);
                    welcomed = true;
                    if since.elapsed() >= GOOD_AFTER {
                        failures = 0;
                    }
                    down
                }
                Err(down) => Some(down),
            };
            let Some(down) = down.filter(|_| !self.line.is_closing()) else { return };
            self.tell(&down, failures);
            if matches!(self.handler.down(down, welcomed), AfterDown::Stop) {
                return;
            }
            let Some(granted) = self.pause(pause_after(failures)) else { return };
            permit = Some(granted);
            failures = failures.saturating_add(1);
        }
    }

    /// Has a worker connect. `None`: the session closes. Not inlined, as `pause` and `carry` are not: the thread's stack is as
    /// deep as the deepest of them, and not as their sum.
    #[inline(never)]
    fn attempt(&self, permit: Option<Permit>) -> Option<Result<Live, Down>> {
        let timeout = self.connector.settings.connect_timeout;
        let attempt = Attempt {
            connector: Arc::clone(&self.connector),
            handshake: self.handler.handshake(),
            incoming: self.handler.incoming(),
            line: Arc::clone(&self.line),
            name: self.name.clone(),
            deadline: Instant::now() + timeout,
        };
        let slot = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&slot);
        // One message for two: the session is to close, or the attempt is done.
        let (done, woken) = self.line.wakes();
        let job = move || {
            let result = attempt.run();
            drop(permit);
            *filled.lock() = Some(result);
            // Full: the thread is about to look anyway.
            let _ = done.try_send(());
        };
        if let Err(error) = self.connector.workers.run(Box::new(job)) {
            let why = format!("no thread for the handshake: {}", brief(&error));
            return Some(Err(Down::failed(&why)));
        }
        let deadline = Instant::now() + timeout + WORKER_GRACE;
        loop {
            if self.line.is_closing() {
                return None;
            }
            let result = slot.lock().take();
            if result.is_some() {
                return result;
            }
            if woken.recv_deadline(deadline).is_err() {
                let timeout = self.connector.connect_timeout();
                let why = format!("unreachable: no connection within {timeout}");
                return Some(Err(Down::failed(&why)));
            }
        }
    }

    /// Waits `pause`, then for leave to try again. `None`: the session closes.
    #[inline(never)]
    fn pause(&self, pause: Duration) -> Option<Permit> {
        let until = Instant::now() + pause;
        let (_wake, woken) = self.line.wakes();
        while !self.line.is_closing() {
            if woken.recv_deadline(until).is_ok() {
                continue;
            }
            let permits = &self.connector.permits;
            select! {
                recv(permits.1) -> _ => return Some(Permit(permits.0.clone())),
                recv(woken) -> _ => {}
            }
        }
        None
    }

    /// Carries messages for as long as the link lives. `None`: the session closes.
    #[inline(never)]
    fn carry(&self, live: Live) -> Option<Down> {
        let Live { mut wire, protocol } = live;
        let socket = Arc::clone(wire.socket());
        if self.line.up() {
            info!("event=upstream-up session={}", self.name);
            self.connector.stats.upstream_up.add(1);
            let patience = self.set_patience(&socket, protocol.as_deref());
            let (weak, name) = (Arc::downgrade(&socket), self.name.clone());
            self.handler.up(Arc::new(Link { socket: weak, protocol, name }));
            let down = match patience {
                Ok(()) => self.read(&mut wire),
                Err(error) => Some(LinkEnd { down: Down::lost(&brief(&error)), code: None }),
            };
            if let Some(LinkEnd { down, code }) = down {
                socket.finish(code.and_then(|code| close_frame(code, "").ok()).as_deref());
                return Some(down);
            }
        }
        let last = self.line.order().and_then(|(code, reason)| close_frame(code, reason).ok());
        socket.finish(last.as_deref());
        None
    }

    /// ActionCable pings every three seconds. How long another protocol may be silent is not known:
    /// there keepalive has to do.
    fn set_patience(&self, socket: &UpstreamSocket, protocol: Option<&str>) -> std::io::Result<()> {
        let pings = protocol.is_some_and(|protocol| protocol.starts_with("actioncable-"));
        match self.speech {
            Protocol::Raw { .. } if !pings => socket.read_timeout(None),
            _ => socket.read_timeout(Some(self.connector.settings.stale_after)),
        }
    }

    fn read(&self, wire: &mut Wire) -> Option<LinkEnd> {
        while !self.line.is_closing() {
            let ended = match wire.read() {
                Ok(message) => self.take(message, wire),
                Err(_) if self.line.is_closing() => None,
                Err(error) => Some(self.ended(&error, wire.socket())),
            };
            wire.forget_message();
            self.handler.kept();
            if ended.is_some() {
                return ended;
            }
        }
        None
    }

    fn take(&self, message: Message, wire: &mut Wire) -> Option<LinkEnd> {
        match message {
            Message::Text(text) => {
                return self.take_text(&text).map(|down| LinkEnd { down, code: Some(1000) });
            }
            Message::Binary(data) => {
                let (name, bytes) = (&self.name, data.len());
                debug!("event=frame-ignored session={name} type=binary bytes={bytes}");
            }
            Message::Close(frame) => {
                wire.flush();
                return Some(LinkEnd { down: closed_by(frame, true), code: None });
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        None
    }

    fn take_text(&self, text: &str) -> Option<Down> {
        let cable = matches!(self.speech, Protocol::Cable);
        let frame = if cable { Frame::parse(text) } else { None };
        let kind = match &frame {
            Some(frame) => frame.kind(),
            None if cable => "no-json",
            None => "text",
        };
        debug!("event=frame session={} dir=in type={kind} bytes={}", self.name, text.len());
        match frame {
            Some(Frame::Welcome | Frame::Ping) => {}
            Some(Frame::Disconnect { reason, reconnect }) => {
                return Some(disconnected(reason, reconnect, true));
            }
            None if cable => {}
            frame => self.handler.text(text, frame),
        }
        None
    }

    fn ended(&self, error: &Error, socket: &UpstreamSocket) -> LinkEnd {
        let settings = &self.connector.settings;
        let reason = match socket.broken() {
            Some(reason) => reason.to_owned(),
            None => lost_reason(error, settings),
        };
        LinkEnd { down: Down::lost(&reason), code: farewell(error) }
    }

    /// Counts and logs it; after some `failures` in a row, with `-d` only. Not inlined, for the stack's sake.
    #[inline(never)]
    fn tell(&self, down: &Down, failures: u32) {
        self.connector.count(down);
        let level = if failures < FAILURES_SAID { Level::Info } else { Level::Debug };
        if !report::says(level) {
            return;
        }
        let (outcome, why) = match down {
            Down::Denied { status, .. } => ("denied", format!("status={status}")),
            Down::Refused { reason } => ("refused", reason_of(reason)),
            Down::Lost { reason, was_up: true, .. } => ("lost", reason_of(reason)),
            Down::Lost { reason, .. } => ("failed", reason_of(reason)),
        };
        report::line(level, format_args!("event=upstream-{outcome} session={} {why}", self.name));
    }
}

/// How a link ended, and the code of the close frame that we say so with.
struct LinkEnd {
    down: Down,
    code: Option<u16>,
}

fn reason_of(reason: &str) -> String {
    format!("reason={:?}", short(reason))
}

/// As much of a reason as fits a log line and an event: the upstream words it, at any length.
fn short(reason: &str) -> &str {
    reason.char_indices().nth(200).map_or(reason, |(end, _)| &reason[..end])
}

pub fn disconnected(reason: Option<String>, reconnect: bool, was_up: bool) -> Down {
    let reason = match reason {
        Some(reason) if !reason.is_empty() => short(&reason).to_owned(),
        _ => "no reason given".to_owned(),
    };
    if reconnect { Down::Lost { reason, was_up, close: None } } else { Down::Refused { reason } }
}

/// What a close frame means. One without a code counts as 1005 (RFC 6455, section 7.1.5).
pub fn closed_by(frame: Option<CloseFrame>, was_up: bool) -> Down {
    let (reason, close) = match frame {
        None => ("closed by the upstream".to_owned(), (1005, String::new())),
        Some(CloseFrame { code, reason }) => {
            let code = u16::from(code);
            let space = if reason.is_empty() { "" } else { " " };
            let text = format!("closed by the upstream ({code}{space}{reason})");
            (text, (code, reason.to_string()))
        }
    };
    Down::Lost { reason, was_up, close: Some(close) }
}

pub fn lost_reason(error: &Error, settings: &Settings) -> String {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            format!("a message over --max-message ({} bytes)", settings.message_max)
        }
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            "closed by the upstream".to_owned()
        }
        Error::Io(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            let wait = humantime::format_duration(settings.stale_after);
            format!("stale: no frame for {wait}")
        }
        Error::Io(error) => brief(error),
        Error::Protocol(error) => format!("broken WebSocket frame: {error}"),
        Error::Utf8(_) => "a text frame that is not UTF-8".to_owned(),
        error => error.to_string(),
    }
}

/// RFC 6455, section 7.4.1. No last word to one that has gone.
fn farewell(error: &Error) -> Option<u16> {
    match error {
        Error::Capacity(_) => Some(1009),
        Error::Utf8(_) => Some(1007),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(1002),
        _ => None,
    }
}
