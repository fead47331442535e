//! What sessions cost that only stand there: memory, threads, descriptors, an idle minute.
//!
//! Bridge and relay stand side by side: neither disturbs the other, and the minute is waited once.

use crate::clock::pause;
use crate::measure::{Bench, Case, FEW, MANY};
use crate::process::{Holds, Target};
use std::time::Duration;

/// By then everything that opening set in motion has come to rest, and a ping has been through.
const SETTLED: Duration = Duration::from_secs(4);

const SECONDS_IN_MINUTE: f64 = 60.0;

impl Bench {
    /// Once, whatever the rounds: memory does not depend on the moment.
    pub fn stand(&mut self) {
        let mut cases: Vec<Case> =
            Target::BOTH.map(|target| Case::start(target, &self.options, MANY)).into();
        pause(SETTLED);
        let bare: Vec<Holds> = cases.iter().map(|case| case.process.holds()).collect();
        for (case, holds) in cases.iter().zip(&bare) {
            self.note(case.target, "bare-rss", holds.rss_kb);
            self.note(case.target, "bare-threads", holds.threads);
            self.note(case.target, "bare-fds", holds.descriptors);
        }
        self.stand_with(&mut cases, &bare, 0..FEW);
        self.idle(&cases);
        self.stand_with(&mut cases, &bare, FEW..MANY);
        cases.into_iter().for_each(|case| drop(case.close()));
    }

    fn stand_with(&mut self, cases: &mut [Case], bare: &[Holds], range: std::ops::Range<usize>) {
        let sessions = range.end;
        cases.iter_mut().for_each(|case| case.open(range.clone()));
        pause(SETTLED);
        for (case, bare) in cases.iter().zip(bare) {
            let holds = case.process.holds();
            let each = |now: f64, before: f64| (now - before) / sessions as f64;
            let name = |what: &str| format!("stand-{sessions}-{what}");
            self.note(case.target, &name("rss"), each(holds.rss_kb, bare.rss_kb));
            self.note(case.target, &name("threads"), each(holds.threads, bare.threads));
            self.note(case.target, &name("fds"), each(holds.descriptors, bare.descriptors));
            if let (Some(now), Some(before)) = (holds.memory_kb, bare.memory_kb) {
                self.note(case.target, &name("memory"), each(now, before));
            }
        }
    }

    /// Milliseconds of processor time a session and minute, with nothing but the upstream's pings.
    fn idle(&mut self, cases: &[Case]) {
        let before: Vec<f64> = cases.iter().map(|case| case.process.cpu()).collect();
        let length = self.options.sizes.idle;
        pause(length);
        let minutes = length.as_secs_f64() / SECONDS_IN_MINUTE;
        for (case, before) in cases.iter().zip(before) {
            let spent = (case.process.cpu() - before) * 1000.0;
            self.note(case.target, "idle-cpu", spent / FEW as f64 / minutes);
        }
    }
}
