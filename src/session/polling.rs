//! Polls: how one joins a session, and what its reply carries.
//!
//! Owns: acknowledgement, `poll-queue`, and how one poll replaces another.
//! Never: does I/O; what a poll goes on from is in the session, not in the poll.

use super::listener::{Fate, Former, Join, Kind, Place, Present, Start, leaver};
use super::tally::bytes;
use super::{Over, Phase, Session, State};
use crate::gate::Hangup;
use crate::mailbox::Placed;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a poll that was replaced by another waits before it answers: two pollers that share an id do not chase each
/// other.
const REPLACED_POLL_WAIT: Duration = Duration::from_secs(1);

/// Bytes of messages in one answer, the first whatever its size: a network that cuts each connection after so many lets a long
/// backlog through in pieces all the same. The next poll brings the rest, at once. What ends with its session comes whole.
const ANSWER_BYTES: usize = 64 * 1024;

/// One waiting long poll's place in a session.
pub struct Poll {
    place: Place,
    /// With `after`: the place to go on from. Without: where the last reply ended.
    after: Option<u64>,
    former: Option<Former>,
}

/// What a poll's thread does next.
pub enum PollStep {
    Answer(Reply),
    Wait,
    /// Answer empty at this time; nothing else comes.
    AnswerAt(Instant),
    Left,
}

/// A poll's answer, and what of the session it carries.
pub struct Reply {
    pub json: String,
    carried: u64,
    messages: u64,
    /// Of these messages.
    bytes: u64,
    dropped: u64,
    /// The `upstream` event is in it.
    told: bool,
}

impl Poll {
    /// The session's id, for `X-Session-Id`.
    pub fn session_id(&self) -> String {
        self.place.session.id.clone()
    }

    /// Looks whether there is an answer; `forced` makes an empty one if there is nothing.
    pub fn look(&self, forced: bool) -> PollStep {
        let mut state = self.place.look();
        let over = matches!(state.phase, Phase::Over(_));
        match state.fate(self.place.key) {
            Some(Fate::Left) | None => return PollStep::Left,
            Some(Fate::ReplacedByPoll(at)) if !forced && !over => {
                return PollStep::AnswerAt(at + REPLACED_POLL_WAIT);
            }
            Some(Fate::ReplacedByPoll(_) | Fate::Replaced) => {
                let empty = self.reply(&state, None);
                return PollStep::Answer(Reply { carried: 0, dropped: 0, told: false, ..empty });
            }
            Some(Fate::Here) => {}
        }
        // What the poll before this one is writing is not for this one, unless that write fails.
        let busy = self.after.is_none() && state.somebody_answers();
        let news = !busy && state.mailbox.last() > self.start(&state);
        if news || forced || over || state.tunnel.wants_answer(self.place.session.tunnel) {
            let bytes_max = if over { usize::MAX } else { ANSWER_BYTES };
            let reply = self.reply(&state, (!busy).then_some(bytes_max));
            state.set_answering(self.place.key);
            if self.after.is_none() {
                state.mailbox.set_cursor(self.place.key, reply.carried);
            }
            return PollStep::Answer(reply);
        }
        PollStep::Wait
    }

    /// The answer that this poll gives when its time is up; `None`: its client has gone.
    pub fn forced(&self) -> Option<Reply> {
        match self.look(true) {
            PollStep::Answer(reply) => Some(reply),
            _ => None,
        }
    }

    /// Waits until there is something to look at, at most until `deadline`.
    pub fn wait(&self, deadline: Instant) {
        self.place.wait(deadline);
    }

    /// The reply was written: what it carried is not for the next one.
    pub fn written(self, reply: &Reply) {
        self.place.session.count(|tally| {
            tally.delivered.add(reply.messages);
            tally.delivered_bytes.add(reply.bytes);
            tally.dropped.add(reply.dropped);
        });
        let mut state = self.place.session.lock();
        state.tunnel.announced = true;
        state.polled.carried = state.polled.carried.max(reply.carried);
        if reply.told {
            state.polled.upstream = None;
        }
        if self.after.is_none() {
            // Of a poll with `after` only what it acknowledges counts.
            state.mailbox.set_sent(reply.carried);
        }
    }

    /// Makes sure that a stream whose place this is has gone.
    pub fn evict_former(&mut self) {
        if let Some(former) = self.former.take() {
            former.must_leave();
        }
    }

