//! What may be typed, and what it means: the command line becomes a `Config`.
//!
//! Owns: the options, their help and their defaults; `options/spelling` evens out how they may be
//! written, `options/values` knows what each kind of value may be.
//! Never: is read after start-up, prints, or changes a value without saying so: it is honoured or refused.
//! What is wrong is told in one line that names the option as it was typed, the value and the remedy.

mod spelling;
mod values;

use std::ffi::OsString;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use crate::gate::Address;
use crate::report::Level;
use crate::upstream::{Url, UrlError};
use spelling::Words;

const NAME: &str = env!("CARGO_PKG_NAME");
const SERVER_DEFAULT: &str = "ws://127.0.0.1:3000/cable";
const MIB: usize = 1 << 20;

// The options as argh sees them. What is not typed is `None`; `Typed::config` knows the defaults.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    usage = "[options]",
    description = "Carries Rails ActionCable to clients that cannot use WebSockets, over\n\
                   Server-Sent Events and long polls.\n\n\
                   Durations are written 250ms, 30s, 5m, 1h or 1m30s, sizes in plain bytes.\n\
                   Zero is out of range for every limit and duration.",
    example = "{command_name} --demo\n\
               {command_name} -l :8080 -s wss://www.example.com/cable",
    error_code(
        1,
        "what was typed is right and yet cannot be done: an address in use, a URL that cannot be parsed"
    ),
    error_code(2, "a wrong option, or a value out of range")
)]
struct Typed {
    /// where to listen: host:port, :port (all interfaces) or unix:/path; default 127.0.0.1:8080
    #[argh(option, short = 'l', arg_name = "addr", from_str_fn(values::address))]
    listen: Option<Address>,

    /// the ActionCable server, ws:// or wss://; default ws://127.0.0.1:3000/cable
    #[argh(option, short = 's', arg_name = "url")]
    server: Option<String>,

    /// let many listeners share one session; default off
    #[argh(switch, short = 'r')]
    reuse: bool,

    /// how long a session outlives a long poll; default 5m
    #[argh(option, short = 'S', arg_name = "dur", from_str_fn(values::duration))]
    session: Option<Duration>,

    /// refuse requests whose Cookie or Origin is not the one that opened the session; default off
    #[argh(switch)]
    strict_headers: bool,

    /// log the types and sizes of frames too; default off
    #[argh(switch, short = 'd')]
    debug: bool,

    /// log warnings only; default off
    #[argh(switch, short = 'q')]
    quiet: bool,

    /// run an ActionCable server inside the process, for a try without Rails; default off
    #[argh(switch)]
    demo: bool,

    /// the Origin told to the server when a request has none, https://host or https://host:port;
    /// default none
    #[argh(option, arg_name = "url", from_str_fn(values::origin))]
    origin: Option<String>,

    /// an Origin that pages may come from, written like --origin, may be given many times; default any
    #[argh(option, arg_name = "url", from_str_fn(values::origin))]
    allow_origin: Vec<String>,

    /// how long the server may take from the connect to its welcome; default 10s
    #[argh(option, arg_name = "dur", from_str_fn(values::duration))]
    connect_timeout: Option<Duration>,

    /// how long the server may be silent before its link counts as lost; default 6s
    #[argh(option, arg_name = "dur", from_str_fn(values::duration))]
    stale_after: Option<Duration>,

    /// how long a session outlives its last stream; default 30s
    #[argh(option, arg_name = "dur", from_str_fn(values::duration))]
    resume_window: Option<Duration>,

    /// how long a stream may be quiet before a sign of life is sent; default 15s
    #[argh(option, arg_name = "dur", from_str_fn(values::duration))]
    heartbeat: Option<Duration>,

    /// messages that a session keeps; default 1024
    #[argh(option, arg_name = "count", from_str_fn(values::count))]
    max_queue: Option<usize>,

    /// bytes of messages that a session keeps; default 1048576 (1 MiB)
    #[argh(option, arg_name = "bytes", from_str_fn(values::bytes))]
    max_queue_bytes: Option<usize>,

    /// bytes of messages that all sessions keep together; default 268435456 (256 MiB)
    #[argh(option, arg_name = "bytes", from_str_fn(values::bytes))]
    max_memory: Option<usize>,

    /// bytes of the body of a request; default 1048576 (1 MiB)
    #[argh(option, arg_name = "bytes", from_str_fn(values::bytes))]
    max_body: Option<usize>,

    /// bytes of one message of the server; default 16777216 (16 MiB)
    #[argh(option, arg_name = "bytes", from_str_fn(values::bytes))]
    max_message: Option<usize>,

    /// sessions at a time; default what the machine allows, at most 10000
    #[argh(option, arg_name = "count", from_str_fn(values::count))]
    max_sessions: Option<usize>,

    /// connections of clients at a time; default what the machine allows
    #[argh(option, arg_name = "count", from_str_fn(values::count))]
    max_connections: Option<usize>,

    /// channels of one session; default 256
    #[argh(option, arg_name = "count", from_str_fn(values::count))]
    max_channels: Option<usize>,

    /// where to serve metrics and the list of sessions, written like --listen; default nowhere
    #[argh(option, arg_name = "addr", from_str_fn(values::address))]
    admin: Option<Address>,

    /// print the version
    #[argh(switch)]
    #[expect(
        dead_code,
        reason = "it is here for the help; what it does is done before the rest is read"
    )]
    version: bool,
}

