//! The list of what is measured, and how one case is set up, run and judged.
//!
//! Each case has a process of its own, fresh, and an upstream of its own: no case pays for the one before.
//! Owns: the figures, by name and target; a name is what the JSON line calls it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::clock::{came_true, pause, wait_for};
use crate::crowd::{Crowd, Kind, Tally};
use crate::echo::Echo;
use crate::http::Poster;
use crate::options::Options;
use crate::process::{Process, Target};
use crate::upstream::{RUN, Slots, Upstream, WINDOW};

/// Sessions that stand around.
pub const FEW: usize = 1000;
pub const MANY: usize = 3000;

/// Sessions that are talked to.
pub const SOME: usize = 100;
pub const MORE: usize = 500;

const OPENED_AT_ONCE: usize = 1000;

/// Messages a second over all sessions.
const PACE: u32 = 5000;
const POLL_PACE: u32 = 1000;

/// One message in so many, where each costs so many times as much.
const SCATTERED: u32 = 6;

/// Echoes before the ones that count: threads and buffers are there then.
const WARM_UP: u32 = 50;

/// What is not there so long after the last was sent is lost.
pub const LATE: Duration = Duration::from_secs(5);

/// What is set in motion by opening is done by then, and counted.
const OPENING_SETTLED: Duration = Duration::from_millis(500);

/// How soon a process gives back what a flood made it take.
const FLOOD_SETTLED: Duration = Duration::from_secs(2);

const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(20);

pub struct Bench {
    pub options: Options,
    pub figures: BTreeMap<(String, Target), Vec<f64>>,
}

impl Bench {
    pub fn new(options: Options) -> Bench {
        Bench { options, figures: BTreeMap::new() }
    }

    pub fn note(&mut self, target: Target, name: &str, value: f64) {
        self.figures.entry((name.to_owned(), target)).or_default().push(value);
    }

    pub fn run(&mut self) {
        if self.wants("stand") || self.wants("idle") {
            eprintln!("bench: sessions that stand around");
            self.stand();
        }
        for round in 1..=self.options.rounds {
            for target in Target::BOTH {
                eprintln!("bench: round {round}, {}", target.name());
                self.round(target);
            }
            self.boxes();
        }
    }

    /// Whether the sessions that stand around were measured.
    pub fn stood(&self) -> bool {
        self.figures.contains_key(&("bare-rss".to_owned(), Target::Bridge))
    }

    pub fn wants(&self, name: &str) -> bool {
        name.starts_with(&self.options.only) || self.options.only.starts_with(name)
    }

    fn round(&mut self, target: Target) {
        let kind = match target {
            Target::Bridge => Kind::Stream,
            Target::Relay => Kind::Socket,
        };
        let (paced, flood) = (self.options.sizes.paced, self.options.sizes.flood);
        let bursts = self.options.sizes.bursts;
        for sessions in [SOME, MORE] {
            self.case(target, kind, &format!("paced-{sessions}"), sessions, |slots| {
                slots.paced(PACE, paced);
            });
            self.case(target, kind, &format!("flood-{sessions}"), sessions, |slots| {
                slots.flood(flood / sessions as u32, RUN, WINDOW);
            });
        }
        // The same with nothing to put together: the next message of a session comes after one to all the others.
        self.case(target, kind, "scatter", MORE, |slots| {
            slots.flood(flood / SCATTERED / MORE as u32, 1, WINDOW);
        });
        self.case(target, kind, "burst", MORE, |slots| slots.burst(bursts));
        if target == Target::Bridge {
            self.polls(target);
        }
        self.echo(target);
        self.opening(target, kind);
    }

    fn polls(&mut self, target: Target) {
        let (paced, flood) = (self.options.sizes.paced, self.options.sizes.poll_flood);
        self.case(target, Kind::Poll, "poll-paced", SOME, |slots| {
            slots.paced(POLL_PACE, paced);
        });
        self.case(target, Kind::Poll, "poll-flood", SOME, |slots| {
            slots.flood(flood / SOME as u32, RUN, WINDOW);
        });
    }

