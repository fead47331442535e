//! Streams: how one joins a session, and what its thread is given to write.
//!
//! Owns: the first event (`joined`, or a tunnel's `open`), and where a stream starts.
//! Never: does I/O; `sse` writes what `next` returns.

use super::join::{ClientConnection, JoinRequest, Start};
use super::listeners::{Displaced, Kind, ListenerHandle, ListenerState, NotJoined};
use super::{EndReason, Mode, Phase, Session, State, tunnel};
use crate::frame::quoted;
use crate::mailbox::{Batch, Next, Notice};
use crate::memory::{Held, Share};
use std::sync::Arc;

/// One SSE stream's place in a session.
pub struct Stream {
    pub handle: ListenerHandle,
    /// What is told before anything else, all at the place that the stream starts from.
    pub first: Vec<Notice>,
    pub start: u64,
}

/// What a stream's thread does next.
pub enum Step {
    /// Say how many are gone, then write these.
    Events {
        missed: u64,
        events: Batch,
        /// Of the memory, while a large one is written.
        share: Option<Share>,
    },
    /// Write this, with this place.
    Notice(u64, Notice),
    /// Wait.
    Nothing,
    /// There is a large event, and no memory to write it from: look again in a moment.
    NoRoom,
    /// Say so, and end.
    Replaced,
    /// The bridge stops: say when to come back, and end.
    Drained,
    /// The session is over: say this, if anything, and end.
    Over(Option<Notice>),
    /// A tunnel's upstream closed: say so at this place, call `close_told`, and end.
    Closed(u64, Notice),
    Left,
}

impl Stream {
    /// The part of every event id before the place.
    pub fn event_id_prefix(&self) -> String {
        self.handle.session.event_id_prefix()
    }

    /// What to do next; what it returned before counts as written.
    pub fn next(&self) -> Step {
        let session = &self.handle.session;
        let mut state = self.handle.look();
        state.mailbox.confirm(self.handle.key);
        match state.listeners.find(self.handle.key).map(|listener| listener.state()) {
            Some(ListenerState::Left) | None => return Step::Left,
            Some(ListenerState::Here) => {}
            Some(_) => return Step::Replaced,
        }
        let mut share = None;
        // Twice: a raw stream's text is written from a copy. Of the large ones one may always go on.
        let has_room = |bytes: usize| {
            let share = share.insert(session.budget.share(Held::Writes));
            share.try_set_or_alone(2 * bytes)
        };
        match state.mailbox.next(self.handle.key, has_room) {
            Next::Events { missed, .. } if missed > 0 && state.tunnel().is_some() => {
                Step::Over(Some(tunnel::overflowed()))
            }
            Next::Events { missed, events } => {
                drop(state);
                session.stats.dropped.add(missed);
                session.stats.delivered.add(events.len() as u64);
                session.stats.delivered_bytes.add(events.bytes() as u64);
                Step::Events { missed, events, share }
            }
            Next::NoRoom => Step::NoRoom,
            Next::Nothing => state.last_step(),
            Next::Notice { place, notice } => Step::Notice(place, notice),
        }
    }

    /// The tunnel's `close` was written: the session is over.
    pub fn close_told(&self) {
        self.handle.session.end_closed();
    }
}

impl State {
    /// What a stream does that has written everything.
    fn last_step(&self) -> Step {
        match &self.phase {
            Phase::Ended(EndReason::ForGood { told, .. }) => Step::Over(Some(told.clone())),
            Phase::Ended(EndReason::Drained) => Step::Drained,
            Phase::Ended(_) => Step::Over(None),
            _ => match self.tunnel().and_then(|tunnel| tunnel.close.clone()) {
                Some(notice) => Step::Closed(self.mailbox.last() + 1, notice),
                None => Step::Nothing,
            },
        }
    }
}

impl Session {
    /// Joins a stream. One that proves by its event id that the place is its own takes it over. `opened`: by this request.
    pub(super) fn join_stream(
        self: &Arc<Self>,
        request: &JoinRequest,
        opened: bool,
        client: &Arc<dyn ClientConnection>,
    ) -> Result<Stream, NotJoined> {
        let mut state = self.lock_to_join(client)?;
        let reuse = self.rules.reuse && state.tunnel().is_none();
        // What opens a session goes on from nowhere, whatever it says.
        let start = if opened { Start::Fresh } else { request.start };
        if state.would_skip(self, start, state.mailbox.handed_out()) && start != Start::Fresh {
            return Err(NotJoined::Gone);
        }
        let proven = self.own_place(start, &state);
        let present = state.listeners.first();
        if let Some(present) = present.filter(|_| !reuse && proven.is_none()) {
            return Err(NotJoined::Taken(self.displaced(present)));
        }
        let resumed = match start {
            Start::Number(place) if present.is_none() => Some(place),
            _ => proven,
        };
        if !reuse && resumed.is_none() && state.listeners.had_stream {
            return Err(NotJoined::Reload);
        }
        if state.would_skip(self, start, state.mailbox.handed_out()) {
            return Err(NotJoined::Gone);
        }
        // A number too high is of another session: start with the oldest, as for 0.
        let known = resumed.filter(|place| *place <= state.mailbox.last());
        let goes_on = known.is_some() && start != Start::Number(0);
        state.subscribe_from_url(self, request, opened, goes_on)?;
        let displaced = if reuse { None } else { self.replace_first(&mut state) };
        let fresh = if resumed.is_some() { 0 } else { state.mailbox.handed_out() };
        let cursor = known.unwrap_or(fresh);
        self.stats.resumed.add(u64::from(known.is_some()));
        self.stats.takeovers.add(u64::from(displaced.is_some()));
        Ok(self.add_stream(&mut state, cursor, known.is_some(), client, displaced))
    }

    fn add_stream(
        self: &Arc<Self>,
        state: &mut State,
        cursor: u64,
        resumed: bool,
        client: &Arc<dyn ClientConnection>,
        displaced: Option<Displaced>,
    ) -> Stream {
        let dropped = state.mailbox.missed(cursor);
        let first = match &state.mode {
            Mode::Tunnel(tunnel) => vec![tunnel.open(&self.id, resumed)],
            Mode::Managed(channels) => {
                let joined = self.joined(&channels.states_json(), resumed, dropped);
                state.mailbox.tell(&joined);
                [Some(joined), state.away.clone()].into_iter().flatten().collect()
            }
        };
        self.stats.dropped.add(dropped);
        state.listeners.had_stream = true;
        let start = cursor + dropped;
        let handle = self.add(state, Kind::Stream, start, client, displaced);
        Stream { handle, first, start }
    }

    fn joined(&self, channels: &str, resumed: bool, dropped: u64) -> Notice {
        let data = format!(
            r#"{{"type":"joined","id":{},"session_id":"{}","resumed":{resumed},"dropped":{dropped},"channels":{channels}}}"#,
            quoted(&self.path),
            self.id,
        );
        Notice { name: None, data: data.into() }
    }
}
