//! What a person reads: one line an event on stderr, and the wording of what stops the program.
//!
//! Owns: the log level, the form of a line (`time=… level=… event=…`, key=value), `Error`.
//! Never: decides what is worth saying, or sees a cookie, a path, a body or a whole id.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

/// How much is said. `-q` is `Warning`, `-d` is `Debug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Says from now on what is at `level` or above.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether a line of this level would be written.
pub fn says(level: Level) -> bool {
    level as u8 >= LEVEL.load(Ordering::Relaxed)
}

/// Writes one line, in one `write`, so that lines of different threads never mix.
pub fn line(level: Level, event: fmt::Arguments<'_>) {
    let name = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warning => "warning",
    };
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    let text = format!("time={time} level={name} {event}\n");
    // A log that cannot be written is no reason to stop carrying messages.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
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
    /// The exit code that tells a script which of the two it was.
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
