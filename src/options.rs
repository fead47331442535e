//! What may be typed, and what it means: the command line becomes a `Config`.
//!
//! Owns: options, help, defaults; `options/spelling` evens out how they may be written, `options/values` knows what a value may be.
//! Never: is read after start-up, prints, or changes a value without saying so: it is honoured, or refused in one line.

mod spelling;
mod values;

use crate::gate::Address;
use crate::report::{Error, Level};
use crate::upstream::Url;
use argh::{ArgsInfo, FromArgs};
use std::ffi::OsString;
use std::time::Duration;
use values::{address, bytes, count, duration, shown_url};

const NAME: &str = env!("CARGO_PKG_NAME");
const SERVER_DEFAULT: &str = "ws://127.0.0.1:3000/cable";

/// What one run is to do. Every limit and duration is above zero; `None` is left to the machine, see `limits`.
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
pub struct Config {
    /// where to listen: host:port, :port (all interfaces) or unix:/path; default 127.0.0.1:8080
    #[argh(option, short = 'l', arg_name = "addr", from_str_fn(address), default = "loopback()")]
    pub listen: Address,

    /// the ActionCable server, ws://, wss:// or unix:/path; default ws://127.0.0.1:3000/cable
    #[argh(option, short = 's', arg_name = "url")]
    server: Option<String>,

    /// let many listeners share one session; default off
    #[argh(switch, short = 'r')]
    pub reuse: bool,

    /// how long a session outlives a long poll; default 5m
    #[argh(option, short = 'S', arg_name = "dur", from_str_fn(duration), default = "seconds(300)")]
    pub session: Duration,

    /// refuse requests whose Cookie or Origin is not the one that opened the session; default off
    #[argh(switch)]
    pub strict_headers: bool,

    /// log the types and sizes of frames too; default off
    #[argh(switch, short = 'd')]
    debug: bool,

    /// log warnings only; default off
    #[argh(switch, short = 'q')]
    quiet: bool,

    /// run an ActionCable server inside the process, for a try without Rails; default off
    #[argh(switch)]
    pub demo: bool,

    /// the Origin told to the server when a request has none, https://host or https://host:port; default none
    #[argh(option, arg_name = "url", from_str_fn(values::origin))]
    pub origin: Option<String>,

    /// an Origin that pages may come from, written like --origin, may be given many times; default any
    #[argh(option, arg_name = "url", from_str_fn(values::origin))]
    pub allow_origin: Vec<String>,

    /// how long the server may take from the connect to its welcome; default 10s
    #[argh(option, arg_name = "dur", from_str_fn(duration), default = "seconds(10)")]
    pub connect_timeout: Duration,

    /// how long a connection may rest between requests; default 75s
    #[argh(option, arg_name = "dur", from_str_fn(duration), default = "seconds(75)")]
    pub idle_timeout: Duration,

    /// the Host that the server is told in place of the client's; default the client's
    #[argh(option, arg_name = "name", from_str_fn(values::host))]
    pub host_header: Option<String>,

    /// how long the server may be silent before its link counts as lost; default 6s
    #[argh(option, arg_name = "dur", from_str_fn(duration), default = "seconds(6)")]
    pub stale_after: Duration,

    /// how long a session outlives its last stream; default 30s
    #[argh(option, arg_name = "dur", from_str_fn(duration), default = "seconds(30)")]
    pub resume_window: Duration,

    /// how long a stream may be quiet before a sign of life is sent; default 15s
    #[argh(option, arg_name = "dur", from_str_fn(duration), default = "seconds(15)")]
    pub heartbeat: Duration,

    /// messages that a session keeps; default 1024
    #[argh(option, arg_name = "count", from_str_fn(count), default = "1024")]
    pub max_queue: usize,

    /// bytes of messages that a session keeps; default 1048576 (1 MiB)
    #[argh(option, arg_name = "bytes", from_str_fn(bytes), default = "1 << 20")]
    pub max_queue_bytes: usize,

    /// bytes that clients and the server make the process hold, all together; default an eighth of the
    /// memory there is, at most 268435456 (256 MiB)
    #[argh(option, arg_name = "bytes", from_str_fn(bytes))]
    pub max_memory: Option<usize>,

    /// bytes of the body of a request; default 1048576 (1 MiB)
    #[argh(option, arg_name = "bytes", from_str_fn(bytes), default = "1 << 20")]
    pub max_body: usize,

    /// bytes of one message of the server; default 16777216 (16 MiB)
    #[argh(option, arg_name = "bytes", from_str_fn(bytes), default = "16 << 20")]
    pub max_message: usize,

    /// sessions at a time; default what the machine allows, at most 10000
    #[argh(option, arg_name = "count", from_str_fn(count))]
    pub max_sessions: Option<usize>,

    /// connections of clients at a time; default what the machine allows
    #[argh(option, arg_name = "count", from_str_fn(count))]
    pub max_connections: Option<usize>,

    /// channels of one session; default 256
    #[argh(option, arg_name = "count", from_str_fn(count), default = "256")]
    pub max_channels: usize,

    /// where to serve metrics and the list of sessions, written like --listen; default nowhere
    #[argh(option, arg_name = "addr", from_str_fn(address))]
    pub admin: Option<Address>,

    /// print the version
    #[argh(switch)]
    version: bool,
}

/// Why there is no `Config`, and so no run.
pub enum Stop {
    /// Help or version: goes to stdout as it is, exit 0.
    Say(String),
    Wrong(Error),
}

pub fn from_command_line() -> Result<Config, Stop> {
    let args = std::env::args_os().skip(1).map(OsString::into_string).collect::<Result<_, _>>();
    let unreadable = |arg: OsString| usage(format!("{}: type it in UTF-8", arg.to_string_lossy()));
    parse(args.map_err(unreadable)?)
}

/// Reads `args`, the program's name not among them.
pub fn parse(args: Vec<String>) -> Result<Config, Stop> {
    let words = spelling::for_argh(args, Config::get_args_info().flags);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let config = Config::from_args(&[NAME], &words).map_err(|exit| match exit.status {
        Ok(()) => Stop::Say(exit.output),
        Err(()) => usage(exit.output),
    })?;
    if config.version {
        return Err(Stop::Say(format!("{NAME} {}\n", env!("CARGO_PKG_VERSION"))));
    }
    if config.debug && config.quiet {
        return Err(usage("--debug says more and --quiet less, leave one of them out".to_owned()));
    }
    if config.demo && config.server.is_some() {
        return Err(usage("--demo is a server of its own, leave it or --server out".to_owned()));
    }
    config.server().map_err(Stop::Wrong)?;
    Ok(config)
}

/// An error of one line, whatever was typed.
fn usage(text: String) -> Stop {
    Stop::Wrong(Error::Usage(text.trim_end().replace(char::is_control, " ")))
}

impl Config {
    /// Where the server is, unless `demo` says that it is inside the process.
    pub fn server(&self) -> Result<Url, Error> {
        let text = self.server.as_deref().unwrap_or(SERVER_DEFAULT);
        let line =
            |why| format!("--server: {} {why}", shown_url(text)).replace(char::is_control, " ");
        Url::parse(text).map_err(|error| match error {
            Error::Usage(why) => Error::Usage(line(why)),
            Error::Start(why) => Error::Start(line(why)),
        })
    }

    pub fn level(&self) -> Level {
        match (self.debug, self.quiet) {
            (true, _) => Level::Debug,
            (_, true) => Level::Warning,
            _ => Level::Info,
        }
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn loopback() -> Address {
    Address::Tcp { host: "127.0.0.1".to_owned(), port: 8080 }
}

#[cfg(test)]
mod tests;
