//! The benchmark: what the bridge costs, beside a relay that understands nothing; `scripts/bench [--quick]`.
//!
//! This process is both ends, the scripted upstream and the clients, so that the clock that stamps a message is the clock that
//! reads the stamp. What is measured is another process, and its figures are those of /proc.
//! Flow: `upstream` -> bridge or relay -> `crowd`, which checks the numbers and notes the ages; `measure` is the list of what
//! is done, `table` what is said about it.
//! Medians of three rounds, bridge and relay by turns: a machine's mood changes both, and the ratio less than either.

// A helper that fails is a benchmark that fails: its panic names the line, which is all that is wanted.
#![allow(clippy::unwrap_used)]

mod boxes;
mod cgroup;
mod clock;
mod crowd;
mod echo;
mod http;
mod mark;
mod measure;
mod options;
mod process;
mod standing;
mod table;
mod upstream;
mod websocket;

use std::process::ExitCode;

use measure::Bench;
use options::Options;

fn main() -> ExitCode {
    if cfg!(debug_assertions) {
        eprintln!("bench: a debug build says nothing about speed, run scripts/bench");
        return ExitCode::FAILURE;
    }
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("bench: {why}");
            return ExitCode::from(2);
        }
    };
    process::raise_descriptors();
    let machine = process::Machine::now();
    let mut bench = Bench::new(options);
    bench.run();
    table::print(&bench, &machine.since());
    ExitCode::SUCCESS
}
