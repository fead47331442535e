//! Boxes with little memory: how many sessions one holds with the defaults, and what it then carries at full speed.
//!
//! A box is a memory cgroup; where none can be made, nothing is measured and the table says nothing of it.

use std::time::{Duration, Instant};

use crate::clock::came_true;
use crate::crowd::Kind;
use crate::measure::{Bench, Case, LATE};
use crate::process::{Process, Target};
use crate::upstream::{RUN, Upstream};

const MIB: u64 = 1024 * 1024;
const BOXES: [u64; 5] = [32, 64, 128, 256, 1024];

/// Messages of one session that may be on their way: in the smallest box all of them together are less than it keeps.
const WINDOW: u32 = 64;

/// Nobody listens there, and nobody needs to.
const NO_UPSTREAM: u16 = 9;

impl Bench {
    pub fn boxes(&mut self) {
        for mib in BOXES {
            let name = format!("box-{mib}");
            if self.wants(&name) {
                eprintln!("bench: {name}");
                self.fill(&name, mib * MIB);
            }
        }
    }

    fn fill(&mut self, name: &str, memory: u64) {
        let start =
            |upstream| Process::start(Target::Bridge, &self.options.bridge, upstream, Some(memory));
        let asked = start(NO_UPSTREAM);
        let (sessions, is_bounded) = (asked.sessions_max(), asked.cgroup.is_some());
        drop(asked);
        if !is_bounded {
            return;
        }
        let upstream = Upstream::start(sessions);
        let process = start(upstream.port);
        let mut case = Case::of(Target::Bridge, upstream, process, Kind::Stream);
        case.open(0..sessions);
        let (cpu, began) = (case.process.cpu(), Instant::now());
        case.upstream.slots.flood(self.options.sizes.flood / sessions as u32, RUN, WINDOW);
        let arrived = came_true(LATE, || case.upstream.slots.on_the_way() == 0);
        let took = began.elapsed() - if arrived { Duration::ZERO } else { LATE };
        let (spent, sent) = (case.process.cpu() - cpu, case.upstream.slots.sent() as f64);
        let held = case.process.holds().memory_kb.unwrap_or_default() / 1024.0;
        let missing = case.upstream.slots.on_the_way();
        let tally = case.close();
        let mut note =
            |what: &str, value| self.note(Target::Bridge, &format!("{name}-{what}"), value);
        note("sessions", sessions as f64);
        note("rate", tally.ages.len() as f64 / took.as_secs_f64());
        note("cpu", spent / sent * 1e6);
        note("lost", (tally.lost + missing) as f64);
        note("memory", held);
    }
}
