//! One SSE stream: how events are written, and the loop that writes them ("Streams" in `src/api.md`).
//!
//! Owns: the event-stream format (HTML standard, 9.2.5), heartbeats, the order in which a stream begins and ends.
//! Never: knows paths or the upstream; it gets a `Write`.
//! At the limit: a write may wait for `gate::Timeouts::write`; its mailbox goes on without it.

mod raw;

use crate::mailbox::{Log, Next, Notice};
use crate::memory::ROOM_PAUSE;
use crate::session::{Step, Stream};
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

/// Bytes that are put together before they are written. What is longer is written from where it lies: a large message is not
/// copied once more for each of its streams.
const WRITE_BYTES: usize = 32 * 1024;

/// Writes one stream from its beginning to its end. `padding` bytes of comment come first, for proxies that hold back the
/// start of a body; a quiet stream gets a heartbeat each `heartbeat`. A `raw` one gets its messages as plain event data.
pub fn run(
    stream: &mut Stream,
    out: &mut dyn Write,
    padding: usize,
    heartbeat: Duration,
    raw: bool,
) -> io::Result<End> {
    let mut writer =
        Writer { out, prefix: stream.handle.session.event_id_prefix(), place: stream.start, raw };
    writer.begin(std::mem::take(&mut stream.first), padding)?;
    let mut written_at = Instant::now();
    loop {
        match stream.next() {
            Step::Next(next @ (Next::Nothing | Next::NoRoom), _) => {
                let pause = matches!(next, Next::NoRoom).then_some(ROOM_PAUSE);
                if !is_quiet(stream, written_at, heartbeat, pause) {
                    continue;
                }
                writer.event(Some("heartbeat"), "{}")?;
            }
            Step::Next(Next::Events { missed, events }, _share) => {
                writer.events(missed, &events)?;
            }
            Step::Next(Next::Notice { place, notice }, _) => {
                writer.place = place;
                writer.notice(&notice)?;
            }
            Step::Closed(place, notice) => {
                writer.place = place;
                writer.notice(&notice)?;
                stream.handle.session.end_closed();
                return Ok(End::Orderly);
            }
            last => return writer.end(last),
        }
        // Counted from the last write, not the last heartbeat: a proxy cuts a silent stream, and a stream with events is
        // not silent.
        written_at = Instant::now();
    }
}

/// Waits for something to write, at most this `pause`, until a heartbeat is due. Whether one is.
fn is_quiet(
    stream: &Stream,
    written_at: Instant,
    heartbeat: Duration,
    pause: Option<Duration>,
) -> bool {
    let heartbeat_at = written_at + heartbeat;
    let look_at = pause.map_or(heartbeat_at, |pause| heartbeat_at.min(Instant::now() + pause));
    let called = stream.handle.wait(look_at);
    let quiet = written_at.elapsed();
    if called && quiet < BUSY_WITHIN {
        std::thread::yield_now();
    }
    !called && quiet >= heartbeat
}

