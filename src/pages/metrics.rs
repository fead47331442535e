//! `/metrics`: Prometheus' text format, version 0.0.4.
//!
//! Names are Prometheus' own for a process (`process_…`), else `actioncable_…`; sums end in `_total`, units are bytes and
//! seconds.

use crate::memory::Held;
use crate::session::Table;
use std::fs;

/// Fields of /proc/self/stat (proc(5)); the last one counts from the start of the machine.
const USER: usize = 14;
const SYSTEM: usize = 15;
const STARTED: usize = 22;

/// Everything that is counted, in the words of `metrics.txt`. No label ever holds what a client sent.
pub fn text(table: &Table) -> String {
    let (census, stats) = (table.census(), &table.stats);
    let held = Held::ALL.map(|(kind, label)| {
        let held = table.budget.of(kind);
        format!("actioncable_memory_bytes{{kind=\"{label}\"}} {held}\n")
    });
    // What the kernel tells of this process; 0 where there is no /proc.
    let file = |path| fs::read_to_string(path).unwrap_or_default();
    let (status, stat) = (file("/proc/self/status"), file("/proc/self/stat"));
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    format!(
        include_str!("metrics.txt"),
        sessions = table.len(),
        opening = census.opening,
        connected = census.connected,
        away = census.away,
        sessions_max = table.rules.sessions_max,
        sessions_refused = stats.refused_sessions.get(),
        streams = census.streams,
        polls = census.polls,
        kept_bytes = census.kept_bytes,
        memory = held.concat(),
        memory_max = table.budget.max(),
        up = stats.upstream_up.get(),
        denied = stats.upstream_denied.get(),
        refused = stats.upstream_refused.get(),
        failed = stats.upstream_failed.get(),
        lost = stats.upstream_lost.get(),
        received = stats.received.get(),
        received_bytes = stats.received_bytes.get(),
        delivered = stats.delivered.get(),
        delivered_bytes = stats.delivered_bytes.get(),
        dropped = stats.dropped.get(),
        resumed = stats.resumed.get(),
        takeovers = stats.takeovers.get(),
        threads = number_after(&status, "Threads:"),
        // One of them is the folder that is being read.
        descriptors = descriptors.saturating_sub(1),
        resident = number_after(&status, "VmRSS:") * 1024,
        cpu = seconds(ticks(&stat, USER) + ticks(&stat, SYSTEM)),
        started =
            number_after(&file("/proc/stat"), "btime") as f64 + seconds(ticks(&stat, STARTED)),
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn number_after(file: &str, key: &str) -> u64 {
    let rest = file.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A time of /proc/self/stat by the number of its field, in hundredths of a second (USER_HZ). The second field, the program's
/// name, may hold anything and ends with the last parenthesis.
fn ticks(stat: &str, field: usize) -> u64 {
    let third = stat.rsplit(')').next().unwrap_or_default();
    third.split_whitespace().nth(field - 3).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "1 (a) b (c)) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23";

        assert_eq!([USER, SYSTEM, STARTED].map(|field| ticks(stat, field)), [14, 15, 22]);
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_0() {
        assert_eq!(number_after("", "Threads:"), 0);
        assert_eq!(ticks("", USER), 0);
    }
}
