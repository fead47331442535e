//! How many sessions and connections this machine can hold, and how much memory is for messages, found once at start.
//!
//! Owns: raising the soft limit of descriptors to the hard one, reading what the kernel allows, the arithmetic from there to `Plan`,
//! and its log line.
//! Never: refuses a number that was typed: too high is a warning. Only a machine that cannot hold the program itself is an error.
//! The measure is a slot: one descriptor, one thread and their memory. A session's upstream takes one, and so does
//! each connection of a client; a session with its stream takes two.

#[cfg(test)]
mod tests;

use crate::gate;
use crate::report::{Error, info, warning};
use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Sessions unless more are asked for; what was measured goes to here.
const SESSIONS_MAX: usize = 10_000;

/// Descriptors of both gates beside those of their connections.
const GATE_DESCRIPTORS: u64 = (2 * gate::DESCRIPTORS + gate::INNER_DESCRIPTORS) as u64;

/// Descriptors of no session or connection: the gate's, 3 standard streams, 3 for signals, 6 that come and go, as of name look-ups.
const DESCRIPTORS_RESERVED: u64 = GATE_DESCRIPTORS + 12;

/// Threads likewise: some 20 that always run, and those of handshakes, 64 for reconnects and others for first openings.
const THREADS_RESERVED: u64 = 128;

/// Mappings likewise: some 500 of the process itself, those of the reserved threads, and one for each allocation that is too big
/// for the heap, such as a long message. Out of mappings, an allocation fails, and with it the process.
const MAPPINGS_RESERVED: u64 = 4_000;

/// A thread's stack, its guard page, and its share of the allocator's arenas.
const MAPPINGS_A_THREAD: u64 = 4;

/// `vm.max_map_count` of a kernel with its default settings, where there is no /proc to read it from.
const MAPPINGS_DEFAULT: u64 = 65_530;

/// Threads that run before the first client comes.
const THREADS_TO_START: u64 = 28;

/// Memory of one slot, the kernel's included: 22 KiB for a thread, 4 for a socket, the rest its stack and its heap, with what a
/// handshake or a request takes for a moment.
const MEMORY_A_SLOT: u64 = 52 * 1024;

/// Memory of the process before the first client comes, the kernel's included.
const MEMORY_RESERVED: u64 = 10 * MIB;

/// What is planned with, of 100 parts: the kernel's counters lag behind, and the heap has gaps.
const MEMORY_SHARE: u64 = 80;

/// `--max-memory` where it is not typed: this part of the memory there is, and no more than that.
const BUDGET_SHARE: u64 = 8;
const BUDGET_MAX: u64 = 256 * MIB;

const MIB: u64 = 1024 * 1024;

/// An eighth of all slots is for connections that carry no stream: POSTs, health checks, one that is kept alive and idles. Else the
/// last sessions could be opened but not used.
const SPARE_SHARE: u64 = 8;

/// With this much there is no limit worth telling; sums of such never overflow.
const PLENTY: u64 = 1 << 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// RLIMIT_NOFILE, after it was raised.
    pub descriptors: u64,
    /// vm.max_map_count.
    pub mappings: u64,
    /// Threads that may still be started, by the tightest bound: the cgroup's, the user's, the system's.
    pub threads: u64,
    pub threads_by: &'static str,
    /// Bytes: the machine's, those of the cgroup and of each above it, RLIMIT_AS; the least of them.
    pub memory: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub sessions: Option<usize>,
    pub connections: Option<usize>,
    /// `--max-memory`, in bytes.
    pub memory: Option<usize>,
    /// The other end of each upstream is in this process too, and half of all is for it.
    pub demo: bool,
}

/// How many of each there may be, and what it is that allows no more sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub sessions: usize,
    pub connections: usize,
    pub memory: usize,
    pub binding: &'static str,
    /// Whether the machine can hold all of it at once.
    pub fits: bool,
}

