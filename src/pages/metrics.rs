//! `/metrics`: Prometheus' text format, version 0.0.4.

use crate::session::Table;
use std::fmt::Write;
use std::fs;

/// Everything that is counted. No label ever holds what a client sent.
pub fn text(table: &Table) -> String {
    let mut page = Page::default();
    let census = table.census();
    page.metric("actioncable_sessions", "gauge", "Sessions that live now.");
    page.sample("", table.len() as u64);
    page.metric(
        "actioncable_sessions_by_state",
        "gauge",
        "Sessions that live now, by the state of their link.",
    );
    page.sample("{state=\"opening\"}", census.opening);
    page.sample("{state=\"connected\"}", census.connected);
    page.sample("{state=\"away\"}", census.away);
    page.metric("actioncable_listeners", "gauge", "Open streams and waiting polls.");
    page.sample("{kind=\"stream\"}", census.streams);
    page.sample("{kind=\"poll\"}", census.polls);
    page.metric("actioncable_kept_bytes", "gauge", "Bytes that the mailboxes keep.");
    page.sample("", census.kept_bytes);
    upstream(&mut page, table);
    sums(&mut page, table);
    process(&mut page);
    page.text
}

fn upstream(page: &mut Page, table: &Table) {
    let counts = table.upstream_counts();
    let help = "Attempts to reach the upstream, and links to it, by how they ended.";
    page.metric("actioncable_upstream_total", "counter", help);
    page.sample("{outcome=\"up\"}", counts.up);
    page.sample("{outcome=\"denied\"}", counts.denied);
    page.sample("{outcome=\"refused\"}", counts.refused);
    page.sample("{outcome=\"failed\"}", counts.failed);
    page.sample("{outcome=\"lost\"}", counts.lost);
}

fn sums(page: &mut Page, table: &Table) {
    let tally = table.tally();
    for (name, help, sum) in [
        ("actioncable_received_total", "Messages and frames from the upstream.", &tally.received),
        (
            "actioncable_delivered_total",
            "Messages and frames handed to listeners.",
            &tally.delivered,
        ),
        (
            "actioncable_dropped_total",
            "Messages that listeners missed and were told of.",
            &tally.dropped,
        ),
        ("actioncable_resumed_total", "Streams that went on where they had left.", &tally.resumed),
        ("actioncable_takeovers_total", "Listeners that took another's place.", &tally.takeovers),
    ] {
        page.metric(name, "counter", help);
        page.sample("", sum.get());
    }
}

fn process(page: &mut Page) {
    let count = |folder: &str| fs::read_dir(folder).map_or(0, |entries| entries.count() as u64);
    page.metric("actioncable_threads", "gauge", "Threads of this process.");
    page.sample("", count("/proc/self/task"));
    page.metric("actioncable_descriptors", "gauge", "Open descriptors of this process.");
    // One of them is the folder that is being read.
    page.sample("", count("/proc/self/fd").saturating_sub(1));
    page.metric("actioncable_build_info", "gauge", "Always 1; the label is the version.");
    page.sample(concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1);
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

    fn sample(&mut self, labels: &str, value: u64) {
        let _ = writeln!(self.text, "{}{labels} {value}", self.name);
    }
}
