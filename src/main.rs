//! `actioncable-to-eventsource`: Rails ActionCable for clients that cannot use WebSockets.
//!
//! Downwards: upstream frame -> `session` -> `mailbox` -> `sse` | `poll` -> client.
//! Upwards: client -> `gate` -> `http` -> `session` -> `upstream`.
//!
//! | module | is (imports point down this map) |
//! | --- | --- |
//! | `options`, `limits` | what was typed, and what the machine allows |
//! | `http`, `pages` | what a request means; the bridge's own pages |
//! | `sse`, `poll` | the two ways in which messages leave |
//! | `gate` | the clients' sockets, in front of `tiny_http` |
//! | `session`, `mailbox` | what is remembered between requests |
//! | `demo` | a cable server of our own, to try it with |
//! | `upstream`, `frame` | the WebSocket to the cable server, and its JSON |
//! | `memory`, `stats` | what all sessions may hold together; what is counted |
//! | `tcp`, `channel` | what the sockets of both sides have in common; how a thread waits for another |
//! | `report`, `heap`, `names` | what a person reads; memory given back to the machine; how names are looked up |
//! | `api` | the contract, which comments and tests cite by its headings |

#[doc = include_str!("api.md")]
mod api {}
mod channel;
#[cfg(test)]
mod corpus;
mod demo;
mod frame;
mod gate;
mod heap;
mod http;
mod limits;
mod mailbox;
mod memory;
mod names;
mod options;
mod pages;
mod poll;
mod report;
mod session;
mod sse;
mod stats;
mod tcp;
#[cfg(test)]
mod testing;
mod upstream;

use crate::gate::{Address, Door, Gate, Inner, Limits, ListenSocket, Timeouts};
use crate::http::{Http, Origins};
use crate::limits::Plan;
use crate::mailbox::Bounds;
use crate::options::{Config, Stop};
use crate::report::{Error, Level, info, warning};
use crate::session::{Rules, Session, Table};
use crate::upstream::{Connector, Url};
use crossbeam_channel::{Receiver, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// A drain is over after this long, even with clients still there: with what follows it stays below 5 s.
const DRAIN_MAX: Duration = Duration::from_millis(3500);

/// How often a drain looks whether all clients have gone.
const DRAIN_PACE: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    heap::begin(limits::memory_room());
    names::begin();
    let outcome = match options::from_command_line() {
        Ok(config) => run(config),
        Err(Stop::Say(text)) => {
            // A stdout that is closed is no reason to fail.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(())
        }
        Err(Stop::Wrong(error)) => Err(error),
    };
    if let Err(error) = &outcome {
        report::say(format!("actioncable-to-eventsource: {error}\n"));
    }
    report::finish();
    ExitCode::from(outcome.err().map_or(0, |error| error.exit_code()))
}

/// One run, from the options to the end of the drain.
fn run(config: Config) -> Result<(), Error> {
    report::start(config.level())?;
    report_panics();
    let signals = signals()?;
    let server = match config.demo {
        true => demo::start().map_err(|error| Error::Start(format!("--demo: {error}")))?,
        false => config.server()?,
    };
    let doors = bind(&config)?;
    let connector = Connector::new(upstream::Settings {
        url: server.clone(),
        host_header: config.host_header.clone(),
        connect_timeout: config.connect_timeout,
        stale_after: config.stale_after,
        message_max: config.max_message,
    })?;
    info!("event=starting version={} server={server}", env!("CARGO_PKG_VERSION"));
    let plan = limits::find(&limits::Wanted {
        sessions: config.max_sessions,
        connections: config.max_connections,
        memory: config.max_memory,
        demo: config.demo,
    })?;
    connector.warn_of_unknown_name();
    let table = Table::start(rules(&config, &plan), connector).map_err(Error::no_thread)?;
    let gates = open_gates(doors, &config, &server, &plan, &table)?;
    if config.demo && config.level() <= Level::Info {
        say_how_to_try(&gates[0]);
    }
    // An error: the thread that waits for signals has gone, and no signal can be seen any more.
    let signal = signals.recv().unwrap_or("none");
    drain(&gates, &table);
    // Said with `-q` too.
    report::line(Level::Info, format_args!("event=stopped signal={signal}"));
    Ok(())
}

fn rules(config: &Config, plan: &Plan) -> Rules {
    Rules {
        reuse: config.reuse,
        strict_headers: config.strict_headers,
        poll_window: config.session,
        resume_window: config.resume_window,
        bounds: Bounds { events: config.max_queue, bytes: config.max_queue_bytes },
        channels_max: config.max_channels,
        sessions_max: plan.sessions,
        memory_max: plan.memory,
    }
}

