//! How a request gets its session: found by its path, opened if need be, and joined ("Opening a session" in `src/api.md`).
//!
//! Owns: which request may open or use a session, and which of those that wait for a new one goes first.
//! Never: waits with a lock held.
//! At the limit: see `table`.

use super::channels::Channels;
use super::join::{Fingerprint, JoinRequest, Kind, ListenerClient, SessionError, Start};
use super::listeners::{ListenerHandle, Listeners, NotJoined};
use super::lock::{Locked, Waiting};
use super::outbox::Outbox;
use super::poll::{POLL_QUEUE_DEFAULT, Poll, PollState};
use super::stream::Stream;
use super::table::Table;
use super::tunnel::Tunnel;
use super::{EndReason, Phase, Session, Shares, State, bytes_of, random, random_id};
use crate::mailbox::Mailbox;
use crate::report::info;
use parking_lot::Mutex;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How often a request looks again when the session that it found ends under it. More than that is no accident.
const TRIES_MAX: usize = 8;

/// How long a stranger waits for the listener that is there to be gone before it is refused: a page that is reloaded
/// through a proxy is back before the proxy has closed the old stream.
const STRANGER_GRACE: Duration = Duration::from_millis(250);

/// A session that was found or opened for a request, which has yet to join it.
pub struct Found {
    session: Arc<Session>,
    /// The request opened it, and joins it first: others wait until this is dropped.
    by_opener: bool,
}

impl Drop for Found {
    fn drop(&mut self) {
        if self.by_opener {
            let mut state = self.session.lock();
            state.awaits_opener = false;
            state.waiting.notify_all();
        }
    }
}

impl Table {
    /// Finds or opens the session of a GET, and does not wait. Apart from joining, so that it can run on a deep stack:
    /// what opening takes of one that then streams for hours stays resident, 4 KB a session.
    pub fn find_or_open(self: &Arc<Self>, request: &JoinRequest) -> Result<Found, SessionError> {
        // Looked for first: one that is taken out is remembered before.
        let found = self.find(request);
        self.refuse_ended(request)?;
        if let Some(session) = found? {
            return Ok(Found { session, by_opener: false });
        }
        let was_here = !matches!(request.start, Start::Fresh | Start::Number(0));
        if request.tunnel && (was_here || request.came_back) {
            // A tunnel never silently becomes a new one.
            let close = match request.start {
                Start::Event { secret, .. } => self.close_of(request, Some(secret)),
                _ => None,
            };
            return Err(SessionError::Gone(close));
        }
        self.measure(request)?;
        let mut opened = self.open(request)?;
        if opened.is_none() && self.make_room(Instant::now()) {
            opened = self.open(request)?;
        }
        opened.ok_or_else(|| {
            self.count_refusal(&"as many are open as --max-sessions and --max-memory allow");
            SessionError::Full
        })
    }

    /// Whether a new session has room for what this request subscribes.
    fn measure(&self, request: &JoinRequest) -> Result<(), SessionError> {
        let wanted: Vec<_> = request.channels.iter().collect();
        let fits = Channels::default().room_for(&wanted, self.rules.channels_max);
        fits.map_err(SessionError::Channels)
    }

    /// Joins a session with a stream. Waits for the upstream's welcome, and begins anew where that session has ended.
    pub fn join_stream(
        self: &Arc<Self>,
        found: Found,
        request: &JoinRequest,
        client: &Arc<dyn ListenerClient>,
    ) -> Result<Stream, SessionError> {
        let stream = self.settle(found, request, |session| session.join_stream(request, client))?;
        self.go_on(&stream.handle, request);
        Ok(stream)
    }

    /// Opens or continues a session with a poll. Waits for the upstream's welcome.
    pub fn join_poll(
        self: &Arc<Self>,
        request: &JoinRequest,
        client: &Arc<dyn ListenerClient>,
    ) -> Result<Poll, SessionError> {
        let found = self.find_or_open(request)?;
        let poll = self.settle(found, request, |session| session.join_poll(request, client))?;
        self.go_on(&poll.handle, request);
        Ok(poll)
    }

    fn go_on(&self, joined: &ListenerHandle, request: &JoinRequest) {
        joined.session.renew_credentials(&request.handshake);
        joined.session.flush();
    }

