//! A cgroup that bounds the processes and threads in it, where one can be made.
//!
//! Owns: a folder under the mount of the pids controller, of version 1 or 2; removed when it is dropped.
//! Never: changes what is handed down to whom on this machine.

use std::fs;
use std::path::PathBuf;

use super::{PATIENCE, wait_until};

/// To be dropped after the processes in it have ended.
pub struct Pids(PathBuf);

impl Pids {
    /// A new group for so many; `None` where there is no pids controller, or no leave to use it.
    pub fn create(name: &str, max: u32) -> Option<Pids> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (root, kind, flags) = (words.next()?, words.next()?, words.next()?);
            let has_pids = kind == "cgroup" && flags.split(',').any(|flag| flag == "pids");
            if !has_pids && kind != "cgroup2" {
                return None;
            }
            let folder = PathBuf::from(root).join(format!("it-{}-{name}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            let group = Pids(folder);
            // A version 2 group has the file only where its parent hands the controller down.
            let file = group.0.join("pids.max");
            (file.exists() && fs::write(file, max.to_string()).is_ok()).then_some(group)
        })
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
        if !std::thread::panicking() {
            // The kernel lets go of what has ended in its own time.
            wait_until(PATIENCE, || fs::remove_dir(&self.0).is_ok());
        }
    }
}
