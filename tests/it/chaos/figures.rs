//! What a run of the chaos counts, and what it must have counted to mean something.
//!
//! What is wrong is counted too, with the first few told in words: a run that goes on says more than one that
//! stops at the first.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Complaints told in words.
const COMPLAINTS_MAX: usize = 20;

const CUTS_IN_EVENTS_MIN: u64 = 1000;
const BACKLOGS_MIN: u64 = 1000;
const TAKEOVERS_MIN: u64 = 100;

#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn one(&self) {
        self.add(1);
    }

    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
pub struct Figures {
    pub messages: Count,
    pub connections: Count,
    pub cuts_in_events: Count,
    /// After the head, with no event begun.
    pub cuts_between_events: Count,
    pub cuts_in_heads: Count,
    pub cuts_in_json: Count,
    pub cuts_in_requests: Count,
    /// Streams and polls that go on from an id after a cut.
    pub resumes: Count,
    /// Those for which messages had been sent meanwhile.
    pub backlogs: Count,
    /// Resumes while the bridge still held the old connection for alive.
    pub takeovers: Count,
    /// Old connections that the bridge ended after a takeover.
    pub ended: Count,
    pub restarts: Count,
    /// Came back with a bare number before the bridge had let the old listener go.
    pub refused: Count,
    /// No room, for the connection or for one at rest: the client comes again.
    pub busy: Count,
    /// Gone, and told.
    pub dropped: Count,
    pub lost: Count,
    pub duplicated: Count,
    pub wrong: Count,
    complaints: Mutex<Vec<String>>,
}

impl Figures {
    /// Something that must not be; `count` is what it counts as.
    pub fn complain(&self, count: &Count, how_many: u64, what: String) {
        count.add(how_many);
        let mut complaints = self.complaints.lock();
        if complaints.len() < COMPLAINTS_MAX {
            complaints.push(what);
        }
    }

    /// What was wrong so far, a line each.
    pub fn complaints(&self) -> String {
        self.complaints.lock().iter().map(|what| format!("  {what:.500}\n")).collect()
    }

    /// Whether the run has been through enough to say something.
    pub fn are_enough(&self) -> bool {
        self.cuts_in_events.get() >= CUTS_IN_EVENTS_MIN
            && self.backlogs.get() >= BACKLOGS_MIN
            && self.takeovers.get() >= TAKEOVERS_MIN
            && self.dropped.get() > 0
    }

    /// Fails if anything was wrong, or if too little was tried.
    pub fn judge(&self) {
        self.expect_nothing_wrong();
        assert!(self.are_enough(), "too little was tried:\n{self}");
    }

    pub fn expect_nothing_wrong(&self) {
        let wrong = [&self.lost, &self.duplicated, &self.wrong].map(Count::get);
        let complaints = self.complaints.lock();
        assert_eq!(wrong, [0; 3], "lost, duplicated, wrong: {:#?}", *complaints);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = [
            ("messages", &self.messages),
            ("lost", &self.lost),
            ("duplicated", &self.duplicated),
            ("wrong", &self.wrong),
            ("dropped and told", &self.dropped),
            ("connections", &self.connections),
            ("cuts inside an event", &self.cuts_in_events),
            ("cuts between events", &self.cuts_between_events),
            ("cuts inside a head", &self.cuts_in_heads),
            ("cuts inside a poll's JSON", &self.cuts_in_json),
            ("cuts inside a request", &self.cuts_in_requests),
            ("resumes", &self.resumes),
            ("resumes with a backlog", &self.backlogs),
            ("takeovers", &self.takeovers),
            ("old connections ended", &self.ended),
            ("upstream restarts", &self.restarts),
            ("bare numbers refused", &self.refused),
            ("no room, come again", &self.busy),
        ];
        for (name, count) in figures {
            writeln!(f, "  {name:<26} {:>9}", count.get())?;
        }
        Ok(())
    }
}
