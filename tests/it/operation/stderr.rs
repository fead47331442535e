//! A log that is not read, or not there, stops nothing; and the signals that end the bridge.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::*;

/// A drain's bound.
const DRAIN: Duration = Duration::from_secs(5);

/// A stderr that takes nothing, and its other end.
fn full() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    while (&theirs).write(&[b'x'; 1024]).is_ok() {}
    while (&theirs).write(b"x").is_ok() {}
    theirs.set_nonblocking(false).unwrap();
    (theirs.into(), ours)
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
fn a_log_that_is_not_read_stops_no_request_and_no_signal() {
    let upstream = FakeUpstream::start();
    let (stderr, _unread) = full();
    let mut bridge = Unheard::start(&["-d", "-s", &upstream.url()], stderr.into());

    // More lines than may wait.
    for number in 0..60 {
        let path = format!("/{number}");
        let asked = Request::new(bridge.address, "GET", &path).sse().begin();
        let mut link = upstream.welcome();
        let mut stream = asked.stream();
        stream.expect_joined();
        for _ in 0..10 {
            link.ping();
        }
        let subscribe = format!("[{}]", subscribe(CHAT));
        Request::new(bridge.address, "POST", &path).body(&subscribe).send().done();
        link.subscribed(CHAT);
        stream.expect("connected");
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
    let asked = Request::new(bridge.address, "GET", "/a").sse().begin();
    let _link = upstream.accept();

    let began = Instant::now();
    bridge.signal(Signal::TERM);
    // The first has been taken when no more connections are.
    wait_until(PATIENCE, || std::net::TcpStream::connect(bridge.address).is_err());
    bridge.signal(Signal::TERM);

    assert!(matches!(bridge.exit_code(), Some(0 | 1)));
    assert!(began.elapsed() < DRAIN);
    drop(asked);
}

#[test]
fn what_found_no_room_in_the_log_is_counted_there() {
    let upstream = FakeUpstream::start();
    let (stderr, mut read) = full();
    let bridge = Unheard::start(&["-d", "-s", &upstream.url()], stderr.into());
    let asked = Request::new(bridge.address, "GET", "/a").sse().begin();
    let mut link = upstream.welcome();
    asked.stream().expect_joined();
    for _ in 0..2_000 {
        link.ping();
    }
    link.settle();

    // Read again, the log goes on with the number of lines that are missing.
    let mut text = Vec::new();
    read.set_read_timeout(Some(PATIENCE)).unwrap();
    while !String::from_utf8_lossy(&text).contains("event=log-lines-dropped lines=") {
        let mut chunk = [0; 64 * 1024];
        let size = read.read(&mut chunk).unwrap();
        text.extend_from_slice(&chunk[..size]);
        link.ping();
    }
}

#[test]
fn a_closed_stderr_changes_no_exit_code() {
    let closed = || {
        let (theirs, ours) = UnixStream::pair().unwrap();
        drop(ours);
        Stdio::from(OwnedFd::from(theirs))
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
    assert!(bridge.log().contains("event=stopped signal=SIGHUP"), "{}", bridge.log());

    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_actioncable-to-eventsource"));
    command.args(["-l", "127.0.0.1:0", "-s", &upstream.url()]);
    let mut bridge = Bridge::by(&mut command);
    bridge.signal(Signal::HUP);
    assert_eq!(bridge.get("/-/health").send().status, 200);
    bridge.signal(Signal::TERM);
    assert_eq!(bridge.exit_code(DRAIN), Some(0));
}