/// Raises the descriptor limit, looks at the machine and plans by it; says so in the log.
pub fn find(wanted: &Wanted) -> Result<Plan, Error> {
    raise_descriptors();
    let machine = Machine::look();
    machine.can_start()?;
    let share = if wanted.demo { machine.halved() } else { machine };
    let plan = plan(&share, wanted);
    let Plan { sessions, connections, memory, binding, fits } = plan;
    info!(
        "event=limits sessions={sessions} connections={connections} max_memory={memory} bound_by=\"{binding}\" \
         descriptors={} mappings={} threads={} memory={}",
        shown(machine.descriptors),
        shown(machine.mappings),
        shown(machine.threads),
        shown(machine.memory)
    );
    if !fits {
        let (slots, by) = share.slots(memory as u64);
        warning!(
            "event=limits-too-high sessions={sessions} connections={connections} max_memory={memory} \
             together_at_most={slots} bound_by=\"{by}\" \
             remedy=\"lower --max-sessions, --max-connections or --max-memory, or raise the limit\""
        );
    }
    Ok(plan)
}

/// What `machine` can hold; a number that is wanted is taken as it is.
pub fn plan(machine: &Machine, wanted: &Wanted) -> Plan {
    let default = (machine.memory / BUDGET_SHARE).min(BUDGET_MAX);
    let memory = wanted.memory.unwrap_or(usize::try_from(default).unwrap_or(usize::MAX));
    let (slots, slots_by) = machine.slots(memory as u64);
    let (sessions, binding) = match wanted.sessions {
        Some(sessions) => (sessions, "--max-sessions"),
        None => {
            let with_streams = (slots - slots / SPARE_SHARE as usize) / 2;
            let beside = slots.saturating_sub(wanted.connections.unwrap_or(0));
            let default = (SESSIONS_MAX, "the default");
            let bounds = [default, (with_streams, slots_by), (beside, "--max-connections")];
            let (sessions, binding) = tightest(bounds);
            (sessions.max(1), binding)
        }
    };
    // Upstreams first; but sessions without a connection to reach them would be no use.
    let left = slots.saturating_sub(sessions).max(slots / 2).max(1);
    let connections = wanted.connections.unwrap_or(left);
    let fits = sessions.saturating_add(connections) <= slots && memory as u64 <= machine.memory / 2;
    Plan { sessions, connections, memory, binding, fits }
}

/// The least of some bounds, and its name.
fn tightest<T: Copy + Ord, const N: usize>(bounds: [(T, &'static str); N]) -> (T, &'static str) {
    bounds.into_iter().min_by_key(|(bound, _)| *bound).expect("no array of bounds here is empty")
}

/// A bound in the log.
fn shown(bound: u64) -> String {
    if bound >= PLENTY { "unlimited".to_owned() } else { bound.to_string() }
}

impl Machine {
    /// Reads the limits of this process. A file that is not there is no limit, but for that of mappings, which each kernel has.
    fn look() -> Machine {
        // The kernel does not hold root to RLIMIT_NPROC.
        let user = getrlimit(Resource::Nproc).current.filter(|_| !getuid().is_root());
        let known = |bound: Option<u64>| bound.unwrap_or(PLENTY);
        let (threads, threads_by) = tightest([
            (known(pids_room(&cgroup_directories("pids"))), "pids"),
            (known(user), "processes of the user"),
            (known(number_in("/proc/sys/kernel/threads-max")), "threads-max"),
            (known(number_in("/proc/sys/kernel/pid_max")), "pid_max"),
        ]);
        Machine {
            descriptors: getrlimit(Resource::Nofile).current.unwrap_or(PLENTY).min(PLENTY),
            mappings: number_in("/proc/sys/vm/max_map_count").unwrap_or(MAPPINGS_DEFAULT),
            threads: threads.min(PLENTY),
            threads_by,
            memory: memory_room(),
        }
    }

    fn halved(self) -> Machine {
        let Machine { descriptors, mappings, threads, threads_by, memory } = self;
        let (descriptors, mappings, threads) = (descriptors / 2, mappings / 2, threads / 2);
        Machine { descriptors, mappings, threads, threads_by, memory: memory / 2 }
    }

    /// Whether the threads and descriptors are there that the program begins with.
    fn can_start(&self) -> Result<(), Error> {
        let Machine { descriptors, threads, threads_by, .. } = self;
        if *threads < THREADS_TO_START {
            return Err(Error::Start(format!(
                "{threads} threads may be started, bound by {threads_by}, and {THREADS_TO_START} are needed: \
                 raise ulimit -u, or pids.max of the cgroup"
            )));
        }
        if *descriptors <= GATE_DESCRIPTORS {
            return Err(Error::Start(format!(
                "{descriptors} descriptors may be open, and {} are needed: raise ulimit -n",
                GATE_DESCRIPTORS + 1
            )));
        }
        Ok(())
    }

    /// How many slots there are beside a budget of `memory` bytes, and what allows no more of them.
    fn slots(&self, memory: u64) -> (usize, &'static str) {
        let (slots, by) = tightest([
            (beyond(self.descriptors, DESCRIPTORS_RESERVED), "descriptors"),
            (beyond(self.mappings, MAPPINGS_RESERVED) / MAPPINGS_A_THREAD, "memory mappings"),
            (beyond(self.threads, THREADS_RESERVED), self.threads_by),
            (self.memory_for_slots(memory) / MEMORY_A_SLOT, "memory"),
        ]);
        (usize::try_from(slots).unwrap_or(usize::MAX), by)
    }

    /// What a budget leaves. It takes half as much more: large messages go on without room, and the allocator gets some back late.
    fn memory_for_slots(&self, memory: u64) -> u64 {
        let planned = beyond(self.memory / 100 * MEMORY_SHARE, MEMORY_RESERVED);
        planned.saturating_sub(memory.saturating_add(memory / 2)).max(planned / 8)
    }
}

/// `limit` less `reserve`, but half of `limit` at least.
fn beyond(limit: u64, reserve: u64) -> u64 {
    limit - reserve.min(limit / 2)
}

/// Lifts the soft limit of descriptors to the hard one. Where that fails, the soft one stays.
fn raise_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        warning!("event=descriptors-not-raised limit={} error=\"{}\"", current.unwrap_or(0), error);
    }
}