/// The addresses to listen on, the public one first. Done before anything is said: one that is in use is all there is to say.
fn bind(config: &Config) -> Result<Vec<(Door, ListenSocket)>, Error> {
    let doors = [(Door::Public, Some(&config.listen)), (Door::Admin, config.admin.as_ref())];
    let wanted = doors.into_iter().filter_map(|(door, address)| Some((door, address?)));
    let bind = |(door, address)| match gate::bind(address) {
        Ok(listener) => Ok((door, listener)),
        Err(error) => Err(Error::Start(format!("{address}: {error}"))),
    };
    wanted.map(bind).collect()
}

fn open_gates(
    doors: Vec<(Door, ListenSocket)>,
    config: &Config,
    server: &Url,
    plan: &Plan,
    table: &Arc<Table>,
) -> Result<Vec<Gate>, Error> {
    let http = Arc::new(Http {
        table: Arc::clone(table),
        origins: Origins { allowed: config.allow_origin.clone(), default: config.origin.clone() },
        heartbeat: config.heartbeat,
        queue_max: config.max_queue,
        server_query: server.query.clone().unwrap_or_default(),
        demo: config.demo,
    });
    let (connections, body, idle) = (plan.connections, config.max_body, config.idle_timeout);
    let limits = Limits { connections, body, idle };
    let failed = |error| Error::Start(format!("the gate cannot be opened: {error}"));
    let inner = Inner::open(http, Arc::clone(&table.budget), Timeouts::USUAL).map_err(failed)?;
    let open = |(door, listener)| {
        let gate = Gate::open(door, listener, limits, &inner).map_err(failed)?;
        info!("event=listening address={} door={door}", gate.address());
        Ok(gate)
    };
    doors.into_iter().map(open).collect()
}

/// The first signal arrives on the channel; a second one ends the process at once. SIGHUP is what a closed ssh session sends,
/// and drains like the others, unless it is ignored: `nohup` wants that.
fn signals() -> Result<Receiver<&'static str>, Error> {
    let hangup = (!is_hangup_ignored()).then_some(SIGHUP);
    let mut signals = Signals::new([SIGTERM, SIGINT].into_iter().chain(hangup))
        .map_err(|error| Error::Start(format!("no wait for signals: {error}")))?;
    let (first, received) = bounded(1);
    let wait = move || {
        let mut forever = signals.forever();
        let name = forever.next().and_then(low_level::signal_name).unwrap_or("none");
        // An error: the run has ended by itself.
        let _ = first.send(name);
        forever.next();
        warning!("event=stopped-at-once why=\"a second signal\"");
        report::finish();
        std::process::exit(1);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(Error::no_thread)?;
    Ok(received)
}

/// Whether the process was started with SIGHUP ignored. The kernel tells it as a bit of a mask (proc(5), SigIgn).
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = |line: &str| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok();
    status.lines().find_map(mask).is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}

/// One line for a panic: it ends one request or one session, and the process goes on.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        warning!("event=panic thread={} place={place}", thread.name().unwrap_or("unnamed"));
    }));
}

/// Ends in order: no new connections, listeners are told when to come back, upstreams get a close frame.
fn drain(gates: &[Gate], table: &Arc<Table>) {
    info!("event=draining sessions={}", table.len());
    let deadline = Instant::now() + DRAIN_MAX;
    gates.iter().for_each(Gate::close);
    let sessions = end_sessions(table).recv_deadline(deadline).unwrap_or_default();
    let connections = || gates.iter().map(Gate::connections).sum::<usize>();
    let remain = || sessions.iter().any(|session| session.strong_count() > 0);
    while Instant::now() < deadline && (connections() > 0 || remain()) {
        thread::park_timeout(DRAIN_PACE);
    }
    let left = connections();
    if left > 0 {
        info!("event=cut-off connections={left}");
    }
}

/// Ends all sessions beside the wait for them: one that is busy under its lock must not make the drain longer.
fn end_sessions(table: &Arc<Table>) -> Receiver<Vec<Weak<Session>>> {
    let ((tell, ended), table) = (bounded(1), Arc::clone(table));
    let end = move || drop(tell.send(table.drain()));
    // Without a thread they are not told, and end with the process.
    let _ = thread::Builder::new().name("drain".to_owned()).spawn(end);
    ended
}

fn say_how_to_try(gate: &Gate) {
    let (accept, clock) = ("Accept: text/event-stream", "try-me?channel=ClockChannel&raw=1");
    report::say(match gate.address() {
        Address::Unix(path) => {
            let socket = path.display();
            format!("  curl --unix-socket {socket} -N -H '{accept}' 'http://localhost/{clock}'\n")
        }
        tcp => format!(
            "  curl -N -H '{accept}' 'http://{tcp}/{clock}'\n  http://{tcp}/-/ is a page to try it with\n"
        ),
    });
}
