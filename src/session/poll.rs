//! Polls: how one joins a session, and what its reply carries.
//!
//! Owns: acknowledgement, `poll-queue`, and how one poll replaces another.
//! Never: does I/O; what a poll goes on from is in the session, not in the poll.

use super::join::{ClientConnection, JoinRequest, Start};
use super::listeners::{Displaced, Kind, Listener, ListenerHandle, ListenerState, NotJoined};
use super::{EndReason, Mode, Phase, Session, State};
use crate::mailbox::{Notice, Placed};
use crate::memory::{Held, Share};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a poll that was replaced by another waits before it answers: two pollers that share an id do not chase each
/// other.
const REPLACED_POLL_WAIT: Duration = Duration::from_secs(1);

/// Bytes of messages in one answer, the first whatever its size: a network that cuts each connection after so many lets a long
/// backlog through in pieces all the same. The next poll brings the rest, at once. What ends with its session comes whole.
const ANSWER_BYTES: usize = 64 * 1024;

/// Messages that a session keeps for a poller that does not say (`poll-queue`).
pub const POLL_QUEUE_DEFAULT: usize = 32;

pub(super) struct PollState {
    /// The last place that a reply carried or that was acknowledged.
    pub acked: u64,
    /// `poll-queue`: how many messages a poll without `after` finds at most.
    pub queue: usize,
    /// The last `upstream` event, until a reply has carried it.
    pub upstream: Option<Notice>,
}

/// One waiting long poll's place in a session.
pub struct Poll {
    pub handle: ListenerHandle,
    /// With `after`: the place to go on from. Without: where the last reply ended.
    after: Option<u64>,
    /// What its client had when it joined.
    joined_at: u64,
}

/// What a poll's thread does next.
pub enum PollStep {
    Answer(PollReply),
    Wait,
    /// There is an answer, and no memory for it: look again in a moment.
    NoRoom,
    /// Answer empty at this time; nothing else comes.
    AnswerAt(Instant),
    Left,
}

/// A poll's answer, and what of the session it carries.
pub struct PollReply {
    pub json: String,
    carried: u64,
    messages: u64,
    /// Of these messages.
    bytes: u64,
    dropped: u64,
    /// The `upstream` event is in it.
    told: bool,
    _share: Share,
}

impl Poll {
    /// Looks whether there is an answer; `forced` makes an empty one if there is nothing.
    pub fn look(&self, forced: bool) -> PollStep {
        let mut state = self.handle.look();
        let over = matches!(state.phase, Phase::Ended(_));
        match state.listeners.find(self.handle.key).map(|listener| listener.state()) {
            Some(ListenerState::Left) | None => return PollStep::Left,
            Some(ListenerState::ReplacedByPoll(at)) if !forced && !over => {
                return PollStep::AnswerAt(at + REPLACED_POLL_WAIT);
            }
            Some(ListenerState::ReplacedByPoll(_) | ListenerState::Replaced) => {
                return PollStep::Answer(self.replaced(&state));
            }
            Some(ListenerState::Here) => {}
        }
        // What the poll before this one is writing is not for this one, unless that write fails.
        let busy = self.after.is_none() && state.listeners.is_answering();
        let news = !busy && state.mailbox.last() > self.start(&state);
        let tunnel_news = state.tunnel().is_some_and(|tunnel| tunnel.wants_answer());
        if news || forced || over || tunnel_news {
            let bytes_max = if over { usize::MAX } else { ANSWER_BYTES };
            let bytes_max = (!busy).then_some(bytes_max);
            let from = (self.cursor(&state), self.start(&state));
            let events = state.answer(from.1, bytes_max);
            let Some(share) = self.room_for(events.iter().map(|(_, event)| event.len()).sum())
            else {
                return PollStep::NoRoom;
            };
            let reply = self.reply(&state, from, &events, share);
            state.listeners.set_answering(self.handle.key);
            if self.after.is_none() {
                state.mailbox.set_cursor(self.handle.key, reply.carried);
            }
            return PollStep::Answer(reply);
        }
        PollStep::Wait
    }

