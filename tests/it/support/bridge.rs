//! The bridge itself: our binary as a child process on a port of its own choice.
//!
//! Owns: the child, what it wrote to stderr, and what /proc says about it.
//! Never: reaches into the program. What a user cannot do or see, these tests cannot either.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustix::process::{Pid, Signal, kill_process};

use super::http::{Asked, Request};
use super::upstream::{FakeUpstream, Link};
use super::{CHAT, Json, PATIENCE, Stream, subscribe, wait_until};

pub const BINARY: &str = env!("CARGO_BIN_EXE_actioncable-to-eventsource");

/// Of the log of a bridge whose test failed, so much is shown.
const LAST_LINES: usize = 200;

/// A second more than a thread that has done a handshake waits for another one.
const REST: Duration = Duration::from_secs(3);

/// Shared by every bridge, held alone by the tests that load the whole machine: beside those, another
/// test's five seconds could run out.
static MACHINE: RwLock<()> = RwLock::new(());

enum Turn {
    Shared { _turn: RwLockReadGuard<'static, ()> },
    Alone { _turn: RwLockWriteGuard<'static, ()> },
}

pub struct Bridge {
    child: Child,
    pub address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    _turn: Turn,
}

impl Bridge {
    pub fn start(upstream: &FakeUpstream) -> Bridge {
        Bridge::with(upstream, &[])
    }

    pub fn with(upstream: &FakeUpstream, options: &[&str]) -> Bridge {
        Bridge::at(&upstream.url(), options)
    }

    /// A bridge whose upstream has this URL.
    pub fn at(url: &str, options: &[&str]) -> Bridge {
        Bridge::by(Command::new(BINARY).args(arguments(url, options)))
    }

    /// The only bridge at work while this test runs.
    pub fn alone(url: &str, options: &[&str]) -> Bridge {
        let turn = Turn::Alone { _turn: MACHINE.write() };
        Bridge::spawn(Command::new(BINARY).args(arguments(url, options)), turn)
    }

    /// A bridge that may have so many descriptors and no more.
    pub fn with_descriptors(url: &str, options: &[&str], descriptors: u32) -> Bridge {
        let turn = Turn::Alone { _turn: MACHINE.write() };
        Bridge::spawn(&mut limited("-n", descriptors, arguments(url, options)), turn)
    }

    /// A bridge that is given so many descriptors, and may take more.
    pub fn with_soft_descriptors(url: &str, descriptors: u32) -> Bridge {
        Bridge::by(&mut limited("-Sn", descriptors, arguments(url, &[])))
    }

    /// The bridge with exactly these arguments, which must let it tell its port.
    pub fn bare(arguments: &[&str]) -> Bridge {
        Bridge::by(Command::new(BINARY).args(arguments))
    }

    /// The bridge that this command starts.
    pub fn by(command: &mut Command) -> Bridge {
        Bridge::spawn(command, shared())
    }

    fn spawn(command: &mut Command, turn: Turn) -> Bridge {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = bounded(1);
        let (stderr, kept) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        Builder::new().name("stderr".into()).spawn(move || listen(stderr, &kept, &tell)).unwrap();
        let Ok(address) = told.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            panic!("the bridge does not listen: {:?}", lines.lock());
        };
        Bridge { child, address, lines, _turn: turn }
    }

    pub fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.address, method, target)
    }

    pub fn get(&self, target: &str) -> Request {
        self.request("GET", target)
    }

    pub fn post(&self, target: &str, body: &str) -> Request {
        self.request("POST", target).body(body)
    }

    pub fn delete(&self, target: &str) -> Request {
        self.request("DELETE", target)
    }

    /// Writes these bytes on a new connection.
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> Asked {
        Asked::write(self.address, bytes.as_ref())
    }

    /// Opens a stream and takes its `joined`.
    pub fn open(&self, upstream: &FakeUpstream, path: &str) -> (Stream, Link) {
        let asked = self.get(path).sse().begin();
        let link = upstream.welcome();
        let mut stream = asked.stream();
        stream.expect_joined();
        (stream, link)
    }

    /// Opens a stream with one channel, which is confirmed and told.
    pub fn open_with(
        &self,
        upstream: &FakeUpstream,
        path: &str,
        identifier: &str,
    ) -> (Stream, Link) {
        let (mut stream, mut link) = self.open(upstream, path);
        self.subscribe(path, identifier);
        link.subscribed(identifier);
        stream.expect("connected");
        (stream, link)
    }

    /// Opens a session that has no listener.
    pub fn open_by_post(&self, upstream: &FakeUpstream, path: &str, identifier: &str) -> Link {
        let body = format!("[{}]", subscribe(identifier));
        let asked = self.post(&format!("{path}?poll-queue=32"), &body).begin();
        let mut link = upstream.welcome();
        asked.response().done();
        link.expect_subscribe(identifier);
        link
    }

    /// The same, and its channel is confirmed.
    pub fn confirmed_by_post(&self, upstream: &FakeUpstream, path: &str) -> Link {
        let mut link = self.open_by_post(upstream, path, CHAT);
        link.confirmed(CHAT);
        link
    }

    /// A poll without a forced reply that is known to wait: it has had a sign of life. Wants a short `--heartbeat`.
    pub fn waiting_poll(&self, path: &str) -> Asked {
        let asked = self.get(&format!("{path}?timeout=0")).begin();
        assert!(asked.has_answer_within(PATIENCE), "no sign of life");
        asked
    }

    /// Posts requests that must all be answered, and returns the answers.
    pub fn act(&self, path: &str, items: &[String]) -> Vec<Json> {
        self.post(path, &format!("[{}]", items.join(","))).send().done()
    }

    /// Subscribes and returns the `chan_id`.
    pub fn subscribe(&self, path: &str, identifier: &str) -> String {
        let answer = self.act(path, &[subscribe(identifier)]).remove(0);
        assert_eq!(answer.raw("error"), "null");
        answer.text("chan_id")
    }

    /// Serves some requests one after the other: one that was sent before them has been looked at when they are
    /// through, although each connection has a thread of its own and nothing orders them.
    pub fn settle(&self) {
        for _ in 0..5 {
            assert_eq!(self.get("/-/health").send().status, 200);
        }
    }

    /// What stderr has so far. A line of a thread that has just answered may be missing: it is written by another one.
    pub fn log(&self) -> String {
        self.lines.lock().join("\n")
    }

    pub fn wait_for_log(&self, part: &str) {
        wait_until(PATIENCE, || self.log().contains(part));
    }

    /// Ends the bridge, and returns every line that it wrote.
    pub fn end_and_log(&mut self) -> String {
        self.signal(Signal::TERM);
        self.wait_for_log("event=stopped");
        self.log()
    }

    /// What can be looked at while somebody else has the bridge in hand.
    pub fn vitals(&self) -> Vitals {
        Vitals(self.child.id())
    }

    pub fn descriptors(&self) -> usize {
        self.vitals().count("fd")
    }

    /// The most memory that the process ever had resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.vitals().peak_kib()
    }

    /// The process' resource limits, as the kernel words them.
    pub fn limits(&self) -> String {
        self.vitals().read("limits")
    }

    /// Threads and descriptors, to be compared with what they were.
    pub fn footprint(&self) -> (usize, usize) {
        self.vitals().footprint()
    }

    /// The same, when it has not changed for longer than a thread rests that waits for another handshake.
    pub fn at_rest(&self) -> (usize, usize) {
        let mut last = (self.footprint(), Instant::now());
        wait_until(REST * 10, || {
            let now = self.footprint();
            if now != last.0 {
                last = (now, Instant::now());
            }
            last.1.elapsed() > REST
        });
        last.0
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the process to end by itself, and returns its exit code.
    pub fn exit_code(&mut self, patience: Duration) -> Option<i32> {
        let child = &mut self.child;
        let mut status = None;
        wait_until(patience, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// What /proc says about a process.
#[derive(Clone, Copy)]
pub struct Vitals(u32);

impl Vitals {
    /// Threads and descriptors.
    pub fn footprint(self) -> (usize, usize) {
        (self.count("task"), self.count("fd"))
    }

    /// Whether it lives: what has ended holds no memory.
    pub fn are_there(self) -> bool {
        self.read("status").contains("VmRSS:")
    }

    /// Memory that is resident now, in KiB.
    pub fn resident_kib(self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that ever was.
    pub fn peak_kib(self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(self, key: &str) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn read(self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0)).unwrap()
    }

    fn count(self, what: &str) -> usize {
        std::fs::read_dir(format!("/proc/{}/{what}", self.0)).unwrap().count()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.lines.lock();
            let last = lines.len().saturating_sub(LAST_LINES);
            eprintln!("the bridge's log:\n{}", lines[last..].join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn limited(kind: &str, descriptors: u32, arguments: Vec<String>) -> Command {
    let script = format!(r#"ulimit {kind} {descriptors}; exec "$0" "$@""#);
    let mut command = Command::new("sh");
    command.args(["-c", &script, BINARY]).args(arguments);
    command
}

fn shared() -> Turn {
    // Recursive, since a test may have two bridges while another waits for its turn alone.
    Turn::Shared { _turn: MACHINE.read_recursive() }
}

/// The test's options, and defaults for what it does not name. Stale links are for the tests of stale links:
/// elsewhere a busy machine must not cut what a test holds.
fn arguments(url: &str, options: &[&str]) -> Vec<String> {
    let mut all = vec!["-s".to_owned(), url.to_owned()];
    for (name, value) in [("-l", "127.0.0.1:0"), ("--stale-after", "60s")] {
        if !options.contains(&name) {
            all.extend([name.to_owned(), value.to_owned()]);
        }
    }
    all.extend(options.iter().map(|&o| o.to_owned()));
    all
}

/// Keeps each line of stderr, and tells the address from the one that names it.
fn listen(stderr: ChildStderr, lines: &Mutex<Vec<String>>, tell: &Sender<SocketAddr>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if let Some(address) = word(&line, "event=listening", "address=") {
            let _ = tell.try_send(address);
        }
        lines.lock().push(line);
    }
}

fn word(line: &str, event: &str, key: &str) -> Option<SocketAddr> {
    if !line.contains(event) {
        return None;
    }
    line.split(' ').find_map(|word| word.strip_prefix(key))?.parse().ok()
}

/// What a run that ends by itself has left.
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// The one line of stderr.
    pub fn only_line(&self) -> &str {
        assert_eq!(self.err.trim_end().lines().count(), 1, "one line was due: {}", self.err);
        self.err.trim_end()
    }
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Run {
    let mut command = Command::new("timeout");
    let output = command.arg("5").arg(BINARY).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let code = output.status.code().expect("an exit code");
    assert_ne!(code, 124, "it runs on: {arguments:?}");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code, out: text(output.stdout), err: text(output.stderr) }
}
