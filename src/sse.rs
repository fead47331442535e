//! One SSE stream: how events are written, and the loop that writes them.
//!
//! Owns: the event-stream format (HTML standard, 9.2.5), heartbeats, the order in which a stream begins and ends.
//! Never: knows paths or the upstream; it gets a `Write`.
//! At the limit: a write may wait as long as the socket allows; its mailbox goes on without it.

mod raw;

use crate::heap;
use crate::mailbox::{Batch, Notice};
use crate::session::{Step, Stream};
use raw::Raw;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// What an EventSource waits before it comes back, in milliseconds.
const RETRY: u32 = 2000;

/// What a stream that was taken over is told: a tab that lives stays away, so that two of them do not chase each other.
const RETRY_REPLACED: u32 = 3_600_000;

/// When the clients of a bridge that stops come back, in milliseconds: each at its own time.
const RETRY_DRAINED: RangeInclusive<u32> = 1000..=5000;

/// A stream that is called again so soon after a write is busy: it lets another thread go first, and then writes what has come
/// meanwhile. At full speed over 500 sessions that is a sixth of the processor time; a stream that is not busy loses nothing.
const BUSY_WITHIN: Duration = Duration::from_millis(5);

/// Writes one stream from its beginning to its end. `padding` bytes of comment come first, for proxies that hold back the
/// start of a body; a quiet stream gets a heartbeat each `heartbeat`. A `raw` one gets its messages as plain event data.
///
/// # Errors
/// The client's socket failed, or was stuck too long.
pub fn run(
    stream: &mut Stream,
    out: &mut dyn Write,
    padding: usize,
    heartbeat: Duration,
    raw: bool,
) -> io::Result<End> {
    let mut writer = Writer { out, prefix: stream.event_id_prefix(), place: 0, raw };
    writer.begin(stream.start, std::mem::take(&mut stream.first), padding)?;
    let mut written_at = Instant::now();
    loop {
        match stream.next() {
            Step::Nothing => {
                let called = stream.wait(written_at + heartbeat);
                let quiet = written_at.elapsed();
                if called && quiet < BUSY_WITHIN {
                    std::thread::yield_now();
                }
                if called || quiet < heartbeat {
                    continue;
                }
                writer.named("heartbeat", "{}")?;
            }
            Step::Events { missed, events } => writer.events(missed, &events)?,
            Step::Notice { place, notice } => {
                writer.place = place;
                writer.notice(&notice)?;
            }
            Step::Closed { place, notice } => {
                writer.place = place;
                writer.notice(&notice)?;
                stream.close_told();
                return Ok(End::Orderly);
            }
            last => return writer.end(last),
        }
        // Counted from the last write, not the last heartbeat: a proxy cuts a silent stream, and a stream with events is
        // not silent.
        written_at = Instant::now();
    }
}

/// The `retry:` that sends a client back after a time of its own, in milliseconds.
pub fn retry_within(range: RangeInclusive<u32>) -> String {
    let spread = u64::from(range.end() - range.start()) + 1;
    // Without random bytes all would come back together: late, and at once, but they would.
    let random = getrandom::u64().unwrap_or(0);
    format!("retry: {}\n\n", u64::from(*range.start()) + random % spread)
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing comes after it.
    Orderly,
    /// Its client shall come back, and some do not after an orderly end.
    Cut,
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    prefix: String,
    /// The place that the client has reached.
    place: u64,
    /// Messages are written as plain data, and what is unnamed elsewhere is named.
    raw: bool,
}

impl Writer<'_> {
    fn begin(&mut self, start: u64, first: Vec<Notice>, padding: usize) -> io::Result<()> {
        self.place = start;
        let mut text = format!("retry: {RETRY}\n\n");
        if padding > 0 {
            // The colon is one of them.
            let _ = write!(text, ":{:1$}\n\n", "", padding - 1);
        }
        for notice in &first {
            self.put_notice(&mut text, notice);
        }
        self.out.write_all(text.as_bytes())
    }

    fn events(&mut self, missed: u64, events: &Batch) -> io::Result<()> {
        let size = events.bytes() + events.len() * (self.prefix.len() + 40);
        let mut text = String::with_capacity(size.max(heap::SCRATCH));
        if missed > 0 {
            self.place += missed;
            self.put(&mut text, Some("dropped"), &format!(r#"{{"dropped":{missed}}}"#));
        }
        for (place, event) in events.iter() {
            self.place = place;
            match if self.raw { Raw::of(event) } else { Raw::Message(event.into()) } {
                Raw::Message(data) => self.put(&mut text, None, &data),
                Raw::Named(name) => self.put(&mut text, Some(name), event),
            }
        }
        self.out.write_all(text.as_bytes())
    }

    fn named(&mut self, name: &'static str, data: &str) -> io::Result<()> {
        let mut text = String::with_capacity(heap::SCRATCH);
        self.put(&mut text, Some(name), data);
        self.out.write_all(text.as_bytes())
    }

    fn notice(&mut self, notice: &Notice) -> io::Result<()> {
        let mut text = String::with_capacity(heap::SCRATCH);
        self.put_notice(&mut text, notice);
        self.out.write_all(text.as_bytes())
    }

    /// Appends something that is not kept. All but `joined` has a name.
    fn put_notice(&self, text: &mut String, notice: &Notice) {
        let name = if self.raw { notice.name.or(Some("joined")) } else { notice.name };
        self.put(text, name, &notice.data);
    }

    /// Appends one event. Its data is one line, but for line breaks in a tunnel's frame or in a raw stream's text.
    fn put(&self, text: &mut String, name: Option<&str>, data: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "id: {}{}", self.prefix, self.place);
        if let Some(name) = name {
            let _ = writeln!(text, "event: {name}");
        }
        if data.contains(['\n', '\r']) {
            for line in data.replace("\r\n", "\n").split(['\n', '\r']) {
                let _ = writeln!(text, "data: {line}");
            }
            text.push('\n');
        } else {
            let _ = write!(text, "data: {data}\n\n");
        }
    }

    fn end(&mut self, last: Step) -> io::Result<End> {
        match last {
            Step::Replaced => {
                self.out.write_all(format!("retry: {RETRY_REPLACED}\n\n").as_bytes())?;
                self.named("replaced", "{}")?;
            }
            Step::Drained => {
                self.out.write_all(retry_within(RETRY_DRAINED).as_bytes())?;
                return Ok(End::Cut);
            }
            Step::Over(Some(notice)) => self.notice(&notice)?,
            _ => {}
        }
        Ok(End::Orderly)
    }
}
