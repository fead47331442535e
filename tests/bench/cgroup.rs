//! A memory cgroup for the process that is measured: the kernel's share of a session is in no RSS.
//!
//! Owns: a folder under the cgroup mount, made where that is allowed and removed at the end.
//! Where it can not be made, the table says so, and the figures are left out.

use std::fs;
use std::path::PathBuf;

pub struct Cgroup {
    folder: PathBuf,
    /// The files that say what the group uses now, and what it may.
    usage: &'static str,
    limit: &'static str,
}

impl Cgroup {
    /// A new group, version 1 or 2; `None` where there is no memory controller, or no leave to use it.
    pub fn create(name: &str) -> Option<Cgroup> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (folder, kind, flags) = (words.next()?, words.next()?, words.next()?);
            let root = PathBuf::from(folder);
            let (usage, limit) = match kind {
                "cgroup" if flags.split(',').any(|flag| flag == "memory") => {
                    ("memory.usage_in_bytes", "memory.limit_in_bytes")
                }
                "cgroup2" => ("memory.current", "memory.max"),
                _ => return None,
            };
            Cgroup::create_in(
                root.join(format!("bench-{}-{name}", std::process::id())),
                usage,
                limit,
            )
        })
    }

    fn create_in(folder: PathBuf, usage: &'static str, limit: &'static str) -> Option<Cgroup> {
        fs::create_dir(&folder).ok()?;
        let cgroup = Cgroup { folder, usage, limit };
        // A version 2 group has the file only where its parent hands the controller down.
        cgroup.used_kb().map(|_| cgroup)
    }

    /// More than so many bytes, and the kernel ends what is in it.
    pub fn limit(&self, bytes: u64) {
        fs::write(self.folder.join(self.limit), bytes.to_string()).unwrap();
    }

    /// Where a process writes its number to be in it.
    pub fn procs(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Kilobytes: anonymous memory, page cache and the kernel's own.
    pub fn used_kb(&self) -> Option<f64> {
        let text = fs::read_to_string(self.folder.join(self.usage)).ok()?;
        Some(text.trim().parse::<f64>().ok()? / 1024.0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel refuses while a process is in it: its owner has waited for that one before.
        let _ = fs::remove_dir(&self.folder);
    }
}