    /// Has a request `join` the session that was found for it; another one where that ends meanwhile.
    fn settle<T>(
        self: &Arc<Self>,
        mut found: Found,
        request: &JoinRequest,
        join: impl Fn(&Arc<Session>) -> Result<T, NotJoined>,
    ) -> Result<T, SessionError> {
        // A stream that did not open the session tries for itself.
        let is_answer = |reason: &EndReason, by_opener| match request.kind {
            Kind::Stream => by_opener,
            Kind::Poll => matches!(reason, EndReason::NotOpened(_)),
        };
        for _ in 0..TRIES_MAX {
            let session = &found.session;
            let joined = match session.await_opening(found.by_opener) {
                Ok(()) => join(session),
                Err(reason) if is_answer(&reason, found.by_opener) => {
                    return Err(SessionError::of(reason));
                }
                Err(_) => Err(NotJoined::Over),
            };
            match joined {
                Ok(joined) => return Ok(joined),
                Err(NotJoined::Taken(present))
                    if session.loses_within(&present, STRANGER_GRACE) => {}
                Err(NotJoined::Taken(_)) => return Err(SessionError::NotYours),
                Err(NotJoined::Reload) => {
                    self.measure(request)?;
                    self.end(session, EndReason::Dropped("the page was reloaded"));
                }
                Err(NotJoined::Refused(why)) => return Err(why),
                Err(NotJoined::Over) => self.remove(session),
            }
            found = self.find_or_open(request)?;
        }
        let why = "the session ends as soon as it is opened, try again later";
        Err(SessionError::Failed(why.to_owned()))
    }

    /// The tunnel of a POST.
    pub fn for_frames(&self, request: &JoinRequest) -> Result<Arc<Session>, SessionError> {
        self.existing(request).map_err(|error| match (error, self.close_of(request, None)) {
            (SessionError::NotFound, Some(close)) => SessionError::Gone(Some(close)),
            (error, _) => error,
        })
    }

    /// The session of a POST; with a `poll-queue` it is opened if there is none.
    pub fn for_post(self: &Arc<Self>, request: &JoinRequest) -> Result<Arc<Session>, SessionError> {
        let Some(queue) = request.queue else { return self.existing(request) };
        self.settle(self.find_or_open(request)?, request, |session| {
            let mut state = session.lock();
            state.polls.queue = queue;
            state.listeners.live_for(self.rules.poll_window);
            Ok(Arc::clone(session))
        })
    }

    /// Ends the session of a DELETE for good; returns its `session_id`. `last`: the number of a tunnel's last POST, done first.
    pub fn delete(&self, request: &JoinRequest, last: Option<u64>) -> Result<String, SessionError> {
        let session = self.existing(request)?;
        if let Some(last) = last {
            session.await_flush(session.await_posts(session.lock(), last));
        }
        self.end(&session, session.for_good(1000, "deleted"));
        Ok(session.id.clone())
    }

    /// An event id of a session that was ended for good opens nothing, unless it comes with other credentials.
    fn refuse_ended(&self, request: &JoinRequest) -> Result<(), SessionError> {
        // The client of a tunnel reads statuses: 410, whatever it comes back to.
        let (Start::Event { secret, .. }, false) = (request.start, request.tunnel) else {
            return Ok(());
        };
        let login = Fingerprint::of(&request.handshake, &self.keys).login;
        let path = self.keys.hash_one(&*request.path);
        let ended = self.ended.lock();
        let reason = ended.reason(secret, path, login, Instant::now());
        reason.map_or(Ok(()), |reason| Err(SessionError::EndedForGood(reason.to_owned())))
    }

    /// What is known of the end of the tunnel with this event id, or of the last one of this path.
    fn close_of(&self, request: &JoinRequest, secret: Option<u128>) -> Option<String> {
        self.ended.lock().close(secret, self.keys.hash_one(&*request.path), Instant::now())
    }

    fn find(&self, request: &JoinRequest) -> Result<Option<Arc<Session>>, SessionError> {
        let found = self.sessions.lock().get(&*request.path).cloned();
        found.iter().try_for_each(|session| self.admit(session, request))?;
        Ok(found)
    }

