//! What is said about the figures: a table for people, one line of JSON for whoever compares runs. Both on stdout.
//!
//! Owns: the order of the rows, their words, and the goals. A figure is the median of its rounds.

use std::io::{Write, stdout};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::measure::Bench;
use crate::process::{Neighbours, Target};

enum Goal {
    AtMost(f64),
    AtLeast(f64),
}
use Goal::{AtLeast, AtMost};

/// What the bridge is to reach, on two cores that have nothing else to do.
const GOALS: [(&str, Goal); 18] = [
    ("stand-3000-rss", AtMost(24.0)),
    ("stand-3000-memory", AtMost(70.0)),
    ("idle-cpu", AtMost(0.6)),
    ("opening-cpu", AtMost(0.35)),
    ("paced-100-cpu", AtMost(40.0)),
    ("paced-100-p50", AtMost(0.30)),
    ("paced-100-p99", AtMost(0.8)),
    ("paced-100-lost", AtMost(0.0)),
    ("flood-500-cpu", AtMost(8.0)),
    ("flood-500-rate", AtLeast(150_000.0)),
    ("flood-500-lost", AtMost(0.0)),
    ("burst-p99", AtMost(20.0)),
    ("echo-cpu", AtMost(120.0)),
    ("echo-p50", AtMost(0.20)),
    ("echo-p99", AtMost(0.45)),
    ("poll-paced-cpu", AtMost(150.0)),
    ("poll-flood-rate", AtLeast(50_000.0)),
    ("poll-flood-lost", AtMost(0.0)),
];

/// What figures of a part are called, and their units.
type Rows = &'static [(&'static str, &'static str)];

/// Parts of the table: a heading, the beginning of its figures' names, and those with their units.
const PARTS: [(&str, &str, Rows); 19] = [
    ("the process, no session", "bare", &[("rss", "KB"), ("threads", ""), ("fds", "")]),
    ("a session, 1,000 idle", "stand-1000", STANDING),
    ("a session, 3,000 idle", "stand-3000", STANDING),
    ("an idle session and minute", "idle", &[("cpu", "ms")]),
    ("1,000 sessions open at once", "opening", &[("cpu", "ms each"), ("took", "s")]),
    ("100 sessions, 5,000/s", "paced-100", CARRYING),
    ("500 sessions, 5,000/s", "paced-500", CARRYING),
    ("100 sessions, full speed", "flood-100", FLOODING),
    ("500 sessions, full speed", "flood-500", FLOODING),
    ("500 sessions, full speed, each in turn", "scatter", FLOODING),
    ("a burst to 500 sessions", "burst", CARRYING),
    ("an echo, POST and SSE", "echo", ECHOING),
    ("100 long polls, 1,000/s", "poll-paced", CARRYING),
    ("100 long polls, full speed", "poll-flood", FLOODING),
    ("a box of 32 MiB, full", "box-32", BOXED),
    ("a box of 64 MiB, full", "box-64", BOXED),
    ("a box of 128 MiB, full", "box-128", BOXED),
    ("a box of 256 MiB, full", "box-256", BOXED),
    ("a box of 1 GiB, full", "box-1024", BOXED),
];

const STANDING: Rows =
    &[("rss", "KB"), ("memory", "KB with the kernel's"), ("threads", ""), ("fds", "")];

const CARRYING: Rows = &[
    ("cpu", "s a million"),
    ("p50", "ms"),
    ("p99", "ms"),
    ("max", "ms"),
    ("lost", ""),
    ("twice", ""),
];

const FLOODING: Rows = &[
    ("cpu", "s a million"),
    ("rate", "a second"),
    ("p50", "ms"),
    ("p99", "ms"),
    ("max", "ms"),
    ("lost", ""),
    ("twice", ""),
    ("rss", "KB a session, 2 s after it"),
];

const BOXED: Rows = &[
    ("sessions", ""),
    ("rate", "a second"),
    ("cpu", "s a million"),
    ("lost", ""),
    ("memory", "MiB with the kernel's"),
];

