//! The table of sessions: by path, opened once, ended once.
//!
//! Owns: who may open or use a session, expiry, what is remembered of sessions that were ended for good, the memory that
//! all of them may keep.
//! Never: holds its lock while it waits, or together with a session's.
//! At the limits: `--max-sessions` refuses, `--max-memory` makes the session that keeps most forget its oldest message.

use super::asks::{Denial, Opener, PollAsk, Rules, StreamAsk};
use super::bell::Bell;
use super::channels::Channels;
use super::graves::Graves;
use super::listener::{Former, Join, Start};
use super::polling::Poll;
use super::stream::Stream;
use super::tally::{Census, Tally};
use super::tunnel::Tunnel;
use super::{Over, Phase, Polled, Session, State, random_id};
use crate::gate::Hangup;
use crate::heap::Ebb;
use crate::mailbox::{Mailbox, Memory};
use crate::report::info;
use crate::upstream::{Connector, Counts, Owner};
use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// How often a request looks again when the session that it found ends under it. More than that is no accident.
const TRIES_MAX: usize = 8;

/// How long a stranger waits for the listener that is there to be gone before it is refused: a page that is reloaded
/// through a proxy is back before the proxy has closed the old stream.
const STRANGER_GRACE: Duration = Duration::from_millis(250);

/// The sweeper's pace: a quarter of the shortest lifetime, within these.
const SWEEP: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Bytes of an idle session on the heap, about: only to see when many have gone.
const SESSION_COST: usize = 16 * 1024;

/// A session that was found or opened for a stream, which has yet to join it.
pub struct Begun {
    session: Arc<Session>,
    /// By this stream.
    opened: bool,
}

/// All sessions of the process.
pub struct Table {
    pub(super) rules: Rules,
    connector: Arc<Connector>,
    memory: Arc<Memory>,
    draining: AtomicBool,
    /// Held for a look-up; never while a session's lock is.
    sessions: Mutex<HashMap<Box<str>, Arc<Session>>>,
    graves: Mutex<Graves>,
    tally: Tally,
}

