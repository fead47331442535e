//! The thread of one session's upstream: attempt, read, back off, and again.
//!
//! Owns: when to try again, what ends a link, and what the handler is told.
//! Never: connects or shakes hands itself: a thread of the pool does, on a deeper stack.
//! Each of its waits can be woken by `Upstream::close`, which is the only way to end it besides `AfterDown::Stop`.

use super::attempt::{Attempt, Live};
use super::diagnosis::{broken_off, closed_by, disconnected, short};
use super::line::Line;
use super::socket::UpstreamSocket;
use super::wire::{Intake, Wire, close_frame};
use super::{AfterDown, Connector, Down, Link, LinkHandler, Permit, Settings};
use crate::frame::Frame;
use crate::report::{self, Level, debug, info};
use crossbeam_channel::{bounded, select};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::{Error, Message};

/// A handshake's thread has this long to say itself why it failed; one that hangs in a name lookup is left behind.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);

/// A link that held for less counts as a failure: an upstream that welcomes and closes at once, or two sessions that make each
/// other go, would have a handshake each 300 ms for ever.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Consecutive failures logged at info: an absence of hours must not be a line of each session every 10 s.
const FAILURES_SAID: u32 = 2;

const FIRST_RETRY_MIN: Duration = Duration::from_millis(100);
const FIRST_RETRY_MAX: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

