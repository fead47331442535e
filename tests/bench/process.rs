//! What is measured: the bridge, or the relay beside it, as a child process; and what /proc says about it and the machine.
//!
//! Never: measures itself. Processor time is `utime` and `stime` of the child, in hundredths of a second.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::cgroup::Cgroup;
use crate::clock::wait_for;

/// The kernel's `USER_HZ`, which is 100 on every processor that the bridge is built for.
const TICKS: f64 = 100.0;

const STARTED_WITHIN: Duration = Duration::from_secs(10);

/// Sessions the relay is to take: descriptors are what it reserves for them.
const RELAY_SESSIONS: usize = 4000;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Bridge,
    Relay,
}

impl Target {
    pub const BOTH: [Target; 2] = [Target::Bridge, Target::Relay];

    pub fn name(self) -> &'static str {
        match self {
            Target::Bridge => "bridge",
            Target::Relay => "relay",
        }
    }
}

pub struct Process {
    child: Child,
    pub port: u16,
    pub cgroup: Option<Cgroup>,
}

/// What a process holds at one moment.
pub struct Holds {
    pub rss_kb: f64,
    pub threads: f64,
    pub descriptors: f64,
    /// With the kernel's share; `None` without a memory cgroup.
    pub memory_kb: Option<f64>,
}

impl Process {
    /// Starts it before an upstream, and returns when it listens. `memory`: bytes that it may take, where a cgroup can be made.
    pub fn start(target: Target, bridge: &Path, upstream: u16, memory: Option<u64>) -> Process {
        let port = free_port();
        let arguments = match target {
            Target::Bridge => bridge_arguments(bridge, port, upstream),
            Target::Relay => relay_arguments(port, upstream),
        };
        let cgroup = Cgroup::create(target.name());
        if let (Some(cgroup), Some(bytes)) = (&cgroup, memory) {
            cgroup.limit(bytes);
        }
        let mut command = command_in(cgroup.as_ref());
        command.args(&arguments).stdin(Stdio::null()).stdout(Stdio::null());
        // A user's bridge logs too: what its lines cost belongs to it.
        command.stderr(File::create(scratch(&format!("{}.log", target.name()))).unwrap());
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", arguments[0]));
        let mut process = Process { child, port, cgroup };
        wait_for("what is measured listens", STARTED_WITHIN, || process.listens());
        process
    }

    fn listens(&mut self) -> bool {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("what is measured ended ({status}), see {}", scratch("").display());
        }
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of processor time so far.
    pub fn cpu(&self) -> f64 {
        let (user, system) = times(&self.read("stat"), 0);
        user + system
    }

    pub fn holds(&self) -> Holds {
        Holds {
            rss_kb: self.rss_kb(),
            threads: self.count("task"),
            descriptors: self.count("fd"),
            memory_kb: self.cgroup.as_ref().and_then(Cgroup::used_kb),
        }
    }

    /// Sessions that it has room for, as its log says.
    pub fn sessions_max(&self) -> usize {
        let mut found = None;
        // A thread of its own writes the log.
        wait_for("the log says how many sessions", STARTED_WITHIN, || {
            let path = scratch(&format!("{}.log", Target::Bridge.name()));
            let log = fs::read_to_string(path).unwrap();
            found = log.split_once("event=limits sessions=").and_then(|(_, rest)| {
                let (number, _) = rest.split_once(' ')?;
                number.parse().ok()
            });
            found.is_some()
        });
        found.unwrap()
    }

    pub fn rss_kb(&self) -> f64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn count(&self, what: &str) -> f64 {
        fs::read_dir(format!("/proc/{}/{what}", self.id())).unwrap().count() as f64
    }

    fn read(&self, what: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{what}", self.id())).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the environment that scripts/bench took out of the systemd unit.
fn bridge_arguments(bridge: &Path, port: u16, upstream: u16) -> Vec<String> {
    let listen = format!("127.0.0.1:{port}");
    let server = format!("ws://127.0.0.1:{upstream}/cable");
    let environment = std::env::var("BRIDGE_ENVIRONMENT").ok();
    let mut arguments: Vec<String> = ["env".to_owned()].into_iter().chain(environment).collect();
    arguments.extend([bridge.display().to_string(), "-l".into(), listen, "-s".into(), server]);
    arguments
}

/// As Debian's defaults have it, but for timeouts that end no session of ours.
fn relay_arguments(port: u16, upstream: u16) -> Vec<String> {
    let settings = format!(
        "global\n  maxconn {RELAY_SESSIONS}\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         frontend clients\n  bind 127.0.0.1:{port} backlog {RELAY_SESSIONS}\n  default_backend cable\n\
         backend cable\n  server upstream 127.0.0.1:{upstream}\n"
    );
    let path = scratch("relay.cfg");
    fs::write(&path, settings).unwrap();
    vec!["haproxy".into(), "-db".into(), "-f".into(), path.display().to_string()]
}

/// A command that puts itself into the group first, so that what it touches on its way up counts too, and that ends with this
/// process, however that ends.
fn command_in(cgroup: Option<&Cgroup>) -> Command {
    let procs = cgroup.map_or(PathBuf::from("/dev/null"), Cgroup::procs);
    let mut command = Command::new("sh");
    command.args(["-c", r#"echo $$ >"$0" && exec setpriv --pdeathsig KILL "$@""#]).arg(procs);
    command
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A port that nobody has; another process may take it before it is used, which then says so and ends the run.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// This process is both ends of every session, beside the bridge and the relay at once: four descriptors for each.
pub fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// `utime` and `stime` of a `stat` line in seconds, or what is `offset` fields after them: the waited-for children's.
fn times(stat: &str, offset: usize) -> (f64, f64) {
    // The name may hold spaces: the fields after its bracket are counted, `utime` is the twelfth of them.
    let after_name = stat.rsplit_once(')').unwrap().1;
    let mut fields = after_name.split_whitespace().skip(11 + offset);
    let mut next = || fields.next().unwrap().parse::<f64>().unwrap() / TICKS;
    (next(), next())
}

/// The machine's processor time, to tell how busy others were meanwhile.
pub struct Machine {
    busy: f64,
    all: f64,
    ours: f64,
}

/// What was going on beside the benchmark.
pub struct Neighbours {
    /// Of the machine's processor time, in percent.
    pub share: f64,
    pub load: String,
    pub cores: usize,
}

impl Machine {
    pub fn now() -> Machine {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let fields = stat.lines().next().unwrap().split_whitespace().skip(1);
        let fields: Vec<f64> = fields.map(|field| field.parse::<f64>().unwrap() / TICKS).collect();
        // user nice system idle iowait irq softirq steal; guests are in user already.
        let all: f64 = fields[..8].iter().sum();
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let ((user, system), (child_user, child_system)) = (times(&own, 0), times(&own, 2));
        let ours = user + system + child_user + child_system;
        Machine { busy: all - fields[3] - fields[4], all, ours }
    }

    /// What others used since, once every child has been waited for.
    pub fn since(&self) -> Neighbours {
        let now = Machine::now();
        let others = (now.busy - self.busy) - (now.ours - self.ours);
        let load = fs::read_to_string("/proc/loadavg").unwrap();
        Neighbours {
            share: (100.0 * others / (now.all - self.all)).max(0.0),
            load: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}