impl Table {
    /// An empty table, and the thread that sweeps it for as long as it lives.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(rules: Rules, connector: Arc<Connector>) -> io::Result<Arc<Table>> {
        let graves = Graves::new(rules.sessions_max);
        let table = Arc::new(Table {
            connector,
            memory: Arc::default(),
            draining: AtomicBool::new(false),
            sessions: Mutex::default(),
            graves: Mutex::new(graves),
            tally: Tally::default(),
            rules,
        });
        let swept = Arc::downgrade(&table);
        let pace = (table.rules.session.min(table.rules.resume_window) / 4).clamp(SWEEP.0, SWEEP.1);
        let (never, ticks) = bounded(0);
        thread::Builder::new().name("sweeper".to_owned()).spawn(move || {
            let _never = never;
            sweep(&swept, &ticks, pace);
        })?;
        Ok(table)
    }

    /// Finds or opens the session of a stream, and does not wait. Apart from `join_stream`, so that it can run on a deep stack:
    /// what opening takes of one that then streams for hours stays resident, 4 KB a session.
    ///
    /// # Errors
    /// Why there is none.
    pub fn begin_stream(self: &Arc<Self>, ask: &StreamAsk<'_>) -> Result<Begun, Denial> {
        let opener = &ask.opener;
        self.refuse_dead(opener, &ask.start)?;
        let returns = ask.came_back || returns(&ask.start);
        if opener.tunnel && ask.came_back && matches!(ask.start, Start::Fresh) {
            return Err(Denial::Gone(None));
        }
        let by = Opening { stream: true, came_back: ask.came_back };
        let (session, opened) = self.find_or_open(opener, &ask.start, returns, by)?;
        Ok(Begun { session, opened })
    }

    /// Joins a session with a stream. Waits for the upstream's welcome, and begins anew where that session has ended.
    ///
    /// # Errors
    /// Why there is no stream.
    pub fn join_stream(
        self: &Arc<Self>,
        begun: Begun,
        ask: &StreamAsk<'_>,
        hangup: &Hangup,
    ) -> Result<Stream, Denial> {
        let mut begun = Some(begun);
        for _ in 0..TRIES_MAX {
            let Begun { session, opened } =
                begun.take().map_or_else(|| self.begin_stream(ask), Ok)?;
            match session.await_opening() {
                Phase::Over(over) if opened => return Err(Denial::of(over)),
                Phase::Over(_) => {
                    self.remove(&session);
                    continue;
                }
                _ => {}
            }
            refuse_departed(hangup)?;
            match session.join_stream(&ask.start, self.rules.reuse, hangup.clone()) {
                Join::Joined(stream) => return Ok(stream),
                Join::Taken(former) => wait_for(&former)?,
                Join::Reload => self.end(&session, Over::Quiet),
                Join::Gone => return Err(Denial::Gone(session.last_words(&ask.start))),
                Join::Over => self.remove(&session),
            }
        }
        Err(Denial::Failed("the session ends as soon as it is opened, try again later".to_owned()))
    }

    /// Opens or continues a session with a poll. Waits for the upstream's welcome.
    ///
    /// # Errors
    /// Why there is no poll.
    pub fn open_poll(self: &Arc<Self>, ask: &PollAsk<'_>) -> Result<Poll, Denial> {
        self.refuse_dead(&ask.opener, &ask.start)?;
        for _ in 0..TRIES_MAX {
            let Some(session) = self.opened(&ask.opener, &ask.start)? else { continue };
            refuse_departed(&ask.hangup)?;
            match session.join_poll(&ask.start, ask.queue, self.rules.reuse, ask.hangup.clone()) {
                Join::Joined(poll) => return Ok(poll),
                Join::Taken(former) => wait_for(&former)?,
                Join::Gone => return Err(Denial::Gone(session.last_words(&ask.start))),
                Join::Reload | Join::Over => self.remove(&session),
            }
        }
        Err(Denial::Failed("the session ends as soon as it is opened, try again later".to_owned()))
    }

    /// The tunnel of a POST.
    ///
    /// # Errors
    /// Why there is none.
    pub fn for_frames(&self, opener: &Opener<'_>) -> Result<Arc<Session>, Denial> {
        let remembered = || self.graves.lock().close(opener, None, Instant::now());
        self.existing(opener).map_err(|denial| match (denial, remembered()) {
            (Denial::NotFound, Some(close)) => Denial::Gone(Some(close)),
            (denial, _) => denial,
        })
    }

    /// Whether a tunnel has this path.
    pub fn is_tunnel(&self, path: &str) -> bool {
        self.sessions.lock().get(path).is_some_and(|session| session.tunnel)
    }

    /// The session of a POST; with a `poll-queue` it is opened if there is none.
    ///
    /// # Errors
    /// Why there is none.
    pub fn for_post(
        self: &Arc<Self>,
        opener: &Opener<'_>,
        queue: Option<usize>,
    ) -> Result<Arc<Session>, Denial> {
        let Some(queue) = queue else { return self.existing(opener) };
        for _ in 0..TRIES_MAX {
            if let Some(session) = self.opened(opener, &Start::Fresh)? {
                let mut state = session.lock();
                state.polled.queue = queue;
                state.alive_until = state.alive_until.max(Instant::now() + self.rules.session);
                drop(state);
                return Ok(session);
            }
        }
        Err(Denial::Failed("the session ends as soon as it is opened, try again later".to_owned()))
    }

    /// Ends the session of a DELETE for good, and returns its `session_id`. `last_post`: the number of the client's last POST to
    /// a tunnel, which goes before it.
    ///
    /// # Errors
    /// There is none, or it is somebody else's.
    pub fn delete(
        self: &Arc<Self>,
        opener: &Opener<'_>,
        last_post: Option<u64>,
    ) -> Result<String, Denial> {
        let session = self.existing(opener)?;
        if let Some(last_post) = last_post {
            session.await_last_post(last_post);
        }
        self.end(&session, session.ended("deleted"));
        Ok(session.id.clone())
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.lock().len()
    }

    /// How many there may be.
    pub fn sessions_max(&self) -> usize {
        self.rules.sessions_max
    }

    /// How attempts to reach the upstream, and links to it, have ended.
    pub fn upstream_counts(&self) -> Counts {
        self.connector.counts()
    }

    /// What was counted since the start.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What is there now.
    pub fn census(&self) -> Census {
        let sessions: Vec<_> = self.sessions.lock().values().cloned().collect();
        let mut census = Census::default();
        sessions.iter().for_each(|session| census.add(session));
        census
    }

    /// The log's names of all sessions.
    pub fn names(&self) -> Vec<String> {
        self.sessions.lock().values().map(|session| session.name().to_owned()).collect()
    }

    /// Opens no more sessions and ends all that there are. They are through when nothing holds them any more.
    pub fn drain(&self) -> Vec<Weak<Session>> {
        self.draining.store(true, Ordering::Relaxed);
        let sessions: Vec<_> = self.sessions.lock().drain().map(|(_, session)| session).collect();
        for session in &sessions {
            session.end(Over::Drained);
        }
        sessions.iter().map(Arc::downgrade).collect()
    }

    /// Ends a session and takes it out, so that its path is free.
    pub(super) fn end(&self, session: &Session, over: Over) {
        self.remove(session);
        if let Over::Ended { told, reason } = &over {
            let (lasts, close) = if session.tunnel {
                (self.rules.resume_window, Some(told.data.to_string()))
            } else {
                (self.rules.session, None)
            };
            let reason = reason.clone();
            self.graves.lock().bury(session, reason, close, Instant::now() + lasts);
        }
        session.end(over);
    }

    fn remove(&self, session: &Session) {
        let mut sessions = self.sessions.lock();
        if sessions.get(&session.path).is_some_and(|found| std::ptr::eq(&**found, session)) {
            sessions.remove(&session.path);
        }
    }

    /// Over `--max-memory` the session that keeps most forgets its oldest, with a little in stock, so that not every message
    /// has to look for it.
    pub(super) fn keep_within_memory(&self) {
        let max = self.rules.memory_max;
        if self.memory.kept() <= max {
            return;
        }
        let enough = max - max / 64;
        while self.memory.kept() > enough {
            let before = self.memory.kept();
            let sessions = self.sessions.lock();
            let biggest = sessions
                .values()
                .max_by_key(|session| session.kept.load(Ordering::Relaxed))
                .cloned();
            drop(sessions);
            if let Some(biggest) = biggest {
                biggest.shed(|| self.memory.kept() <= enough);
            }
            if self.memory.kept() >= before {
                return;
            }
        }
    }

    /// An event id of a session that was ended for good opens nothing, unless it comes with another login.
    fn refuse_dead(&self, opener: &Opener<'_>, start: &Start) -> Result<(), Denial> {
        let Start::Event { secret, .. } = start else { return Ok(()) };
        if opener.tunnel {
            // Its client reads statuses: 410, whatever it comes back to.
            return Ok(());
        }
        let reason = self.graves.lock().find(opener, secret, Instant::now());
        reason.map_or(Ok(()), |reason| Err(Denial::Dead(reason)))
    }

    fn find(&self, opener: &Opener<'_>) -> Result<Option<Arc<Session>>, Denial> {
        let found = self.sessions.lock().get(opener.path).cloned();
        found.map(|session| self.admit(session, opener)).transpose()
    }

    fn admit(&self, session: Arc<Session>, opener: &Opener<'_>) -> Result<Arc<Session>, Denial> {
        let (first, now) = (&session.opened_with, opener.credentials);
        let same = first.cookie == now.cookie && first.origin == now.origin;
        if self.rules.strict_headers && !same {
            return Err(Denial::Forbidden);
        }
        if session.tunnel != opener.tunnel { Err(Denial::WrongKind) } else { Ok(session) }
    }

    /// A session that is there, after its first attempt.
    fn existing(&self, opener: &Opener<'_>) -> Result<Arc<Session>, Denial> {
        let session = self.find(opener)?.ok_or(Denial::NotFound)?;
        match session.await_opening() {
            Phase::Over(_) => Err(Denial::NotFound),
            _ => Ok(session),
        }
    }

    /// A session for a poll or a POST, opened if need be; `None`: it ended meanwhile, look again.
    fn opened(
        self: &Arc<Self>,
        opener: &Opener<'_>,
        start: &Start,
    ) -> Result<Option<Arc<Session>>, Denial> {
        let (session, _) = self.find_or_open(opener, start, returns(start), Opening::default())?;
        match session.await_opening() {
            Phase::Over(over @ (Over::Denied(_) | Over::Failed(_))) => Err(Denial::of(over)),
            Phase::Over(_) => {
                self.remove(&session);
                Ok(None)
            }
            _ => Ok(Some(session)),
        }
    }

    /// The session of this path, and whether this call opened it. Who `returns` to a tunnel never gets a new one.
    #[inline(never)]
    fn find_or_open(
        self: &Arc<Self>,
        opener: &Opener<'_>,
        start: &Start,
        returns: bool,
        by: Opening,
    ) -> Result<(Arc<Session>, bool), Denial> {
        if let Some(session) = self.find(opener)? {
            return Ok((session, false));
        }
        if opener.tunnel && returns {
            return Err(Denial::Gone(self.graves.lock().close(
                opener,
                Some(start),
                Instant::now(),
            )));
        }
        let session = self.new_session(opener, by);
        let mut sessions = self.sessions.lock();
        if let Some(session) = sessions.get(opener.path).cloned() {
            drop(sessions);
            return Ok((self.admit(session, opener)?, false));
        }
        // Looked at under the lock: `drain` takes it after it has said so.
        if self.draining.load(Ordering::Relaxed) {
            return Err(Denial::Draining);
        }
        if sessions.len() >= self.rules.sessions_max {
            drop(sessions);
            self.tally.turn_away(&"as many are open as --max-sessions allows");
            return Err(Denial::Full);
        }
        sessions.insert(opener.path.into(), Arc::clone(&session));
        drop(sessions);
        self.connect(&session, opener)?;
        Ok((session, true))
    }

    fn connect(&self, session: &Arc<Session>, opener: &Opener<'_>) -> Result<(), Denial> {
        let owner: Arc<dyn Owner> = Arc::clone(session) as Arc<dyn Owner>;
        match self.connector.start(session.name(), (opener.handshake)(), owner) {
            Ok(upstream) => {
                info!("event=session-opened session={}", session.name());
                // Nobody else sets it.
                let _ = session.upstream.set(upstream);
                if matches!(session.lock().phase, Phase::Over(_)) {
                    session.close_upstream();
                }
                Ok(())
            }
            Err(error) => {
                self.tally.turn_away(&format_args!("no thread for one more: {error}"));
                self.end(session, Over::Failed("no thread for one more session".to_owned()));
                Err(Denial::Full)
            }
        }
    }

    /// Not inlined: its copies of a whole session would stay on the stack of a stream's thread.
    #[inline(never)]
    fn new_session(self: &Arc<Self>, opener: &Opener<'_>, by: Opening) -> Arc<Session> {
        let polled = Polled {
            carried: 0,
            queue: POLL_QUEUE_DEFAULT.min(self.rules.bounds.events),
            upstream: None,
        };
        let state = State {
            phase: Phase::Opening,
            mailbox: Mailbox::new(self.rules.bounds, Arc::clone(&self.memory)),
            channels: Channels::default(),
            tunnel: Tunnel::default(),
            link: None,
            outbox: VecDeque::new(),
            flushing: false,
            away: None,
            denied_since: None,
            present: Vec::with_capacity(1),
            had_stream: false,
            polled,
            alive_until: Instant::now(),
        };
        Arc::new(Session {
            table: Arc::downgrade(self),
            id: random_id(),
            secret: random_id(),
            path: opener.path.into(),
            tunnel: opener.tunnel,
            opened_with: opener.credentials.clone(),
            by_stream: by.stream,
            came_back: by.came_back,
            kept: AtomicUsize::new(0),
            upstream: OnceLock::new(),
            state: Mutex::new(state),
            news: Bell::default(),
            changed: Bell::default(),
        })
    }
}

