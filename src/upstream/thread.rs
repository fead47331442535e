//! The thread of one session's upstream: attempt, read, back off, and again.
//!
//! Owns: when to try again, what ends a link, and what the handler is told.
//! Never: connects or shakes hands itself. TLS above all dirties a deep stack, which a thread that lives as long as its session
//! would keep: so each attempt has a thread of its own.
//! Each of its waits can be woken by `Upstream::close`, which is the only way to end it besides `AfterDown::Stop`.

use super::attempt::{Attempt, Live};
use super::backoff::pause_after;
use super::diagnosis::{broken_off, closed_by, disconnected, short};
use super::line::Line;
use super::socket::{UpstreamSocket, brief};
use super::wire::{Wire, close_frame};
use super::{AfterDown, Connector, Down, Link, LinkHandler, Permit, Protocol};
use crate::frame::Frame;
use crate::report::{self, Level, debug, info};
use crossbeam_channel::{bounded, select};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};
use tungstenite::{Error, Message};

/// TLS with one certificate takes up to 64 KiB in a debug build; chains, other key types and the resolver
/// take more. Only what is touched costs memory. More than four times a session's stack: up to that glibc makes the deep, dirty
/// stack of a handshake that has ended into one of a session, which kept 2 KB a session after 3,000 were opened at once.
const HANDSHAKE_STACK: usize = 1024 * 1024;

/// A handshake's thread has this long to say itself why it failed; one that hangs in a name lookup is left behind.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);

/// A link that held for less counts as a failure: an upstream that welcomes and closes at once, or two sessions that make each
/// other go, would have a handshake each 300 ms for ever.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Failures in a row that are said: an absence of hours must not be a line of each session every 10 s.
const FAILURES_SAID: u32 = 2;

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

    /// Has another thread connect. `None`: the session closes. Not inlined, as `pause` and `carry` are not: the thread's stack is as
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
        let closing = self.line.closing();
        let (done, result) = bounded(1);
        let job = move || {
            let result = attempt.run();
            drop(permit);
            // An error: the session's thread waits no longer.
            let _ = done.send(result);
        };
        let thread = Builder::new().name("handshake".to_owned()).stack_size(HANDSHAKE_STACK);
        if let Err(error) = thread.spawn(job) {
            let why = format!("no thread for the handshake: {}", brief(&error));
            return Some(Err(Down::failed(&why)));
        }
        let result = select! {
            recv(closing) -> _ => return None,
            recv(result) -> result => result.ok(),
            default(timeout + HANDSHAKE_GRACE) => None,
        };
        Some(result.unwrap_or_else(|| {
            let timeout = self.connector.connect_timeout();
            Err(Down::failed(&format!("unreachable: no connection within {timeout}")))
        }))
    }

    /// Waits `pause`, then for leave to try again. `None`: the session closes.
    #[inline(never)]
    fn pause(&self, pause: Duration) -> Option<Permit> {
        let closing = self.line.closing();
        if closing.recv_timeout(pause).is_ok() {
            return None;
        }
        let (taken, given) = &self.connector.permits;
        select! {
            send(taken, ()) -> _ => Some(Permit(given.clone())),
            recv(closing) -> _ => None,
        }
    }

    /// Carries messages for as long as the link lives. `None`: the session closes.
    #[inline(never)]
    fn carry(&self, (mut wire, protocol): Live) -> Option<Down> {
        let socket = Arc::clone(wire.socket());
        let mut ended = None;
        if self.line.up() {
            info!("event=upstream-up session={}", self.name);
            self.connector.stats.upstream_up.add(1);
            let (weak, name) = (Arc::downgrade(&socket), self.name.clone());
            self.handler.up(Arc::new(Link { socket: weak, protocol, name }));
            ended = self.read(&mut wire);
        }
        let (down, last) = match ended {
            Some(LinkEnd { down, code }) => (Some(down), code.map(|code| (code, ""))),
            None => (None, self.line.order()),
        };
        let last = last.and_then(|(code, reason)| close_frame(code, reason).ok());
        socket.finish(last.as_deref());
        down
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
        let kind = frame.as_ref().map_or(if cable { "no-json" } else { "text" }, Frame::kind);
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
        let wait = humantime::format_duration(settings.stale_after);
        let (reason, code) = broken_off(error, settings, format!("stale: no frame for {wait}"));
        LinkEnd { down: Down::lost(socket.broken().unwrap_or(&reason)), code }
    }

    /// Counts and logs it; after some `failures` in a row, with `-d` only. Not inlined, for the stack's sake.
    #[inline(never)]
    fn tell(&self, down: &Down, failures: u32) {
        let stats = &self.connector.stats;
        let reason_of = |reason| format!("reason={:?}", short(reason));
        let (counter, outcome, why) = match down {
            Down::Denied { status, .. } => {
                (&stats.upstream_denied, "denied", format!("status={status}"))
            }
            Down::Refused { reason } => (&stats.upstream_refused, "refused", reason_of(reason)),
            Down::Lost { reason, was_up: true, .. } => {
                (&stats.upstream_lost, "lost", reason_of(reason))
            }
            Down::Lost { reason, .. } => (&stats.upstream_failed, "failed", reason_of(reason)),
        };
        counter.add(1);
        let level = if failures < FAILURES_SAID { Level::Info } else { Level::Debug };
        if report::says(level) {
            let name = &self.name;
            report::line(level, format_args!("event=upstream-{outcome} session={name} {why}"));
        }
    }
}

/// How a link ended, and the code of the close frame that we say so with.
struct LinkEnd {
    down: Down,
    code: Option<u16>,
}
