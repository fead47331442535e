//! A cgroup that bounds the threads or the memory of the processes in it, where one can be made.
//!
//! Owns: a folder under the mount of the controller, of version 1 or 2; removed when it is dropped.
//! Never: changes what is handed down to whom on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::{PATIENCE, wait_until};

/// To be dropped after the processes in it have ended.
pub struct Pids(PathBuf);

impl Pids {
    /// A new group for so many; `None` where there is no pids controller, or no leave to use it.
    pub fn create(name: &str, max: u32) -> Option<Pids> {
        create("pids", name, |folder| bound(folder, "pids.max", u64::from(max))).map(Pids)
    }

    /// Where a process writes its number to be in it.
    pub fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    /// How many are in it.
    pub fn current(&self) -> u32 {
        fs::read_to_string(self.0.join("pids.current")).unwrap().trim().parse().unwrap()
    }

    /// How often one more was refused.
    pub fn refused(&self) -> u64 {
        let events = fs::read_to_string(self.0.join("pids.events")).unwrap();
        let max = events.lines().find_map(|line| line.strip_prefix("max ")).unwrap();
        max.parse().unwrap()
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// To be dropped after the processes in it have ended.
pub struct Memory(PathBuf);

impl Memory {
    /// A new group for so many bytes, without swap; `None` where there is no such controller, or no leave to use it.
    pub fn create(name: &str, max: u64) -> Option<Memory> {
        let bound_both = |folder: &Path| {
            let is_bound =
                bound(folder, "memory.limit_in_bytes", max) || bound(folder, "memory.max", max);
            // Where the kernel has no swap to count, these are not there.
            let _ = bound(folder, "memory.memsw.limit_in_bytes", max)
                || bound(folder, "memory.swap.max", 0);
            is_bound
        };
        create("memory", name, bound_both).map(Memory)
    }

    pub fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    /// Bytes that the kernel cannot take back: all but the page cache.
    pub fn held(&self) -> u64 {
        let all = number(&self.0.join("memory.usage_in_bytes"))
            .or_else(|| number(&self.0.join("memory.current")));
        let stat = fs::read_to_string(self.0.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| {
            let (name, bytes) = line.split_once(' ')?;
            matches!(name, "cache" | "file").then(|| bytes.parse::<u64>().ok())?
        });
        all.unwrap().saturating_sub(cache.unwrap_or(0))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// A folder of a controller, in which `bounded` could write its limit.
fn create(controller: &str, name: &str, bounded: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (root, kind, flags) = (words.next()?, words.next()?, words.next()?);
        let has_it = kind == "cgroup" && flags.split(',').any(|flag| flag == controller);
        if !has_it && kind != "cgroup2" {
            return None;
        }
        let folder = PathBuf::from(root).join(format!("it-{}-{name}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        if bounded(&folder) {
            return Some(folder);
        }
        remove(&folder);
        None
    })
}

/// A version 2 group has the file only where its parent hands the controller down.
fn bound(folder: &Path, file: &str, max: u64) -> bool {
    let file = folder.join(file);
    file.exists() && fs::write(file, max.to_string()).is_ok()
}

fn remove(folder: &Path) {
    if !std::thread::panicking() {
        // The kernel lets go of what has ended in its own time.
        wait_until(PATIENCE, || fs::remove_dir(folder).is_ok());
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