/// How a session is opened.
#[derive(Clone, Copy, Default)]
struct Opening {
    stream: bool,
    came_back: bool,
}

/// Messages that a session keeps for a poller that does not say (`poll-queue`).
pub const POLL_QUEUE_DEFAULT: usize = 32;

/// Whether a listener has been here before.
fn returns(start: &Start) -> bool {
    !matches!(start, Start::Fresh | Start::Number(0))
}

/// Who has gone while it waited takes nobody's place.
fn refuse_departed(hangup: &Hangup) -> Result<(), Denial> {
    if hangup.has_left() { Err(Denial::NotFound) } else { Ok(()) }
}

fn wait_for(former: &Former) -> Result<(), Denial> {
    if former.leaves_within(STRANGER_GRACE) { Ok(()) } else { Err(Denial::Forbidden) }
}

fn sweep(table: &Weak<Table>, ticks: &Receiver<()>, pace: Duration) {
    let mut ebb = Ebb::default();
    loop {
        // Nothing is ever sent: this is the pace.
        let _ = ticks.recv_timeout(pace);
        let Some(table) = table.upgrade() else { return };
        let sessions: Vec<_> = table.sessions.lock().values().cloned().collect();
        let now = Instant::now();
        for session in sessions {
            session.forget_by_age(now, table.rules.resume_window);
            if session.expire(now) {
                table.remove(&session);
            }
        }
        table.graves.lock().clear(now);
        ebb.give_back(table.memory.kept() + table.len() * SESSION_COST, now);
    }
}
