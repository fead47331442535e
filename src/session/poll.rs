//! Polls: how one joins a session, and what its reply carries ("Long polls" in `src/api.md`).
//!
//! Owns: acknowledgement, `poll-queue`, and how one poll replaces another.
//! Never: does I/O; what a poll goes on from is in the session, not in the poll.

use super::join::{JoinRequest, Kind, ListenerClient, Start};
use super::listeners::{Listener, ListenerHandle, NotJoined};
use super::{EndReason, Phase, Session, State};
use crate::mailbox::{Notice, Placed};
use crate::memory::{Held, ROOM_PAUSE, Share};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Bytes of messages in one answer, the first message whatever its size; the next poll brings the rest, at once. A network that
/// cuts long answers would else never let a backlog through. The last answer of a session has all that there is.
const ANSWER_BYTES: usize = 64 * 1024;

/// `poll-queue` where no poll says one.
pub const POLL_QUEUE_DEFAULT: usize = 32;

pub(super) struct PollState {
    /// The last place that a reply carried or that was acknowledged.
    pub acked: u64,
    /// `poll-queue`: messages that a poll without `after` returns at most; older ones it reports as dropped.
    pub queue: usize,
    /// The last `upstream` event, until a reply has carried it.
    pub upstream: Option<Notice>,
}

/// One waiting long poll's place in a session.
pub struct Poll {
    pub handle: ListenerHandle,
    /// Where it goes on; `None`, without `after`: at `PollState::acked`.
    after: Option<u64>,
    /// What its client had when it joined.
    joined_at: u64,
}

/// What a poll's thread does next.
pub enum PollStep {
    Answer(PollReply),
    /// Look again when it is woken, and at this time, if there is one.
    Wait(Option<Instant>),
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
    /// The `upstream` event that is in it.
    told: Option<Arc<str>>,
    _share: Share,
}

impl Poll {
    /// Looks whether there is an answer; from `forced_at` on an empty one will do.
    pub fn look(&self, now: Instant, forced_at: Option<Instant>) -> PollStep {
        let forced = forced_at.is_some_and(|at| at <= now);
        let mut state = self.handle.look();
        let over = state.has_ended();
        let listener = &self.handle.listener;
        if listener.has_left() {
            return PollStep::Left;
        }
        match listener.replaced.get() {
            Some(at) if !forced && !over && now < *at => return PollStep::Wait(Some(*at)),
            Some(_) => return PollStep::Answer(self.replaced(&state)),
            None => {}
        }
        // What the poll before this one is writing is not for this one, unless that write fails. Until it has ended there is only
        // an empty answer, and none at the end of the session, which may have something left.
        let is_answering = |one: &Arc<Listener>| one.answering.load(Ordering::SeqCst);
        let busy = self.after.is_none() && state.listeners.list.iter().any(is_answering);
        let drained = matches!(state.phase, Phase::Ended(EndReason::Drained));
        if busy && !drained && (over || !forced) {
            return PollStep::Wait(forced_at.filter(|at| *at > now));
        }
        let cursor = self.cursor(&state);
        let start = if busy { cursor } else { self.start(&state) };
        let news = state.mailbox.last() > start;
        let tunnel_news = state.tunnel.as_ref().is_some_and(|tunnel| tunnel.wants_answer());
        if news || forced || over || tunnel_news {
            let bytes_max = if over { usize::MAX } else { ANSWER_BYTES };
            let news = state.mailbox.first_after(start, bytes_max);
            let events: Vec<_> = news.filter(|_| !busy).collect();
            let Some(share) = self.room_for(events.iter().map(|(_, event)| event.len()).sum())
            else {
                return PollStep::Wait(Some(now + ROOM_PAUSE));
            };
            let reply = self.reply(&state, (cursor, start), &events, share);
            listener.answering.store(true, Ordering::SeqCst);
            if self.after.is_none() {
                state.mailbox.set_cursor(listener.key, reply.carried);
            }
            return PollStep::Answer(reply);
        }
        PollStep::Wait(forced_at)
    }