    fn admit(&self, session: &Session, request: &JoinRequest) -> Result<(), SessionError> {
        if self.rules.strict_headers {
            let shown = Fingerprint::of(&request.handshake, &self.keys);
            let first = session.opened_with;
            if (first.cookie, first.origin) != (shown.cookie, shown.origin) {
                return Err(SessionError::NotYours);
            }
        }
        if session.is_tunnel != request.tunnel {
            return Err(SessionError::WrongKind);
        }
        Ok(())
    }

    /// A session that is there, after its first attempt.
    fn existing(&self, request: &JoinRequest) -> Result<Arc<Session>, SessionError> {
        let session = self.find(request)?.ok_or(SessionError::NotFound)?;
        session.await_opening(false).map_err(|_| SessionError::NotFound)?;
        Ok(session)
    }

    /// Opens a session, unless another request was quicker; `None`: there are as many as there may be.
    #[inline(never)]
    fn open(self: &Arc<Self>, request: &JoinRequest) -> Result<Option<Found>, SessionError> {
        let session = Session::new(self, request);
        let mut sessions = self.sessions.lock();
        if let Some(session) = sessions.get(&*request.path).cloned() {
            drop(sessions);
            self.admit(&session, request)?;
            return Ok(Some(Found { session, by_opener: false }));
        }
        // Looked at under the lock: `drain` takes it after it has said so.
        if self.draining.load(Ordering::Relaxed) {
            return Err(SessionError::Draining);
        }
        if sessions.len() >= self.rules.sessions_max || !self.budget.fits(0) {
            return Ok(None);
        }
        sessions.insert((&*request.path).into(), Arc::clone(&session));
        drop(sessions);
        let found = Found { session, by_opener: true };
        self.connect(&found.session)?;
        Ok(Some(found))
    }

    fn connect(&self, session: &Arc<Session>) -> Result<(), SessionError> {
        let handler = Arc::clone(session);
        let upstream = self.connector.start(session.name(), handler).map_err(|error| {
            self.count_refusal(&format_args!("no thread for one more: {error}"));
            let why = SessionError::Failed("no thread for one more session".to_owned());
            self.end(session, EndReason::NotOpened(why));
            SessionError::Full
        })?;
        info!("event=session-opened session={}", session.name());
        let mut state = session.lock();
        // Of a session that has ended meanwhile it is dropped.
        if !state.has_ended() {
            state.upstream = Some(upstream);
        }
        Ok(())
    }
}

impl Session {
    pub(super) fn lock_for(&self, client: &dyn ListenerClient) -> Result<Locked<'_>, NotJoined> {
        if client.has_left() {
            return Err(NotJoined::Refused(SessionError::NotFound));
        }
        let state = self.lock();
        if state.has_ended() { Err(NotJoined::Over) } else { Ok(state) }
    }

    /// Not inlined: its copies of a whole session would stay on the stack of a stream's thread.
    #[inline(never)]
    pub(super) fn new(table: &Arc<Table>, request: &JoinRequest) -> Arc<Session> {
        Arc::new_cyclic(|this| Session {
            this: Weak::clone(this),
            table: Arc::clone(table),
            id: random_id(),
            secret: random(),
            path: (&*request.path).into(),
            is_tunnel: request.tunnel,
            opened_with: Fingerprint::of(&request.handshake, &table.keys),
            opened_by: request.kind,
            came_back: request.came_back,
            kept: AtomicUsize::new(0),
            spare: AtomicUsize::new(0),
            state: Mutex::new(State::new(table, request)),
        })
    }
}

impl State {
    fn new(table: &Table, request: &JoinRequest) -> State {
        let rules = &table.rules;
        let queue = POLL_QUEUE_DEFAULT.min(rules.bounds.events);
        let mut shares = Shares::new(&table.budget);
        shares.handshake.set(bytes_of(&request.handshake));
        State {
            phase: Phase::Opening,
            channels: Channels::default(),
            tunnel: request.tunnel.then(Box::<Tunnel>::default),
            mailbox: Mailbox::new(rules.bounds),
            upstream: None,
            link: None,
            handshake: Arc::new(request.handshake.clone()),
            outbox: Outbox::default(),
            away: None,
            denied_since: None,
            listeners: Listeners::new(),
            polls: PollState { acked: 0, queue, upstream: None },
            is_repeating: false,
            awaits_opener: true,
            waiting: Waiting::default(),
            shares,
        }
    }
}