/// What one run is to do. Every limit and duration is above zero.
pub struct Config {
    pub listen: Address,
    /// The upstream; with `demo` it is only a placeholder for the address that the demo will have.
    pub server: Url,
    pub reuse: bool,
    pub session: Duration,
    pub strict_headers: bool,
    pub level: Level,
    pub demo: bool,
    /// As a browser would send it: lower case, no default port.
    pub origin: Option<String>,
    /// Empty: any. Each as a browser would send it: lower case, no default port.
    pub allow_origin: Vec<String>,
    pub connect_timeout: Duration,
    pub stale_after: Duration,
    pub resume_window: Duration,
    pub heartbeat: Duration,
    pub max_queue: usize,
    pub max_queue_bytes: usize,
    pub max_memory: usize,
    pub max_body: usize,
    pub max_message: usize,
    /// `None`: what the machine allows, see `limits`.
    pub max_sessions: Option<usize>,
    /// `None`: what the machine allows, see `limits`.
    pub max_connections: Option<usize>,
    pub max_channels: usize,
    pub admin: Option<Address>,
}

/// Why there is no `Config`, and so no run. Each text but `Say` is one line without its line break.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Help or version: goes to stdout as it is, exit 0.
    Say(String),
    /// A wrong option or a value out of range: stderr, exit 2.
    Usage(String),
    /// What was typed is right in form and yet cannot be used: stderr, exit 1.
    Fail(String),
}

/// Reads the arguments of this process.
pub fn from_command_line() -> Result<Config, Stop> {
    let readable = |arg: OsString| {
        arg.into_string().map_err(|arg| {
            let shown = values::shown(&arg.to_string_lossy());
            Stop::Usage(format!("{shown}: is not UTF-8, type it in UTF-8"))
        })
    };
    parse(std::env::args_os().skip(1).map(readable).collect::<Result<_, _>>()?)
}

/// Reads `args`, the program's name not among them.
pub fn parse(args: Vec<String>) -> Result<Config, Stop> {
    let words = Words::of(args, Typed::get_args_info().flags);
    if words.has("--help") {
        return Err(Stop::Say(help()));
    }
    if words.has("--version") {
        return Err(Stop::Say(format!("{NAME} {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let typed = Typed::from_args(&[NAME], &words.for_argh())
        .map_err(|exit| Stop::Usage(words.one_line(&exit.output)))?;
    contradictions(&typed, &words)?;
    typed.config(&words)
}

fn help() -> String {
    match Typed::from_args(&[NAME], &["--help"]) {
        Err(exit) => exit.output,
        Ok(_) => unreachable!("argh answers --help with the help text"),
    }
}

/// Options that cannot both be meant.
fn contradictions(typed: &Typed, words: &Words) -> Result<(), Stop> {
    let clash = |one: &str, why: &str, other: &str| {
        let (one, other) = (words.spelled(one), words.spelled(other));
        Err(Stop::Usage(format!("{one}: {why} {other}, leave one of them out")))
    };
    if typed.debug && typed.quiet {
        return clash("--debug", "says more, not less, and cannot be together with", "--quiet");
    }
    if typed.demo && typed.server.is_some() {
        return clash("--demo", "is a server of its own and cannot be together with", "--server");
    }
    Ok(())
}

impl Typed {
    fn config(self, words: &Words) -> Result<Config, Stop> {
        let level = self.level();
        let server_text = self.server.unwrap_or_else(|| SERVER_DEFAULT.to_owned());
        let server = Url::parse(&server_text).map_err(|error| {
            let (option, url) = (words.spelled("--server"), values::shown_url(&server_text));
            let line = format!("{option}: {url} {error}");
            match error {
                UrlError::OutOfRange(_) => Stop::Usage(line),
                UrlError::Unreadable(_) => Stop::Fail(line),
            }
        })?;
        let seconds = |typed: Option<Duration>, default| {
            typed.unwrap_or_else(|| Duration::from_secs(default))
        };
        Ok(Config {
            listen: self.listen.unwrap_or_else(listen_default),
            server,
            reuse: self.reuse,
            session: seconds(self.session, 300),
            strict_headers: self.strict_headers,
            level,
            demo: self.demo,
            origin: self.origin,
            allow_origin: self.allow_origin,
            connect_timeout: seconds(self.connect_timeout, 10),
            stale_after: seconds(self.stale_after, 6),
            resume_window: seconds(self.resume_window, 30),
            heartbeat: seconds(self.heartbeat, 15),
            max_queue: self.max_queue.unwrap_or(1024),
            max_queue_bytes: self.max_queue_bytes.unwrap_or(MIB),
            max_memory: self.max_memory.unwrap_or(256 * MIB),
            max_body: self.max_body.unwrap_or(MIB),
            max_message: self.max_message.unwrap_or(16 * MIB),
            max_sessions: self.max_sessions,
            max_connections: self.max_connections,
            max_channels: self.max_channels.unwrap_or(256),
            admin: self.admin,
        })
    }

    fn level(&self) -> Level {
        match (self.debug, self.quiet) {
            (true, _) => Level::Debug,
            (_, true) => Level::Warning,
            _ => Level::Info,
        }
    }
}

fn listen_default() -> Address {
    Address::Tcp { host: "127.0.0.1".to_owned(), port: 8080 }
}

#[cfg(test)]
mod tests;