const ECHOING: Rows = &[("cpu", "us"), ("p50", "ms"), ("p99", "ms"), ("max", "ms")];

/// Prints everything that was measured.
pub fn print(bench: &Bench, neighbours: &Neighbours) {
    let mut text = format!(
        "\n{:<44}{:>10}{:>10}{:>8}  {:<10}\n",
        "", "bridge", "relay", "ratio", "goal for the bridge"
    );
    let mut figures = Map::new();
    for (heading, start, rows) in PARTS {
        let before = figures.len();
        let mut part = format!("{heading}\n");
        for (what, unit) in rows {
            let name = format!("{start}-{what}");
            if let Some(row) = Row::of(bench, &name) {
                part += &row.line(what, unit);
                figures.insert(name, row.json());
            }
        }
        if figures.len() > before {
            text += &part;
        }
    }
    text += &remarks(bench, neighbours);
    let json = json!({
        "commit": commit(),
        "quick": bench.options.quick,
        "rounds": bench.options.rounds,
        "cores": neighbours.cores,
        "others_percent": rounded(neighbours.share),
        "load": neighbours.load,
        "figures": figures,
    });
    writeln!(stdout(), "{text}{json}").expect("stdout takes the table");
}

struct Row {
    bridge: Option<f64>,
    relay: Option<f64>,
    goal: Option<&'static Goal>,
}

impl Row {
    fn of(bench: &Bench, name: &str) -> Option<Row> {
        let of = |target| bench.figures.get(&(name.to_owned(), target)).map(|all| median(all));
        let (bridge, relay) = (of(Target::Bridge), of(Target::Relay));
        let goal = GOALS.iter().find(|(of, _)| *of == name).map(|(_, goal)| goal);
        (bridge.is_some() || relay.is_some()).then_some(Row { bridge, relay, goal })
    }

    fn ratio(&self) -> Option<f64> {
        self.bridge.zip(self.relay).filter(|(_, relay)| *relay > 0.0).map(|(b, r)| b / r)
    }

    fn line(&self, what: &str, unit: &str) -> String {
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), shown);
        let label = if unit.is_empty() { what.to_owned() } else { format!("{what}, {unit}") };
        let (bridge, relay, ratio) = (cell(self.bridge), cell(self.relay), cell(self.ratio()));
        let line = format!("  {label:<42}{bridge:>10}{relay:>10}{ratio:>8}  {}", self.verdict());
        format!("{}\n", line.trim_end())
    }

    fn verdict(&self) -> String {
        let Some((goal, value)) = self.goal.zip(self.bridge) else { return String::new() };
        let (sign, bound, reached) = match goal {
            AtMost(bound) => ("<=", bound, value <= *bound),
            AtLeast(bound) => (">=", bound, value >= *bound),
        };
        let verdict = if reached { "reached" } else { "MISSED" };
        format!("{sign} {} {verdict}", shown(*bound))
    }

    fn json(&self) -> Value {
        let goal = self.goal.map(|(AtMost(bound) | AtLeast(bound))| bound);
        json!({
            "bridge": self.bridge.map(rounded),
            "relay": self.relay.map(rounded),
            "ratio": self.ratio().map(rounded),
            "goal": goal,
        })
    }
}

/// What a reader has to know before believing it.
fn remarks(bench: &Bench, neighbours: &Neighbours) -> String {
    let Neighbours { share, load, cores } = neighbours;
    let mut text = format!(
        "\n{cores} cores; other processes took {share:.0} % of the machine meanwhile; load {load}\n"
    );
    if *share > 5.0 {
        text += "the machine was not quiet: compare the ratios, and those with care\n";
    }
    if bench.stood() && !bench.figures.contains_key(&("stand-1000-memory".into(), Target::Bridge)) {
        text += "no memory cgroup could be made (root, and a memory controller, are needed): RSS only\n";
    }
    text
}

fn commit() -> String {
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let name = git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    name.ok().filter(|name| !name.is_empty()).unwrap_or("unknown".to_owned())
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Three digits or so: there is no more in a figure.
fn shown(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