    /// The reply was written: what it carried is not for the next one.
    pub fn written(self, reply: &PollReply) {
        let session = &self.handle.session;
        let stats = &session.table.stats;
        stats.delivered.add(reply.messages);
        stats.delivered_bytes.add(reply.bytes);
        stats.dropped.add(reply.dropped);
        let mut state = session.lock();
        if let Some(tunnel) = &mut state.tunnel {
            tunnel.announced = true;
        }
        state.polls.acked = state.polls.acked.max(reply.carried);
        // One that came meanwhile is for the next reply.
        let told = |new: &mut Notice| reply.told.iter().any(|told| Arc::ptr_eq(told, &new.data));
        state.polls.upstream.take_if(told);
        if self.after.is_none() {
            // Of a poll with `after` only what it acknowledges counts.
            state.mailbox.set_delivered(reply.carried);
        }
    }

    /// The last place that this poll's client has, or that is gone.
    fn start(&self, state: &State) -> u64 {
        let cursor = self.cursor(state);
        // A tunnel never skips, and a poll that acknowledges is bound by `--max-queue` alone.
        let unbound = self.after.is_some() || state.tunnel.is_some();
        let queue = if unbound { u64::MAX } else { state.polls.queue as u64 };
        let kept = state.mailbox.last().saturating_sub(queue);
        cursor.max(kept).max(cursor + state.mailbox.missed(cursor))
    }

    fn cursor(&self, state: &State) -> u64 {
        self.after.unwrap_or(state.polls.acked)
    }

    /// The answer of a poll whose place another has: nothing has moved since it joined.
    fn replaced(&self, state: &State) -> PollReply {
        let share = self.handle.session.table.budget.share(Held::Answers);
        let empty = self.reply(state, (self.joined_at, self.joined_at), &[], share);
        PollReply { carried: 0, told: None, ..empty }
    }

    /// Room for an answer with so many bytes of messages, which is copied once on its way out.
    fn room_for(&self, bytes: usize) -> Option<Share> {
        let budget = &self.handle.session.table.budget;
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
        let session = &self.handle.session;
        let mut json = match &state.tunnel {
            Some(tunnel) => session.tunnel_reply(state, tunnel, events, carried),
            None => session.cable_reply(state, events, dropped, carried),
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
            told: state.polls.upstream.as_ref().map(|notice| Arc::clone(&notice.data)),
            _share: share,
        }
    }
}

