//! The real parts: servers from Debian's packages, on ports of our own, which end with their test.
//!
//! Owns: the look for what is installed, free ports, folders for a test, and the processes.
//! Never: sleeps until a server may be up. It is asked until it answers.

mod certificate;
mod nginx;
mod prometheus;
mod rails;
mod redis;

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::it::support::wait_until;

pub use certificate::Certificate;
pub use nginx::Nginx;
pub use prometheus::Prometheus;
pub use rails::{Rails, Version};
pub use redis::Redis;

/// How long a server may take to start on a busy machine, or to be gone.
const SERVER_PATIENCE: Duration = Duration::from_secs(60);

/// How long a server may take to end in peace.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What every test here needs, whatever its subject: `scripts/check` installs all of it at once.
const PROGRAMS: [&str; 5] = [
    "/usr/bin/puma",
    "/usr/bin/redis-server",
    "/usr/sbin/nginx",
    "/usr/bin/openssl",
    "/usr/bin/curl",
];

/// Runs a fact on this version of Rails, or says that it cannot.
pub fn on(version: Version, fact: impl FnOnce(Version)) {
    let mut needed: Vec<PathBuf> = PROGRAMS.iter().map(PathBuf::from).collect();
    needed.extend(version.program());
    if needs_files(&needed) && (version == Version::V6_1 || needs_root()) {
        fact(version);
    }
}

/// Whether these files are there.
pub fn needs_files(needed: &[PathBuf]) -> bool {
    let missing = needed.iter().find(|path| !path.exists());
    missing.is_none_or(|path| skip(&format!("{} is missing, run scripts/check", path.display())))
}

/// Whether we may `chroot`.
pub fn needs_root() -> bool {
    geteuid().is_root() || skip("only root may chroot")
}

/// Says on the real stderr, which the test runner does not hold back, that this test does not run.
fn skip(why: &str) -> bool {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
    let thread = std::thread::current();
    let line = format!("SKIPPED {}: {why}\n", thread.name().unwrap_or("a test"));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    false
}

/// Where cargo builds.
pub fn target_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

/// A port that nobody has. Below 32768: above, an outgoing connection of another test may take it.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 100) as u16 * 100;
    let mut ports = (0..1_000).map(|_| first + TAKEN.fetch_add(1, Ordering::Relaxed));
    ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a free port")
}

/// A folder of one test, gone with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static MADE: AtomicU16 = AtomicU16::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("real-{}-{number}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server process. Its output is shown if its test fails.
struct Server {
    child: Child,
    log: PathBuf,
    _folder: Folder,
}

impl Server {
    fn start(command: &mut Command) -> Server {
        Server::start_in(Folder::new(), command)
    }

    fn start_in(folder: Folder, command: &mut Command) -> Server {
        let log = folder.path("log");
        let out = File::create(&log).unwrap();
        let err = out.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap();
        Server { child, log, _folder: folder }
    }

    /// Asks until it is up; a server that has ended will never be.
    fn wait_until_up(&mut self, mut is_up: impl FnMut() -> bool) {
        let child = &mut self.child;
        wait_until(SERVER_PATIENCE, || {
            assert_eq!(child.try_wait().unwrap(), None, "the server ended instead of serving");
            is_up()
        });
    }

    /// SIGTERM, then SIGKILL, as whoever runs a server does: now and then puma 6.6 never ends by itself.
    fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let (child, deadline) = (&mut self.child, Instant::now() + STOP_PATIENCE);
        wait_until(SERVER_PATIENCE, || {
            if Instant::now() > deadline {
                let _ = child.kill();
            }
            child.try_wait().unwrap().is_some()
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}:\n{}",
                self.log.display(),
                fs::read_to_string(&self.log).unwrap_or_default()
            );
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