    /// Sends through open sessions, and notes what that cost and what arrived.
    fn case(
        &mut self,
        target: Target,
        kind: Kind,
        name: &str,
        sessions: usize,
        send: impl FnOnce(&Slots),
    ) {
        if !self.wants(name) {
            return;
        }
        let mut case = Case::start_for(target, &self.options, sessions, kind);
        eprintln!("bench:   {name}, process {}", case.process.id());
        let rss = case.process.rss_kb();
        case.open(0..sessions);
        let (cpu, start) = (case.process.cpu(), Instant::now());
        send(&case.upstream.slots);
        let arrived = came_true(LATE, || case.upstream.slots.on_the_way() == 0);
        // The time of giving up is no time of sending.
        let took = start.elapsed() - if arrived { Duration::ZERO } else { LATE };
        let spent = case.process.cpu() - cpu;
        if name.starts_with("flood") {
            pause(FLOOD_SETTLED);
            let grown = case.process.rss_kb() - rss;
            self.note(target, &format!("{name}-rss"), grown / sessions as f64);
        }
        let sent = case.upstream.slots.sent();
        let missing = case.upstream.slots.on_the_way();
        let tally = case.close();
        let mut note = |what: &str, value: f64| self.note(target, &format!("{name}-{what}"), value);
        note("cpu", spent / sent as f64 * 1e6);
        note("rate", tally.ages.len() as f64 / took.as_secs_f64());
        note("lost", (tally.lost + missing) as f64);
        note("twice", tally.twice as f64);
        self.note_ages(target, name, tally.ages);
    }

    fn echo(&mut self, target: Target) {
        if !self.wants("echo") {
            return;
        }
        let case = Case::start(target, &self.options, 1);
        let mut echo = match target {
            Target::Bridge => Echo::through_bridge(case.process.port),
            Target::Relay => Echo::through_relay(case.process.port),
        };
        (0..WARM_UP).for_each(|number| _ = echo.once(number));
        let echoes = self.options.sizes.echoes;
        let cpu = case.process.cpu();
        let ages = (WARM_UP..WARM_UP + echoes).map(|number| echo.once(number)).collect();
        let spent = case.process.cpu() - cpu;
        self.note(target, "echo-cpu", spent / f64::from(echoes) * 1e6);
        self.note_ages(target, "echo", ages);
    }

    /// A thousand sessions that come at once, to their first word.
    fn opening(&mut self, target: Target, kind: Kind) {
        if !self.wants("opening") {
            return;
        }
        let case = Case::start(target, &self.options, OPENED_AT_ONCE);
        let (cpu, start) = (case.process.cpu(), Instant::now());
        let slots = &case.upstream.slots;
        let crowd = Crowd::open(kind, case.process.port, slots, 0..OPENED_AT_ONCE, true);
        let took = start.elapsed();
        pause(OPENING_SETTLED);
        let spent = case.process.cpu() - cpu;
        crowd.close();
        self.note(target, "opening-cpu", spent * 1000.0 / OPENED_AT_ONCE as f64);
        self.note(target, "opening-took", took.as_secs_f64());
    }

    /// In milliseconds.
    fn note_ages(&mut self, target: Target, name: &str, mut ages: Vec<u64>) {
        ages.sort_unstable();
        let Some(last) = ages.len().checked_sub(1) else { return };
        for (what, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let at = (last as f64 * share).round() as usize;
            self.note(target, &format!("{name}-{what}"), ages[at] as f64 / 1e6);
        }
    }
}

/// One process before one upstream, and the clients that came.
pub struct Case {
    pub target: Target,
    /// Before the upstream, and dropped before it: a bridge that sees its upstream end would begin to reconnect.
    pub process: Process,
    pub upstream: Upstream,
    kind: Kind,
    crowds: Vec<Crowd>,
}

impl Case {
    /// For streams, or what stands for them in the relay.
    pub fn start(target: Target, options: &Options, sessions: usize) -> Case {
        let kind = if target == Target::Bridge { Kind::Stream } else { Kind::Socket };
        Case::start_for(target, options, sessions, kind)
    }

    fn start_for(target: Target, options: &Options, sessions: usize, kind: Kind) -> Case {
        let upstream = Upstream::start(sessions);
        let process = Process::start(target, &options.bridge, upstream.port, None);
        Case::of(target, upstream, process, kind)
    }

    pub fn of(target: Target, upstream: Upstream, process: Process, kind: Kind) -> Case {
        Case { target, upstream, process, kind, crowds: Vec::new() }
    }

    /// Opens these sessions and subscribes each.
    pub fn open(&mut self, range: Range<usize>) {
        let (port, slots) = (self.process.port, &self.upstream.slots);
        let all = range.end;
        if self.kind == Kind::Poll {
            let mut poster = Poster::new(port);
            range.clone().for_each(|slot| poster.open(slot));
        }
        self.crowds.push(Crowd::open(self.kind, port, slots, range.clone(), false));
        if self.kind == Kind::Stream {
            let mut poster = Poster::new(port);
            range.for_each(|slot| poster.subscribe(slot));
        }
        wait_for("every session is subscribed", SUBSCRIBED_WITHIN, || slots.subscribed() == all);
    }

    /// Lets the clients go, and says what they got.
    pub fn close(self) -> Tally {
        let mut tally = Tally::default();
        for crowd in self.crowds {
            let part = crowd.close();
            tally.ages.extend(part.ages);
            tally.lost += part.lost;
            tally.twice += part.twice;
        }
        tally
    }
}
