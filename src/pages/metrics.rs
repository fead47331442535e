//! `/metrics`: Prometheus' text format, version 0.0.4.
//!
//! Names are Prometheus' own for a process (`process_…`), else `actioncable_…`; sums end in `_total`, units are bytes and
//! seconds. The samples of one metric may be added up.

use crate::memory::Held;
use crate::session::Table;
use std::fmt::{Display, Write};
use std::fs;

/// Everything that is counted. No label ever holds what a client sent.
pub fn text(table: &Table) -> String {
    let mut page = Page::default();
    sessions(&mut page, table);
    upstream(&mut page, table);
    messages(&mut page, table);
    process(&mut page);
    page.text
}

fn sessions(page: &mut Page, table: &Table) {
    let (census, stats) = (table.census(), table.stats());
    page.gauge("actioncable_sessions", "Sessions that live now.", table.len());
    page.metric(
        "actioncable_sessions_by_state",
        "gauge",
        "Sessions that live now, by the state of their link.",
    );
    page.sample("{state=\"opening\"}", census.opening);
    page.sample("{state=\"connected\"}", census.connected);
    page.sample("{state=\"away\"}", census.away);
    page.gauge(
        "actioncable_sessions_max",
        "Sessions that there may be at a time.",
        table.sessions_max(),
    );
    page.counter(
        "actioncable_sessions_refused_total",
        "Sessions that there was no room for.",
        stats.refused_sessions.get(),
    );
    page.metric("actioncable_listeners", "gauge", "Open streams and waiting polls.");
    page.sample("{kind=\"stream\"}", census.streams);
    page.sample("{kind=\"poll\"}", census.polls);
    page.gauge("actioncable_kept_bytes", "Bytes that the mailboxes keep.", census.kept_bytes);
    let (name, help) =
        ("actioncable_memory_bytes", "What --max-memory bounds, by what it is held for.");
    page.metric(name, "gauge", help);
    for (kind, label) in Held::ALL {
        page.sample(&format!("{{kind=\"{label}\"}}"), table.budget().of(kind));
    }
    page.gauge("actioncable_memory_max_bytes", "What --max-memory allows.", table.budget().max());
}

fn upstream(page: &mut Page, table: &Table) {
    let stats = table.stats();
    let help = "Attempts to reach the upstream, by how they ended.";
    page.metric("actioncable_upstream_connects_total", "counter", help);
    page.sample("{outcome=\"up\"}", stats.upstream_up.get());
    page.sample("{outcome=\"denied\"}", stats.upstream_denied.get());
    page.sample("{outcome=\"refused\"}", stats.upstream_refused.get());
    page.sample("{outcome=\"failed\"}", stats.upstream_failed.get());
    page.counter(
        "actioncable_upstream_losses_total",
        "Links to the upstream that were lost.",
        stats.upstream_lost.get(),
    );
}

fn messages(page: &mut Page, table: &Table) {
    let stats = table.stats();
    for (name, help, sum) in [
        (
            "actioncable_messages_received_total",
            "Messages and frames from the upstream.",
            &stats.received,
        ),
        (
            "actioncable_received_bytes_total",
            "Bytes of the messages and frames from the upstream.",
            &stats.received_bytes,
        ),
        (
            "actioncable_messages_delivered_total",
            "Messages and frames handed to listeners.",
            &stats.delivered,
        ),
        (
            "actioncable_delivered_bytes_total",
            "Bytes of the messages and frames handed to listeners.",
            &stats.delivered_bytes,
        ),
        (
            "actioncable_messages_dropped_total",
            "Messages that listeners missed and were told of.",
            &stats.dropped,
        ),
        ("actioncable_resumes_total", "Streams that went on where they had left.", &stats.resumed),
        ("actioncable_takeovers_total", "Listeners that took another's place.", &stats.takeovers),
    ] {
        page.counter(name, help, sum.get());
    }
}

fn process(page: &mut Page) {
    let own = Process::look();
    page.gauge("process_threads", "Threads of this process.", own.threads);
    page.gauge("process_open_fds", "Open descriptors of this process.", own.descriptors);
    page.gauge(
        "process_resident_memory_bytes",
        "Memory of this process that is resident.",
        own.resident,
    );
    page.counter("process_cpu_seconds_total", "CPU time of this process.", own.cpu);
    page.gauge("process_start_time_seconds", "When this process began, in Unix time.", own.started);
    page.metric("actioncable_build_info", "gauge", "Always 1; the label is the version.");
    page.sample(concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1);
}

/// What the kernel tells of this process; 0 where there is no /proc.
struct Process {
    threads: u64,
    descriptors: u64,
    resident: u64,
    /// Seconds.
    cpu: f64,
    /// Seconds since 1970.
    started: f64,
}

impl Process {
    fn look() -> Process {
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        let (status, ticks) = (file("/proc/self/status"), ticks(&file("/proc/self/stat")));
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        Process {
            threads: number_after(&status, "Threads:"),
            // One of them is the folder that is being read.
            descriptors: descriptors.saturating_sub(1),
            resident: number_after(&status, "VmRSS:") * 1024,
            cpu: seconds(ticks.user + ticks.system),
            started: number_after(&file("/proc/stat"), "btime") as f64 + seconds(ticks.started),
        }
    }
}

fn number_after(file: &str, key: &str) -> u64 {
    let rest = file.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Times of /proc/self/stat, in hundredths of a second (USER_HZ).
#[derive(Debug, Default, PartialEq, Eq)]
struct Ticks {
    user: u64,
    system: u64,
    /// Since the machine started.
    started: u64,
}

/// The 14th, 15th and 22nd field. The second one, the program's name, may hold anything and ends with the last parenthesis.
fn ticks(stat: &str) -> Ticks {
    let third = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<u64> =
        third.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    Ticks { user: field(14), system: field(15), started: field(22) }
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / 100.0
}

#[derive(Default)]
struct Page {
    text: String,
    /// Of the metric whose samples are written.
    name: &'static str,
}

impl Page {
    /// Begins a metric; its samples follow.
    fn metric(&mut self, name: &'static str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        self.name = name;
    }

    fn sample(&mut self, labels: &str, value: impl Display) {
        let _ = writeln!(self.text, "{}{labels} {value}", self.name);
    }

    fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help);
        self.sample("", value);
    }

    fn counter(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.metric(name, "counter", help);
        self.sample("", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "1 (a) b (c)) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23";

        assert_eq!(ticks(stat), Ticks { user: 14, system: 15, started: 22 });
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_0() {
        assert_eq!(number_after("", "Threads:"), 0);
        assert_eq!(ticks(""), Ticks::default());
    }
}