    /// The answer that this poll gives when its time is up; `None`: its client has gone.
    pub fn forced(&self) -> Option<PollReply> {
        match self.look(true) {
            PollStep::Answer(reply) => Some(reply),
            _ => None,
        }
    }

    /// The reply was written: what it carried is not for the next one.
    pub fn written(self, reply: &PollReply) {
        let session = &self.handle.session;
        session.stats.delivered.add(reply.messages);
        session.stats.delivered_bytes.add(reply.bytes);
        session.stats.dropped.add(reply.dropped);
        let mut state = session.lock();
        state.tunnel_mut().into_iter().for_each(|tunnel| tunnel.announced = true);
        state.polls.acked = state.polls.acked.max(reply.carried);
        if reply.told {
            state.polls.upstream = None;
        }
        if self.after.is_none() {
            // Of a poll with `after` only what it acknowledges counts.
            state.mailbox.set_delivered(reply.carried);
        }
    }

    /// The last place that this poll's client has, or that is gone.
    fn start(&self, state: &State) -> u64 {
        let cursor = self.cursor(state);
        // A tunnel never skips, and a poll that acknowledges is bound by `--max-queue` alone.
        let unbound = self.after.is_some() || state.tunnel().is_some();
        let queue = if unbound { u64::MAX } else { state.polls.queue as u64 };
        let kept = state.mailbox.last().saturating_sub(queue);
        cursor.max(kept).max(cursor + state.mailbox.missed(cursor))
    }

    fn cursor(&self, state: &State) -> u64 {
        self.after.unwrap_or(state.polls.acked)
    }

    /// The answer of a poll whose place another has: nothing has moved since it joined.
    fn replaced(&self, state: &State) -> PollReply {
        let share = self.handle.session.budget.share(Held::Answers);
        let empty = self.reply(state, (self.joined_at, self.joined_at), &[], share);
        PollReply { carried: 0, told: false, ..empty }
    }

    /// Room for an answer with so many bytes of messages, which is copied once on its way out.
    fn room_for(&self, bytes: usize) -> Option<Share> {
        let budget = &self.handle.session.budget;
        let mut share = budget.share(Held::Answers);
        // What is small waits for no other answer, and of the large ones one may always go on.
        if bytes > ANSWER_BYTES {
            return share.try_set_or_alone(2 * bytes).then_some(share);
        }
        share.set(2 * bytes);
        Some(share)
    }

