//! Streams: how one joins a session, and what its thread is given to write.
//!
//! Owns: the first event (`joined`, or a tunnel's `open`), and where a stream starts.
//! Never: does I/O; `sse` writes what `next` returns.

use super::listener::{Fate, Former, Join, Kind, Place, Start, leaver};
use super::tally::bytes;
use super::{Over, Phase, Session, State};
use crate::frame::quoted;
use crate::gate::Hangup;
use crate::mailbox::{Batch, Next, Notice};
use std::sync::Arc;
use std::time::Instant;

/// One SSE stream's place in a session.
pub struct Stream {
    place: Place,
    /// What is told before anything else, all at the place that the stream starts from.
    pub first: Vec<Notice>,
    pub start: u64,
    former: Option<Former>,
}

/// What a stream's thread does next.
pub enum Step {
    /// Say how many are gone, then write these.
    Events {
        missed: u64,
        events: Batch,
    },
    Notice {
        place: u64,
        notice: Notice,
    },
    /// Wait.
    Nothing,
    /// Say so, and end.
    Replaced,
    /// The bridge stops: say when to come back, and end.
    Drained,
    /// The session is over: say this, if anything, and end.
    Over(Option<Notice>),
    /// A tunnel's upstream closed: say so at this place, call `close_told`, and end.
    Closed {
        place: u64,
        notice: Notice,
    },
    /// Nobody is there to be told.
    Left,
}

impl Stream {
    /// The session's id, for `X-Session-Id`.
    pub fn session_id(&self) -> String {
        self.place.session.id.clone()
    }

    /// The part of every event id before the place.
    pub fn event_id_prefix(&self) -> String {
        self.place.session.event_id_prefix()
    }

    /// What to do next; what it returned before counts as written.
    pub fn next(&self) -> Step {
        let session = &self.place.session;
        let mut state = self.place.look();
        state.mailbox.confirm(self.place.key);
        match state.fate(self.place.key) {
            Some(Fate::Left) | None => return Step::Left,
            Some(Fate::Here) => {}
            Some(_) => return Step::Replaced,
        }
        match state.mailbox.next(self.place.key) {
            Next::Events { missed, .. } if missed > 0 && session.tunnel => {
                Step::Over(Some(super::tunnel::overflowed()))
            }
            Next::Events { missed, events } => {
                drop(state);
                session.count(|tally| {
                    tally.dropped.add(missed);
                    tally.delivered.add(events.len() as u64);
                    tally.delivered_bytes.add(bytes(events.iter()));
                });
                Step::Events { missed, events }
            }
            Next::Notice { place, notice } => Step::Notice { place, notice },
            Next::Nothing => state.last_step(),
        }
    }

    /// Waits until there is something, at most until `deadline`. Whether there may be.
    pub fn wait(&self, deadline: Instant) -> bool {
        self.place.wait(deadline)
    }

    /// The tunnel's `close` was written: the session is over.
    pub fn close_told(&self) {
        self.place.session.bury_tunnel();
    }

    /// Makes sure that the listener whose place this is has gone.
    pub fn evict_former(&mut self) {
        if let Some(former) = self.former.take() {
            former.must_leave();
        }
    }

    /// What the gate calls when the client has gone.
    pub fn leaver(&self) -> impl Fn() + Send + Sync + 'static {
        leaver(&self.place)
    }
}

impl State {
    /// What a stream does that has written everything.
    fn last_step(&self) -> Step {
        match &self.phase {
            Phase::Over(Over::Ended { told, .. }) => Step::Over(Some(told.clone())),
            Phase::Over(Over::Drained) => Step::Drained,
            Phase::Over(_) => Step::Over(None),
            _ => match &self.tunnel.close {
                Some(close) => {
                    Step::Closed { place: self.mailbox.last() + 1, notice: close.clone() }
                }
                None => Step::Nothing,
            },
        }
    }
}

impl Session {
    /// Joins a stream. One that proves by its event id that the place is its own takes it over.
    pub(super) fn join_stream(
        self: &Arc<Self>,
        start: &Start,
        reuse: bool,
        hangup: Hangup,
    ) -> Join<Stream> {
        let reuse = reuse && !self.tunnel;
        let mut state = self.lock();
        if matches!(state.phase, Phase::Over(_)) {
            return Join::Over;
        }
        let returns = self.tunnel && !matches!(start, Start::Fresh);
        if returns && !state.tunnel_resumes(self, start, 0) {
            return Join::Gone;
        }
        let proven = self.own_place(start, &state);
        let alone = state.first_present().is_none();
        if !reuse && !alone && proven.is_none() {
            return state
                .first_present()
                .map_or(Join::Over, |present| Join::Taken(self.former(present)));
        }
        let resumed = match start {
            Start::Number(place) if alone => Some(*place),
            _ => proven,
        };
        if !reuse && resumed.is_none() && state.had_stream {
            return Join::Reload;
        }
        if self.tunnel && !state.tunnel_resumes(self, start, state.mailbox.given()) {
            return Join::Gone;
        }
        let former = if reuse { None } else { state.replace_first(self) };
        Join::Joined(self.add_stream(&mut state, resumed, hangup, former))
    }

    fn add_stream(
        self: &Arc<Self>,
        state: &mut State,
        resumed: Option<u64>,
        hangup: Hangup,
        former: Option<Former>,
    ) -> Stream {
        // A number too high is of another session: start with the oldest, as for 0.
        let known = resumed.filter(|place| *place <= state.mailbox.last());
        let cursor = match (known, resumed) {
            (Some(place), _) => place,
            (None, Some(_)) => 0,
            (None, None) => state.mailbox.given(),
        };
        let dropped = state.mailbox.missed(cursor);
        let start = cursor + dropped;
        let first = if self.tunnel {
            vec![state.tunnel.open(&self.id, known.is_some())]
        } else {
            let joined = self.joined(state, known.is_some(), dropped);
            state.mailbox.tell(&joined);
            [Some(joined), state.away.clone()].into_iter().flatten().collect()
        };
        state.had_stream = true;
        self.count(|tally| {
            tally.dropped.add(dropped);
            tally.resumed.add(u64::from(known.is_some()));
            tally.takeovers.add(u64::from(former.is_some()));
        });
        let place = self.add(state, Kind::Stream, start, hangup);
        Stream { place, first, start, former }
    }

    fn joined(&self, state: &State, resumed: bool, dropped: u64) -> Notice {
        let data = format!(
            r#"{{"type":"joined","id":{},"session_id":"{}","resumed":{resumed},"dropped":{dropped},"channels":{}}}"#,
            quoted(&self.path),
            self.id,
            state.channels.states_json()
        );
        Notice { name: None, data: data.into() }
    }
}
