//! A folder with a Unix socket in it, and the bridge that listens there.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{BINARY, PATIENCE, wait_until};

/// Removed with everything in it when the test ends.
pub struct Place(PathBuf);

impl Place {
    pub fn new(name: &str) -> Place {
        let folder = std::env::temp_dir().join(format!("bridge-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Place(folder)
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    /// What `-l` takes.
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// A bridge that listens on the socket, once it does.
    pub fn bridge(&self, url: &str, options: &[&str]) -> Quiet {
        let mut command = Command::new(BINARY);
        self.started(command.args(["-l", &self.address(), "-s", url]).args(options))
    }

    /// The bridge that this command starts, once it listens on the socket.
    pub fn started(&self, command: &mut Command) -> Quiet {
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let quiet = Quiet(child);
        wait_until(PATIENCE, || UnixStream::connect(self.socket()).is_ok());
        quiet
    }

    /// Sends a GET for a stream with these header lines, and does not wait.
    pub fn begin(&self, path: &str, headers: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\
             Connection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// The whole answer to a GET.
    pub fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        self.begin(path, "").read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A bridge whose stderr is read when it has ended.
pub struct Quiet(Child);

impl Quiet {
    /// Ends it, and returns what it had to say.
    pub fn end(&mut self) -> String {
        self.0.kill().unwrap();
        self.said()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// What it had to say until it ended by itself.
    pub fn said(&mut self) -> String {
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
