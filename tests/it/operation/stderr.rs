//! A log that is not read, or not there, stops nothing; and the signals that end the bridge.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{ioctl_fionbio, write};
use rustix::pipe::{fcntl_setpipe_size, pipe};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::*;

/// A drain's bound.
const DRAIN: Duration = Duration::from_secs(5);

/// A stderr that takes nothing, a pipe of 4 KiB, and its other end, whose reads do not wait.
fn full() -> (OwnedFd, File) {
    let (ours, theirs) = pipe().unwrap();
    fcntl_setpipe_size(&theirs, 4096).unwrap();
    ioctl_fionbio(&theirs, true).unwrap();
    while write(&theirs, b"x").is_ok() {}
    ioctl_fionbio(&theirs, false).unwrap();
    ioctl_fionbio(&ours, true).unwrap();
    (theirs, ours.into())
}

/// A bridge whose stderr is not read, found by its port.
struct Unheard {
    child: Child,
    address: SocketAddr,
}

impl Unheard {
    fn start(options: &[&str], stderr: Stdio) -> Unheard {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_actioncable-to-eventsource"));
        command.args(options).args(["-l", &address.to_string()]).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        wait_until(PATIENCE, || std::net::TcpStream::connect(address).is_ok());
        Unheard { child, address }
    }

    /// A session on this path, with a stream and a channel.
    fn open(&self, upstream: &FakeUpstream, path: &str) -> (Stream, Link) {
        let asked = Request::new(self.address, "GET", path).sse().begin();
        let mut link = upstream.welcome();
        let mut stream = asked.stream();
        stream.expect_joined();
        let subscribe = format!("[{}]", subscribe(CHAT));
        Request::new(self.address, "POST", path).body(&subscribe).send().done();
        link.subscribed(CHAT);
        stream.expect("connected");
        (stream, link)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until(DRAIN, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_is_not_read_stops_none_of_a_thousand_sessions_and_no_signal() {
    let upstream = FakeUpstream::start();
    let (stderr, _unread) = full();
    // No link is pinged meanwhile, and no stream has to be quiet for less than it takes to open all of them.
    let options = ["-d", "--stale-after", "60s", "--heartbeat", "60s", "-s", &upstream.url()];
    let mut bridge = Unheard::start(&options, stderr.into());

    let mut open = Vec::new();
    for number in 0..1_000 {
        open.push(bridge.open(&upstream, &format!("/{number}")));
    }
    for (number, (stream, link)) in open.iter_mut().enumerate() {
        link.message(CHAT, &format!("{number}"));
        assert_eq!(stream.received(), number.to_string());
    }
    // Half of them end before the signal.
    for number in 0..500 {
        let path = format!("/{number}");
        assert_eq!(Request::new(bridge.address, "DELETE", &path).send().status, 204);
    }

    bridge.signal(Signal::TERM);
    assert_eq!(bridge.exit_code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once_though_the_log_is_not_read() {
    let upstream = FakeUpstream::start();
    let (stderr, _unread) = full();
    let mut bridge = Unheard::start(&["-s", &upstream.url()], stderr.into());
    // A client that stopped reading holds up the drain for 5 s.
    let (_stuck, mut link) = bridge.open(&upstream, "/a");
    for _ in 0..20 {
        link.message(CHAT, &quote(&"x".repeat(1 << 20)));
    }
    link.settle();

    let began = Instant::now();
    bridge.signal(Signal::TERM);
    // The first has been taken when no more connections are.
    wait_until(PATIENCE, || std::net::TcpStream::connect(bridge.address).is_err());
    bridge.signal(Signal::TERM);

    assert_eq!(bridge.exit_code(), Some(1));
    assert!(began.elapsed() < DRAIN);
}

#[test]
fn what_found_no_room_in_the_log_is_counted_there() {
    let upstream = FakeUpstream::start();
    let (stderr, mut read) = full();
    let bridge = Unheard::start(&["-d", "-s", &upstream.url()], stderr.into());
    let (_stream, mut link) = bridge.open(&upstream, "/a");
    for _ in 0..2_000 {
        link.ping();
    }
    link.settle();

    // Read again, the log goes on with the number of lines that are missing.
    let mut text = String::new();
    wait_until(PATIENCE, || {
        link.ping();
        let mut chunk = [0; 4096];
        let size = read.read(&mut chunk).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&chunk[..size]));
        text.contains("event=log-lines-dropped lines=")
    });
}

#[test]
fn a_closed_stderr_changes_no_exit_code() {
    let closed = || {
        let (ours, theirs) = pipe().unwrap();
        drop(ours);
        Stdio::from(theirs)
    };
    let mut wrong = Command::new(env!("CARGO_BIN_EXE_actioncable-to-eventsource"));
    assert_eq!(wrong.arg("--nonsense").stderr(closed()).status().unwrap().code(), Some(2));

    let mut demo = Unheard::start(&["--demo"], closed());
    assert_eq!(Request::new(demo.address, "GET", "/-/health").send().status, 200);
    demo.signal(Signal::INT);
    assert_eq!(demo.exit_code(), Some(0));
}

#[test]
fn no_line_of_the_log_is_over_two_kibibytes() {
    let upstream = FakeUpstream::start();
    let name = "x".repeat(4_000);
    let server = format!("ws://127.0.0.1:{}/{name}", upstream.host().rsplit(':').next().unwrap());

    let bridge = Bridge::at(&server, &[]);

    assert!(bridge.log().lines().any(|line| line.len() > 1_000), "{}", bridge.log());
    assert!(bridge.log().lines().all(|line| line.len() < 2_048), "{}", bridge.log());
}

#[test]
fn a_hangup_drains_unless_it_was_ignored_at_the_start() {
    let upstream = FakeUpstream::start();
    let mut command = Command::new("env");
    // These tests may run under `nohup` themselves.
    command.arg("--default-signal=HUP").arg(env!("CARGO_BIN_EXE_actioncable-to-eventsource"));
    command.args(["-l", "127.0.0.1:0", "-s", &upstream.url()]);
    let mut bridge = Bridge::by(&mut command);
    bridge.signal(Signal::HUP);
    assert_eq!(bridge.exit_code(DRAIN), Some(0));
    bridge.wait_for_log("event=stopped signal=SIGHUP");

    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_actioncable-to-eventsource"));
    command.args(["-l", "127.0.0.1:0", "-s", &upstream.url()]);
    let mut bridge = Bridge::by(&mut command);
    bridge.signal(Signal::HUP);
    assert_eq!(bridge.get("/-/health").send().status, 200);
    bridge.signal(Signal::TERM);
    assert_eq!(bridge.exit_code(DRAIN), Some(0));
}
