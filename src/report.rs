//! What a person reads: one line an event on stderr, and the wording of what stops the program.
//!
//! Owns: the log level, the form of a line (`time=… level=… event=…`, key=value), the thread that writes them, `Error`.
//! Never: decides what is worth saying, or sees a cookie, a path, a body or a whole id; waits for stderr, but for a moment at the end.
//! When full: a line that finds no room is dropped, and the next one that does says before it how many were.

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Bytes of one line with its line break; what is longer is cut.
const LINE_MAX: usize = 2048;

/// Lines that wait to be written, 1 MiB of them at most: a terminal that is stopped, or a pipe that is not read, costs no more.
const LINES_WAITING_MAX: usize = 512;

/// How long the end of the program waits for the last lines to be written.
const LAST_LINES_WITHIN: Duration = Duration::from_millis(500);

/// How much is said. `-q` is `Warning`, `-d` is `Debug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

pub fn says(level: Level) -> bool {
    level as u8 >= LEVEL.load(Ordering::Relaxed)
}

enum LogJob {
    Write(String),
    /// Everything before it is written.
    Tell(Sender<()>),
}

static JOBS: OnceLock<Sender<LogJob>> = OnceLock::new();
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Starts the thread that writes. Without it each line is written by the thread that says it.
pub fn start(level: Level) -> Result<(), Error> {
    LEVEL.store(level as u8, Ordering::Relaxed);
    let (jobs, waiting) = bounded(LINES_WAITING_MAX);
    let write = move || {
        waiting.iter().for_each(|job| match job {
            LogJob::Write(text) => write_now(&text),
            // The end of the program may have stopped waiting.
            LogJob::Tell(written) => drop(written.send(())),
        });
    };
    thread::Builder::new().name("log".to_owned()).spawn(write).map_err(Error::no_thread)?;
    // It is started once.
    let _ = JOBS.set(jobs);
    Ok(())
}

fn write_now(text: &str) {
    // In one `write`, so that lines of different threads never mix. A log that cannot be written is no reason to stop.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Waits for what was said to be written, for a moment: then the program ends all the same.
pub fn finish() {
    let Some(jobs) = JOBS.get() else { return };
    let (tell, written) = bounded(1);
    let deadline = Instant::now() + LAST_LINES_WITHIN;
    if jobs.send_deadline(LogJob::Tell(tell), deadline).is_ok() {
        let _ = written.recv_deadline(deadline);
    }
}

/// Says one event, cut to `LINE_MAX`. Never waits.
pub fn line(level: Level, event: fmt::Arguments<'_>) {
    let name = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warning => "warning",
    };
    let mut text = String::new();
    let time = humantime::format_rfc3339_millis(clock());
    // Writing to a String does not fail.
    let _ = write!(text, "time={time} level={name} {event}");
    if text.len() >= LINE_MAX {
        let cut = (0..LINE_MAX).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(cut.unwrap_or(0));
    }
    text.push('\n');
    let dropped = DROPPED.swap(0, Ordering::Relaxed);
    let note = || format!("time={time} level=warning event=log-lines-dropped lines={dropped}\n");
    if dropped > 0 && !say(note()) {
        DROPPED.fetch_add(dropped, Ordering::Relaxed);
    }
    if !say(text) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether `event`, which trouble brings again and again, is to be said: once a minute.
pub fn is_due(event: &'static str) -> bool {
    static SAID: Mutex<BTreeMap<&str, Instant>> = Mutex::new(BTreeMap::new());
    let (mut said, now) = (SAID.lock(), Instant::now());
    let due = said.get(event).is_none_or(|last| now.duration_since(*last).as_secs() >= 60);
    if due {
        said.insert(event, now);
    }
    due
}

/// Says a text, of several lines too, to the person at the terminal. Never waits. Whether it found room.
pub fn say(text: String) -> bool {
    if let Some(jobs) = JOBS.get() {
        return jobs.try_send(LogJob::Write(text)).is_ok();
    }
    write_now(&text);
    true
}

/// The time of day. A box without a battery may wake up before 1970, which no format of ours can write.
pub fn clock() -> SystemTime {
    SystemTime::now().max(SystemTime::UNIX_EPOCH)
}

macro_rules! debug {
    ($($arg:tt)*) => {
        if $crate::report::says($crate::report::Level::Debug) {
            $crate::report::line($crate::report::Level::Debug, format_args!($($arg)*))
        }
    };
}
macro_rules! info {
    ($($arg:tt)*) => {
        if $crate::report::says($crate::report::Level::Info) {
            $crate::report::line($crate::report::Level::Info, format_args!($($arg)*))
        }
    };
}
macro_rules! warning {
    ($($arg:tt)*) => {
        $crate::report::line($crate::report::Level::Warning, format_args!($($arg)*))
    };
}
pub(crate) use {debug, info, warning};

/// Why the program does not start. The text is one line: the object, the cause, the remedy.
#[derive(Debug)]
pub enum Error {
    /// What was typed is wrong: exit 2.
    Usage(String),
    /// What was typed is right and yet cannot be done: exit 1.
    Start(String),
}

impl Error {
    /// A thread that the program cannot do without.
    pub fn no_thread(error: std::io::Error) -> Error {
        Error::Start(format!(
            "no thread to start with ({error}): raise ulimit -u, or pids.max of the cgroup"
        ))
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Start(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) | Error::Start(text) => f.write_str(text),
        }
    }
}