    /// The answer to a client that has everything up to `cursor`, with these events, which come after `start`.
    fn reply(
        &self,
        state: &State,
        (cursor, start): (u64, u64),
        events: &[Placed<'_>],
        share: Share,
    ) -> PollReply {
        let carried = events.last().map_or(start, |(place, _)| *place);
        let dropped = start - cursor;
        let (mut json, told) = match &state.mode {
            Mode::Tunnel(tunnel) => {
                (self.handle.session.tunnel_reply(state, tunnel, events, carried), false)
            }
            Mode::Managed(channels) => {
                self.cable_reply(state, &channels.ids_json(), events, dropped, carried)
            }
        };
        // So that it can be read in a terminal.
        json.push('\n');
        let bytes = events.iter().map(|(_, event)| event.len() as u64).sum();
        PollReply {
            json,
            carried,
            messages: events.len() as u64,
            bytes,
            dropped,
            told,
            _share: share,
        }
    }

    fn cable_reply(
        &self,
        state: &State,
        channels: &str,
        events: &[Placed<'_>],
        dropped: u64,
        carried: u64,
    ) -> (String, bool) {
        let session = &self.handle.session;
        let upstream = match &state.phase {
            Phase::Ended(EndReason::ForGood { told, .. }) => Some(told),
            _ => state.polls.upstream.as_ref(),
        };
        let session_id = format!(r#""session_id":"{}","#, session.id);
        let mut json = r#"{"messages":["#.to_owned();
        for (at, (_, event)) in events.iter().enumerate() {
            json.push_str(if at > 0 { "," } else { "" });
            let (head, tail) = event.split_once(&session_id).unwrap_or((event, ""));
            json.reserve(event.len());
            json.push_str(head);
            json.push_str(tail);
        }
        // Writing to a String does not fail.
        let _ = write!(
            json,
            r#"],{session_id}"dropped":{dropped},"queue_length":{},"channels":{channels},"last_event_id":"{}{carried}","upstream":{}}}"#,
            state.mailbox.last() - carried,
            session.event_id_prefix(),
            upstream.map_or("null", |notice| &notice.data),
        );
        (json, upstream.is_some())
    }
}

impl Session {
    /// Joins a poll. `opened`: the session, by this request.
    pub(super) fn join_poll(
        self: &Arc<Self>,
        request: &JoinRequest,
        opened: bool,
        client: &Arc<dyn ClientConnection>,
    ) -> Result<Poll, NotJoined> {
        let start = request.start;
        let mut state = self.lock_to_join(client)?;
        if state.would_skip(self, start, state.polls.acked) {
            return Err(NotJoined::Gone);
        }
        let proven = self.own_place(start, &state);
        let reuse = self.rules.reuse && state.tunnel().is_none();
        let in_the_way = |one: &&Listener| one.is_here() && (one.kind == Kind::Poll || !reuse);
        let present = state.listeners.iter().find(in_the_way);
        let present = present.map(|present| (present.kind, self.displaced(present)));
        let displaced = match present {
            Some((Kind::Stream, present)) if proven.is_none() => {
                return Err(NotJoined::Taken(present));
            }
            present => present,
        };
        let last = state.mailbox.last();
        let goes_on = proven.is_some()
            || matches!(start, Start::Number(place) if (1..=last).contains(&place));
        state.subscribe_from_url(self, request, opened, goes_on)?;
        let displaced = displaced.and_then(|(kind, displaced)| {
            let mark = match kind {
                Kind::Stream => ListenerState::Replaced,
                Kind::Poll => ListenerState::ReplacedByPoll(Instant::now()),
            };
            state.mark(displaced.key, mark);
            (kind == Kind::Stream).then_some(displaced)
        });
        self.stats.takeovers.add(u64::from(displaced.is_some()));
        state.polls.queue = request.queue.unwrap_or(state.polls.queue);
        Ok(self.add_poll(&mut state, start, proven, client, displaced))
    }

    fn add_poll(
        self: &Arc<Self>,
        state: &mut State,
        start: Start,
        proven: Option<u64>,
        client: &Arc<dyn ClientConnection>,
        displaced: Option<Displaced>,
    ) -> Poll {
        let acknowledged = match start {
            Start::Number(place) if place <= state.mailbox.last() => Some(place),
            _ => proven,
        };
        acknowledged.into_iter().for_each(|place| state.acknowledge(place));
        let after = match start {
            Start::Fresh => None,
            _ => Some(acknowledged.unwrap_or(0)),
        };
        let joined_at = after.unwrap_or(state.polls.acked);
        let cursor = acknowledged.unwrap_or(state.polls.acked);
        let handle = self.add(state, Kind::Poll, cursor, client, displaced);
        Poll { handle, after, joined_at }
    }
}

impl State {
    /// What an answer carries of the messages after `start`: so many bytes, or one message; `None`: nothing.
    fn answer(&self, start: u64, bytes_max: Option<usize>) -> Vec<Placed<'_>> {
        let mut size = 0;
        let fits = |(_, event): &Placed<'_>| {
            let is_first = size == 0;
            size += event.len();
            bytes_max.is_some_and(|max| is_first || size <= max)
        };
        self.mailbox.after(start).take_while(fits).collect()
    }

    /// A poll's client has everything up to `place`. Where only polls listen it is forgotten at once; a stream may still
    /// have to come back for it.
    fn acknowledge(&mut self, place: u64) {
        self.polls.acked = self.polls.acked.max(place);
        self.mailbox.set_delivered(place);
        if !self.listeners.had_stream {
            self.mailbox.forget_through(place);
        }
    }
}