    /// What the gate calls when the client has gone.
    pub fn leaver(&self) -> impl Fn() + Send + Sync + 'static {
        leaver(&self.place)
    }

    /// The last place that this poll's client has, or that is gone.
    fn start(&self, state: &State) -> u64 {
        let cursor = self.cursor(state);
        // A tunnel never skips, and who acknowledges is bound by `--max-queue` alone.
        let unbound = self.after.is_some() || self.place.session.tunnel;
        let queue = if unbound { u64::MAX } else { state.polled.queue as u64 };
        let kept = state.mailbox.last().saturating_sub(queue);
        cursor.max(kept).max(cursor + state.mailbox.missed(cursor))
    }

    fn cursor(&self, state: &State) -> u64 {
        self.after.unwrap_or(state.polled.carried)
    }

    /// The answer, with so many bytes of messages or one of them; `None`: with none.
    fn reply(&self, state: &State, bytes_max: Option<usize>) -> Reply {
        let start = self.start(state);
        let mut size = 0;
        let fits = |(_, event): &Placed<'_>| {
            let is_first = size == 0;
            size += event.len();
            bytes_max.is_some_and(|max| is_first || size <= max)
        };
        let events: Vec<Placed<'_>> = state.mailbox.after(start).take_while(fits).collect();
        let carried = events.last().map_or(start, |(place, _)| *place);
        let session = &self.place.session;
        let (mut json, told) = if session.tunnel {
            (session.tunnel_reply(state, &events, carried), false)
        } else {
            self.cable_reply(state, &events, start, carried)
        };
        // For those who read it in a terminal.
        json.push('\n');
        let dropped = start - self.cursor(state);
        let messages = events.len() as u64;
        Reply { json, carried, messages, bytes: bytes(events.into_iter()), dropped, told }
    }

    fn cable_reply(
        &self,
        state: &State,
        events: &[Placed<'_>],
        start: u64,
        carried: u64,
    ) -> (String, bool) {
        let session = &self.place.session;
        let upstream = match &state.phase {
            Phase::Over(Over::Ended { told, .. }) => Some(told),
            _ => state.polled.upstream.as_ref(),
        };
        let session_id = format!(r#""session_id":"{}","#, session.id);
        let messages: Vec<String> =
            events.iter().map(|(_, event)| event.replacen(&session_id, "", 1)).collect();
        let json = format!(
            r#"{{"messages":[{}],{session_id}"dropped":{},"queue_length":{},"channels":{},"last_event_id":"{}{carried}","upstream":{}}}"#,
            messages.join(","),
            start - self.cursor(state),
            state.mailbox.last() - carried,
            state.channels.ids_json(),
            session.event_id_prefix(),
            upstream.map_or("null", |notice| &notice.data),
        );
        (json, upstream.is_some())
    }
}

impl Session {
    /// Joins a poll; `queue` is its `poll-queue`, if it says one.
    pub(super) fn join_poll(
        self: &Arc<Self>,
        start: &Start,
        queue: Option<usize>,
        reuse: bool,
        hangup: Hangup,
    ) -> Join<Poll> {
        let reuse = reuse && !self.tunnel;
        let mut state = self.lock();
        if matches!(state.phase, Phase::Over(_)) {
            return Join::Over;
        }
        if self.tunnel && !state.tunnel_resumes(self, start, state.polled.carried) {
            return Join::Gone;
        }
        let proven = self.own_place(start, &state);
        let in_the_way =
            |present: &&Present| present.is_here() && (present.kind == Kind::Poll || !reuse);
        let mut former = None;
        match state.present.iter().find(in_the_way).map(|present| (present.key, present.kind)) {
            Some((key, Kind::Poll)) => state.sentence(key, Fate::ReplacedByPoll(Instant::now())),
            Some((_, Kind::Stream)) if proven.is_some() => former = state.replace_first(self),
            Some((key, Kind::Stream)) => {
                return state
                    .find(key)
                    .map_or(Join::Over, |present| Join::Taken(self.former(present)));
            }
            None => {}
        }
        state.polled.queue = queue.unwrap_or(state.polled.queue);
        let acknowledged = match start {
            Start::Number(place) if *place <= state.mailbox.last() => Some(*place),
            _ => proven,
        };
        if let Some(place) = acknowledged {
            state.acknowledge(place);
            self.note_kept(&state);
        }
        self.count(|tally| tally.takeovers.add(u64::from(former.is_some())));
        let after = match start {
            Start::Fresh => None,
            _ => Some(acknowledged.unwrap_or(0)),
        };
        let cursor = acknowledged.unwrap_or(state.polled.carried);
        let place = self.add(&mut state, Kind::Poll, cursor, hangup);
        Join::Joined(Poll { place, after, former })
    }
}

impl State {
    /// A poll's client has everything up to `place`. Where only polls listen it is forgotten at once; a stream may still
    /// have to come back for it.
    fn acknowledge(&mut self, place: u64) {
        self.polled.carried = self.polled.carried.max(place);
        self.mailbox.set_sent(place);
        if !self.had_stream {
            self.mailbox.forget_through(place);
        }
    }
}
