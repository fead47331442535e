//! The application in `tests/rails` on puma: on the system's Rails 6.1, or on 7.2 in a root of its own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use super::{Redis, Server, free_port, target_folder};
use crate::it::support::Request;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V6_1,
    V7_2,
}

const APPLICATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rails");

impl Version {
    /// What has to be there beside the system's own programs.
    pub fn program(self) -> Option<PathBuf> {
        (self == Version::V7_2).then(|| newer_root().join("usr/bin/puma"))
    }

    /// Where puma has its socket file, as it sees the folders itself.
    fn socket(self, address: SocketAddr) -> PathBuf {
        let folder =
            if self == Version::V7_2 { PathBuf::from("/app") } else { std::env::temp_dir() };
        folder.join(format!("puma-{}.sock", address.port()))
    }

    fn puma(self) -> Command {
        match self {
            Version::V6_1 => puma(Command::new("/usr/bin/puma"), Path::new(APPLICATION)),
            Version::V7_2 => {
                copy_application_once();
                let mut command = Command::new("/usr/sbin/chroot");
                command.arg(newer_root()).arg("/usr/bin/puma");
                puma(command, Path::new("/app"))
            }
        }
    }
}

/// Where `scripts/check` unpacks Rails 7.2.
fn newer_root() -> PathBuf {
    target_folder().join("roots/rails-7.2")
}

fn puma(mut command: Command, application: &Path) -> Command {
    command.arg("-C").arg(application.join("puma.rb")).arg(application.join("config.ru"));
    // Nothing is inherited: a RUBYOPT or a PWD that does not exist in the new root ends puma at once.
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").env("PWD", "/");
    command
}

fn copy_application_once() {
    static COPIED: Once = Once::new();
    COPIED.call_once(|| {
        let folder = newer_root().join("app");
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(APPLICATION).unwrap() {
            let file = entry.unwrap();
            fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
    });
}

/// One puma. It can be stopped and started again on the same port.
pub struct Rails {
    version: Version,
    redis: Option<String>,
    pub address: SocketAddr,
    server: Server,
}

impl Rails {
    /// A server that keeps its broadcasts to itself.
    pub fn start(version: Version) -> Rails {
        Rails::with(version, None)
    }

    /// One of several processes that share this Redis.
    pub fn sharing(version: Version, redis: &Redis) -> Rails {
        Rails::with(version, Some(redis.url()))
    }

    fn with(version: Version, redis: Option<String>) -> Rails {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let server = serve(version, redis.as_deref(), address);
        Rails { version, redis, address, server }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/cable", self.address)
    }

    /// The same over the socket file, which is there while puma is.
    pub fn socket_url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        let path = self.version.socket(self.address);
        match self.version {
            Version::V6_1 => path,
            Version::V7_2 => newer_root().join(path.strip_prefix("/").unwrap()),
        }
    }

    /// What a deploy does first. puma closes its sockets without a word.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// What a deploy does last: returns when the server answers.
    pub fn start_again(&mut self) {
        self.server = serve(self.version, self.redis.as_deref(), self.address);
    }

    /// How many cable connections this process has.
    pub fn connections(&self) -> usize {
        self.count("connections-open")
    }

    /// How many subscriptions all of them have.
    pub fn subscriptions(&self) -> usize {
        self.count("subscriptions-open")
    }

    fn count(&self, header: &str) -> usize {
        let head = Request::new(self.address, "GET", "/counts").begin().head();
        head.header(header).unwrap().parse().unwrap()
    }

    /// Asks the application for one of the things that `ControlController` does.
    pub fn control(&self, target: &str) {
        let request = Request::new(self.address, "POST", target).body("");
        assert_eq!(request.begin().head().status, 204, "POST {target}");
    }
}

impl Drop for Rails {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.socket());
    }
}

fn serve(version: Version, redis: Option<&str>, address: SocketAddr) -> Server {
    let mut command = version.puma();
    command.env("PORT", address.port().to_string()).env("SOCKET", version.socket(address));
    if let Some(url) = redis {
        command.env("CABLE_ADAPTER", "redis").env("REDIS_URL", url);
    }
    let mut server = Server::start(&mut command);
    server.wait_until_up(|| {
        TcpStream::connect(address).is_ok()
            && Request::new(address, "GET", "/up").begin().head().status == 200
    });
    server
}