pub struct LinkThread {
    pub connector: Arc<Connector>,
    pub name: String,
    /// Whether ActionCable is spoken.
    pub cable: bool,
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
        let mut failures = 0;
        let mut permit = None;
        while let Some(attempt) = self.attempt(permit) {
            let down = match attempt {
                Ok(live) => self.carry(live, &mut failures),
                Err(down) => Some(down),
            };
            let Some(down) = down.filter(|_| !self.line.is_closing()) else { return };
            self.tell(&down, failures);
            if matches!(self.handler.down(down), AfterDown::Stop) {
                return;
            }
            // Without random bytes the sessions come back together: late, but they come.
            let pause = backoff(failures, getrandom::u32().unwrap_or(u32::MAX));
            let Some(granted) = self.pause(pause) else { return };
            permit = Some(granted);
            failures = failures.saturating_add(1);
        }
    }

    /// Has another thread connect. `None`: `Upstream::close` was called. Not inlined, as `pause` and `carry` are not: the thread's
    /// stack is as deep as the deepest of them, and not as their sum.
    #[inline(never)]
    fn attempt(&self, permit: Option<Permit>) -> Option<Result<Live, Down>> {
        let timeout = self.connector.settings.connect_timeout;
        let attempt = Attempt {
            connector: Arc::clone(&self.connector),
            handshake: self.handler.handshake(),
            line: Arc::clone(&self.line),
            permit,
            deadline: Instant::now() + timeout,
        };
        let closing = self.line.closing();
        let (done, result) = bounded(1);
        // An error: this thread waits no longer.
        let job = move || drop(done.send(attempt.run()));
        if let Err(error) = self.connector.pool.run(Box::new(job)) {
            let why = format!("no thread for the handshake: {error}");
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

    /// Waits `pause`, then for leave to try again. `None`: `Upstream::close` was called.
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

    /// Waits for the `welcome`, then carries messages for as long as the link lives. `None`: `Upstream::close` was called.
    #[inline(never)]
    fn carry(&self, live: Live, failures: &mut u32) -> Option<Down> {
        let Live { socket, rest, protocol, permit, deadline } = live;
        let mut wire = self.wire(socket.clone(), rest, deadline);
        if self.cable {
            if let Err(LinkEnd { down, .. }) = self.read(&mut wire, false) {
                return Some(down);
            }
        }
        drop(permit);
        // ActionCable pings every three seconds. How long another protocol may be silent is not known: there keepalive has to do.
        let pings =
            self.cable || protocol.as_deref().is_some_and(|name| name.starts_with("actioncable-"));
        wire.be_patient(pings.then_some(self.connector.settings.stale_after));
        let mut ended = Ok(());
        if self.line.up() {
            info!("event=upstream-up session={}", self.name);
            self.connector.stats.upstream_up.add(1);
            let since = Instant::now();
            let (weak, name) = (Arc::downgrade(&socket), self.name.clone());
            self.handler.up(Arc::new(Link { socket: weak, protocol, name }));
            ended = self.read(&mut wire, true);
            if since.elapsed() >= GOOD_AFTER {
                *failures = 0;
            }
        }
        let (down, last) = match ended {
            Err(LinkEnd { down, code }) => (Some(down), code.map(|code| (code, ""))),
            Ok(()) => (None, self.line.order()),
        };
        let last = last.and_then(|(code, reason)| close_frame(code, reason).ok());
        socket.finish(last.as_deref());
        down
    }

    /// In a box, and not inlined: it would stay on this thread's stack.
    #[inline(never)]
    fn wire(&self, socket: Arc<UpstreamSocket>, rest: Vec<u8>, deadline: Instant) -> Box<Wire> {
        let Settings { message_max, stale_after, .. } = self.connector.settings;
        let (share, line) = (self.handler.incoming(), Arc::clone(&self.line));
        let intake = Intake { message_max, stale_after, share, line };
        Box::new(Wire::new(socket, rest, intake, deadline))
    }

    /// Reads messages, up to the `welcome` where the link is not up yet. `Ok`: that came, or `Upstream::close` was called.
    fn read(&self, wire: &mut Wire, is_up: bool) -> Result<(), LinkEnd> {
        while !self.line.is_closing() {
            let message = match wire.read() {
                Ok(message) => message,
                Err(_) if self.line.is_closing() => break,
                Err(error) => return Err(self.ended(&error, wire.socket(), is_up)),
            };
            let welcomed = self.take(message, wire, is_up)?;
            wire.forget_message();
            self.handler.text_freed();
            if welcomed {
                break;
            }
        }
        Ok(())
    }

    /// Takes one message. Whether it was the `welcome` that the link lacked.
    fn take(&self, message: Message, wire: &mut Wire, is_up: bool) -> Result<bool, LinkEnd> {
        let name = &self.name;
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(data) => {
                debug!("event=frame-ignored session={name} type=binary bytes={}", data.len());
                return Ok(false);
            }
            Message::Close(frame) => {
                wire.flush();
                return Err(LinkEnd { down: closed_by(frame, is_up), code: None });
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(false),
        };
        let frame = if self.cable { Frame::parse(&text) } else { None };
        let kind = frame.as_ref().map_or(if self.cable { "no-json" } else { "text" }, Frame::kind);
        debug!("event=frame session={name} dir=in type={kind} bytes={}", text.len());
        match frame {
            Some(Frame::Welcome) => return Ok(!is_up),
            Some(Frame::Disconnect { reason, reconnect }) => {
                let down = disconnected(reason, reconnect, is_up);
                return Err(LinkEnd { down, code: Some(1000) });
            }
            Some(Frame::Ping) => {}
            None if self.cable => {}
            frame if is_up => self.handler.text(&text, frame),
            _ => {}
        }
        Ok(false)
    }

    fn ended(&self, error: &Error, socket: &UpstreamSocket, is_up: bool) -> LinkEnd {
        let settings = &self.connector.settings;
        let silent = if is_up {
            format!("stale: no frame for {}", humantime::format_duration(settings.stale_after))
        } else {
            format!("no welcome within {}", self.connector.connect_timeout())
        };
        let (reason, code) = broken_off(error, settings, silent);
        let reason = socket.broken().map_or(reason, str::to_owned);
        LinkEnd { down: Down::Lost { reason, was_up: is_up, close: None }, code }
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

/// How long to wait after `failures` attempts in a row that failed: 100 to 500 ms at first, then up to half as much again each
/// time, to 10 s: after an absence of 7 s, as Rails needs to start, that is another 3 s at most. `random` spreads the sessions
/// over the upper half, so that they do not come back all at once.
fn backoff(failures: u32, random: u32) -> Duration {
    let times = failures.min(16);
    let max = (FIRST_RETRY_MAX * 3_u32.pow(times) / 2_u32.pow(times)).min(RETRY_MAX);
    let min = if failures == 0 { FIRST_RETRY_MIN } else { max / 2 };
    min + (max - min).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_comes_within_100_to_500_ms() {
        assert_eq!(backoff(0, 0), Duration::from_millis(100));
        assert_eq!(backoff(0, u32::MAX), Duration::from_millis(500));
    }

    #[test]
    fn later_ones_grow_by_half_up_to_ten_seconds() {
        for (failures, most) in [(1, 750), (2, 1_125), (4, 2_531), (7, 8_542), (8, 10_000)] {
            assert_eq!(backoff(failures, u32::MAX).as_millis(), most);
            assert_eq!(backoff(failures, 0).as_millis(), most / 2);
        }
        assert_eq!(backoff(u32::MAX, u32::MAX), RETRY_MAX);
    }

    #[test]
    fn randomness_spreads_them() {
        assert!(backoff(3, 1 << 30) < backoff(3, 1 << 31));
    }
}
