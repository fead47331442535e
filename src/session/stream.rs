//! Streams: how one joins a session, and what its thread is given to write ("Streams" in `src/api.md`).
//!
//! Owns: the first event (`joined`, or a tunnel's `open`), and where a stream starts.
//! Never: does I/O; `sse` writes what `next` returns.

use super::join::{JoinRequest, Kind, ListenerClient, Start};
use super::listeners::{ListenerHandle, NotJoined};
use super::tunnel::{OVERFLOWED, close_notice};
use super::{EndReason, Phase, Session, State};
use crate::frame::quoted;
use crate::mailbox::{Next, Notice};
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
    /// Write what the mailbox has, or wait; with a share of the memory while a large event is written.
    Next(Next, Option<Share>),
    /// Say so, and end.
    Replaced,
    /// The bridge stops: say when to come back, and end.
    Drained,
    /// The session is over, or the client has gone: say this, if anything, and end.
    Over(Option<Notice>),
    /// A tunnel's upstream closed: say so at this place, call `end_closed`, and end.
    Closed(u64, Notice),
}

impl Stream {
    /// What to do next; what it returned before counts as written.
    pub fn next(&self) -> Step {
        let session = &self.handle.session;
        let mut state = self.handle.look();
        let listener = &self.handle.listener;
        state.mailbox.confirm(listener.key);
        if listener.has_left() {
            return Step::Over(None);
        }
        if listener.replaced.get().is_some() {
            return Step::Replaced;
        }
        let mut share = None;
        // Twice: a raw stream's text is written from a copy. Of the large ones one may always go on.
        let has_room = |bytes: usize| {
            let share = share.insert(session.table.budget.share(Held::writes(bytes)));
            share.try_set_or_alone(2 * bytes)
        };
        let next = state.mailbox.next(listener.key, has_room);
        match &next {
            Next::Events { missed: 1.., .. } if session.is_tunnel => {
                return Step::Over(Some(close_notice(1013, OVERFLOWED)));
            }
            Next::Events { missed, events } => {
                drop(state);
                let stats = &session.table.stats;
                stats.dropped.add(*missed);
                stats.delivered.add(events.len() as u64);
                stats.delivered_bytes.add(events.bytes() as u64);
            }
            Next::Nothing => return state.last_step(),
            Next::NoRoom | Next::Notice { .. } => {}
        }
        Step::Next(next, share)
    }
}

impl State {
    /// What a stream does that has written everything.
    fn last_step(&self) -> Step {
        match &self.phase {
            Phase::Ended(EndReason::ForGood { told, .. }) => Step::Over(Some(told.clone())),
            Phase::Ended(EndReason::Drained) => Step::Drained,
            Phase::Ended(_) => Step::Over(None),
            _ => match self.tunnel.as_ref().and_then(|tunnel| tunnel.close.clone()) {
                Some(notice) => Step::Closed(self.mailbox.last() + 1, notice),
                None => Step::Next(Next::Nothing, None),
            },
        }
    }
}

impl Session {
    /// Joins a stream. One that proves by its event id that the place is its own takes it over.
    pub(super) fn join_stream(
        self: &Arc<Self>,
        request: &JoinRequest,
        client: &Arc<dyn ListenerClient>,
    ) -> Result<Stream, NotJoined> {
        let mut state = self.lock_for(&**client)?;
        let reuse = self.table.rules.reuse && !self.is_tunnel;
        // A request that opens a session ignores its `after`.
        let start = if state.awaits_opener { Start::Fresh } else { request.start };
        let skips = state.would_skip(self, start, state.mailbox.handed_out());
        if skips && start != Start::Fresh {
            return Err(self.gone(state, start));
        }
        let proven = self.own_place(start, &state);
        // Whose place it needs.
        let present = state.listeners.list.iter().find(|one| one.is_here()).cloned();
        if let Some(present) = present.as_ref().filter(|_| !reuse && proven.is_none()) {
            return Err(NotJoined::Taken(Arc::clone(present)));
        }
        let resumed = match start {
            Start::Number(place) if present.is_none() => Some(place),
            _ => proven,
        };
        if !reuse && resumed.is_none() && state.listeners.had_stream {
            return Err(NotJoined::Reload);
        }
        if skips {
            return Err(self.gone(state, start));
        }
        // A number too high is of another session: start with the oldest, as for 0.
        let known = resumed.filter(|place| *place <= state.mailbox.last());
        let goes_on = known.is_some() && start != Start::Number(0);
        state.subscribe_from_url(self, request, goes_on)?;
        let fresh = if resumed.is_some() { 0 } else { state.mailbox.handed_out() };
        let cursor = known.unwrap_or(fresh);
        let dropped = state.mailbox.missed(cursor);
        self.table.stats.resumed.add(u64::from(known.is_some()));
        self.table.stats.dropped.add(dropped);
        let first = self.first_events(&mut state, known.is_some(), dropped);
        let (start, replaced) = (cursor + dropped, present.filter(|_| !reuse));
        let handle = self.add(&mut state, Kind::Stream, start, client, replaced);
        Ok(Stream { handle, first, start })
    }

    /// What a stream that joins is told; in a managed session each other listener is told `joined` too.
    fn first_events(&self, state: &mut State, resumed: bool, dropped: u64) -> Vec<Notice> {
        if let Some(tunnel) = &state.tunnel {
            return vec![tunnel.open_notice(&self.id, resumed)];
        }
        let channels = state.channels.states_json();
        let data = format!(
            r#"{{"type":"joined","id":{},"session_id":"{}","resumed":{resumed},"dropped":{dropped},"channels":{channels}}}"#,
            quoted(&self.path),
            self.id,
        );
        let joined = Notice { name: None, data: data.into() };
        state.mailbox.tell(&joined);
        [Some(joined), state.away.clone()].into_iter().flatten().collect()
    }
}