impl Session {
    fn cable_reply(
        &self,
        state: &State,
        events: &[Placed<'_>],
        dropped: u64,
        carried: u64,
    ) -> String {
        let upstream = match &state.phase {
            Phase::Ended(EndReason::ForGood { told, .. }) => Some(told),
            _ => state.polls.upstream.as_ref(),
        };
        let session_id = format!(r#""session_id":"{}","#, self.id);
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
            r#"],{session_id}"dropped":{dropped},"queue_length":{},"channels":{},"last_event_id":"{}{carried}","upstream":{}}}"#,
            state.mailbox.last() - carried,
            state.channels.ids_json(),
            self.event_id_prefix(),
            upstream.map_or("null", |notice| &notice.data),
        );
        json
    }

    /// Joins a poll.
    pub(super) fn join_poll(
        self: &Arc<Self>,
        request: &JoinRequest,
        client: &Arc<dyn ListenerClient>,
    ) -> Result<Poll, NotJoined> {
        let start = request.start;
        let mut state = self.lock_for(&**client)?;
        if state.would_skip(self, start, state.polls.acked) {
            return Err(self.gone(state, start));
        }
        let proven = self.own_place(start, &state);
        let reuse = self.table.rules.reuse && !self.is_tunnel;
        let in_the_way = |one: &&Arc<Listener>| one.is_here() && (one.kind == Kind::Poll || !reuse);
        let present = state.listeners.list.iter().find(in_the_way).cloned();
        let anothers = |one: &&Arc<Listener>| one.kind == Kind::Stream && proven.is_none();
        if let Some(stream) = present.as_ref().filter(anothers) {
            return Err(NotJoined::Taken(Arc::clone(stream)));
        }
        let acknowledged = match start {
            Start::Number(place) if place <= state.mailbox.last() => Some(place),
            _ => proven,
        };
        let goes_on = acknowledged.is_some() && start != Start::Number(0);
        state.subscribe_from_url(self, request, goes_on)?;
        state.polls.queue = request.queue.unwrap_or(state.polls.queue);
        acknowledged.into_iter().for_each(|place| state.acknowledge(place));
        let after = (start != Start::Fresh).then_some(acknowledged.unwrap_or(0));
        let joined_at = after.unwrap_or(state.polls.acked);
        let cursor = acknowledged.unwrap_or(state.polls.acked);
        let handle = self.add(&mut state, Kind::Poll, cursor, client, present);
        Ok(Poll { handle, after, joined_at })
    }
}

impl State {
    /// A poll's client has everything up to `place`: forgotten at once where only polls listen; a stream may come back for it.
    fn acknowledge(&mut self, place: u64) {
        self.polls.acked = self.polls.acked.max(place);
        self.mailbox.set_delivered(place);
        if !self.listeners.had_stream {
            self.mailbox.forget_through(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::{Client, session};

    fn poll(session: &Arc<Session>) -> Poll {
        let client: Arc<dyn ListenerClient> = Arc::new(Client);
        let handle = session.add(&mut session.lock(), Kind::Poll, 0, &client, None);
        Poll { handle, after: None, joined_at: 0 }
    }

    fn answer(poll: &Poll, forced_at: Option<Instant>) -> PollReply {
        match poll.look(Instant::now(), forced_at) {
            PollStep::Answer(reply) => reply,
            PollStep::Wait(_) | PollStep::Left => panic!("it has no answer"),
        }
    }

    #[test]
    fn what_a_reply_failed_to_bring_is_in_the_last_one_of_a_session_that_ends_meanwhile() {
        let session = session();
        let (failing, last) = (poll(&session), poll(&session));
        session.lock().mailbox.push(&["1"]);
        assert_eq!(answer(&failing, None).carried, 1);
        session.lock().mailbox.push(&["2"]);
        session.end_if(EndReason::Dropped("it ended"), |_| true);
        let now = Instant::now();
        assert!(matches!(last.look(now, Some(now)), PollStep::Wait(None)));

        drop(failing);

        assert!(last.handle.wait(Instant::now()), "it was not woken");
        let reply = answer(&last, None);
        assert_eq!((reply.carried, reply.messages, reply.dropped), (2, 2, 0));
    }

    #[test]
    fn what_a_reply_brings_is_neither_in_the_next_one_nor_dropped_there() {
        let session = session();
        session.lock().polls.queue = 1;
        let (writing, next) = (poll(&session), poll(&session));
        session.lock().mailbox.push(&["1"]);
        let reply = answer(&writing, None);
        session.lock().mailbox.push(&["2"]);
        let empty = answer(&next, Some(Instant::now()));
        assert_eq!((empty.carried, empty.messages, empty.dropped), (0, 0, 0));

        writing.written(&reply);
        next.written(&empty);

        assert_eq!(session.lock().polls.acked, 1);
    }

    #[test]
    fn an_upstream_event_that_comes_while_a_reply_is_written_is_for_the_next_one() {
        let session = session();
        let poll = poll(&session);
        let comes = |reason| {
            session.lock().polls.upstream = Some(session.lost_notice(reason, true));
        };

        comes("first");
        let reply = answer(&poll, Some(Instant::now()));
        comes("second");
        poll.written(&reply);

        let left = session.lock().polls.upstream.clone();
        assert!(left.is_some_and(|notice| notice.data.contains("second")));
    }
}