/// The `retry:` that sends a client back after a time of its own, in milliseconds.
pub fn retry_within(range: RangeInclusive<u32>) -> String {
    let spread = u64::from(range.end() - range.start()) + 1;
    // Without random bytes all would come back together: late, and at once, but they would.
    let random = getrandom::u64().unwrap_or(0);
    format!("retry: {}\n\n", u64::from(*range.start()) + random % spread)
}

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
    fn begin(&mut self, first: Vec<Notice>, padding: usize) -> io::Result<()> {
        let mut text = format!("retry: {RETRY}\n\n");
        if padding > 0 {
            // The colon is one of them.
            let _ = write!(text, ":{:1$}\n\n", "", padding - 1);
        }
        for notice in &first {
            self.put(&mut text, self.name_of(notice), &notice.data)?;
        }
        self.out.write_all(text.as_bytes())
    }

    fn events(&mut self, missed: u64, events: &Log) -> io::Result<()> {
        let size = events.bytes() + events.len() * (self.prefix.len() + 40);
        let mut text = String::with_capacity(size.min(WRITE_BYTES));
        if missed > 0 {
            self.place += missed;
            self.put(&mut text, Some("dropped"), &format!(r#"{{"dropped":{missed}}}"#))?;
        }
        for (place, event) in events.after(0) {
            self.place = place;
            let (name, data) = if self.raw { raw::of(event) } else { (None, event.into()) };
            self.put(&mut text, name, &data)?;
        }
        self.out.write_all(text.as_bytes())
    }

    fn event(&mut self, name: Option<&str>, data: &str) -> io::Result<()> {
        let mut text = String::new();
        self.put(&mut text, name, data)?;
        self.out.write_all(text.as_bytes())
    }

    fn notice(&mut self, notice: &Notice) -> io::Result<()> {
        self.event(self.name_of(notice), &notice.data)
    }

    /// Of what is not kept all but `joined` and a tunnel's ping has a name.
    fn name_of(&self, notice: &Notice) -> Option<&'static str> {
        if self.raw { notice.name.or(Some("joined")) } else { notice.name }
    }

    /// Appends one event. Its data is one line, but for line breaks in a tunnel's frame or in a raw stream's text.
    fn put(&mut self, text: &mut String, name: Option<&str>, data: &str) -> io::Result<()> {
        // Writing to a String does not fail.
        let _ = writeln!(text, "id: {}{}", self.prefix, self.place);
        if let Some(name) = name {
            let _ = writeln!(text, "event: {name}");
        }
        let mut rest = Some(data);
        while let Some(data) = rest {
            let (line, more) = first_line(data);
            text.push_str("data: ");
            if text.len() + line.len() > WRITE_BYTES {
                self.out.write_all(text.as_bytes())?;
                text.clear();
                self.out.write_all(line.as_bytes())?;
            } else {
                text.push_str(line);
            }
            text.push('\n');
            rest = more;
        }
        text.push('\n');
        Ok(())
    }

    fn end(&mut self, last: Step) -> io::Result<End> {
        match last {
            Step::Replaced => {
                self.out.write_all(format!("retry: {RETRY_REPLACED}\n\n").as_bytes())?;
                self.event(Some("replaced"), "{}")?;
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

/// The text before the first CR, LF or CRLF, and what follows it, if there is one.
fn first_line(text: &str) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == b'\n' || byte == b'\r') {
        None => (text, None),
        Some(at) => {
            let (line, end) = text.split_at(at);
            (line, end.strip_prefix("\r\n").or(end.get(1..)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(raw: bool, data: &str) -> String {
        let mut out = Vec::new();
        let mut writer = Writer { out: &mut out, prefix: "p.".to_owned(), place: 7, raw };
        writer.notice(&Notice { name: Some("n"), data: data.into() }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_line_break_begins_another_data_line() {
        let text = written(false, "a\r\rb\r\n\nc\n");

        assert_eq!(
            text,
            "id: p.7\nevent: n\ndata: a\ndata: \ndata: b\ndata: \ndata: c\ndata: \n\n"
        );
    }

    #[test]
    fn what_has_no_name_is_named_in_a_raw_stream() {
        let mut out = Vec::new();
        let mut writer = Writer { out: &mut out, prefix: String::new(), place: 0, raw: true };

        writer.notice(&Notice { name: None, data: "{}".into() }).unwrap();

        assert_eq!(String::from_utf8(out).unwrap(), "id: 0\nevent: joined\ndata: {}\n\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn a_reader_gets_the_lines_back_however_long_they_are(
            lines in prop::collection::vec("[^\r\n]{0,20}", 1..5), times in 1..3000_usize, end in "\r\n|\r|\n",
        ) {
            let lines: Vec<String> = lines.iter().map(|line| line.repeat(times)).collect();

            let text = written(false, &lines.join(&end));

            let data = text.strip_prefix("id: p.7\nevent: n\n").and_then(|rest| rest.strip_suffix("\n\n"));
            let read: Vec<_> = data.unwrap().split('\n').map(|line| line.strip_prefix("data: ").unwrap()).collect();
            prop_assert_eq!(read, lines);
        }
    }
}