/// How many more threads these cgroups allow beside those that are there; the smallest counts. `None`: any number.
fn pids_room(directories: &[PathBuf]) -> Option<u64> {
    let rooms = directories.iter().filter_map(|directory| {
        let max = number_in(directory.join("pids.max"))?;
        Some(max.saturating_sub(number_in(directory.join("pids.current")).unwrap_or(0)))
    });
    rooms.min()
}

/// The least of the machine's memory, what the memory cgroup and those above it allow, RLIMIT_AS, and what 32 bits can address.
pub fn memory_room() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|total| total.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let addressable = if usize::BITS == 32 { 3 << 30 } else { PLENTY };
    let bounds = [
        total.map(|total| total * 1024),
        memory_limit(&cgroup_directories("memory")),
        getrlimit(Resource::As).current,
    ];
    bounds.into_iter().flatten().fold(addressable, u64::min)
}

/// The smallest limit of these cgroups, of version 2 or 1. `max`, and the huge number that is version 1's "none", are no limits.
fn memory_limit(directories: &[PathBuf]) -> Option<u64> {
    let names = ["memory.max", "memory.limit_in_bytes"];
    let files = directories.iter().flat_map(|directory| names.map(|name| directory.join(name)));
    files.filter_map(number_in).min()
}

/// The directories of this process's cgroup and of each above it, for a controller.
fn cgroup_directories(controller: &str) -> Vec<PathBuf> {
    directories_in(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default(), controller)
}

/// The same from the text of /proc/self/cgroup: those of version 2, and of the controller's hierarchy of version 1.
fn directories_in(cgroup: &str, controller: &str) -> Vec<PathBuf> {
    let lines = cgroup.lines().filter_map(|line| {
        let (hierarchy, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let root = Path::new("/sys/fs/cgroup");
        let mount = match (hierarchy, controllers) {
            ("0", "") => root.to_owned(),
            (_, names) if names.split(',').any(|name| name == controller) => root.join(controller),
            _ => return None,
        };
        Some((mount, path))
    });
    lines.flat_map(|(mount, path)| up_from(&mount, Path::new(path))).collect()
}

/// `mount/path` and all above it down to `mount`. A path that leaves the mount, as from outside the namespace, counts as `mount`.
fn up_from(mount: &Path, path: &Path) -> Vec<PathBuf> {
    if path.components().any(|part| part == Component::ParentDir) {
        return vec![mount.to_owned()];
    }
    let inside = path.strip_prefix("/").unwrap_or(path);
    inside.ancestors().map(|part| mount.join(part)).collect()
}

fn number_in(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
