//! What a request means: paths, methods, statuses.
//!
//! Owns: the HTTP API; `tiny_http` and the few threads that take requests from it.
//! Never: waits for anything. What waits (an opening session, a stream, a poll, a write to the upstream) is handed to the
//! client's own thread as a `Later`.
//! Flow: gate, `tiny_http`, `Http::answer`; then at once, or later through `later`.

mod answers;
mod ask;
mod items;
mod later;
mod origin;
mod query;

use crate::gate::{Answer, Door, Exchange, Head, Outcome, Serve, TICKET, Tickets};
use crate::pages;
use crate::report::info;
use crate::session::{Kind, SessionError, Table};
use answers::{denied_stream, error};
use ask::Ask;
pub use origin::Origins;
use std::io::{self, Cursor};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Bytes of a path; one more is a 414.
const PATH_MAX: usize = 512;

/// What the options say about requests.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    pub origins: Origins,
    /// A quiet stream gets a sign of life this often.
    pub heartbeat: Duration,
    /// `--max-queue`: what `poll-queue` is clamped to.
    pub queue_max: usize,
    /// The query of `--server`: what it has, no request replaces.
    pub server_query: String,
    /// The server is the one of `--demo`.
    pub demo: bool,
}

#[derive(Clone)]
pub struct Http {
    pub table: Arc<Table>,
    pub settings: Arc<HttpSettings>,
}

impl Serve for Http {
    fn serve(
        &self,
        listener: UnixListener,
        threads: usize,
        tickets: Arc<Tickets>,
    ) -> io::Result<Box<dyn FnOnce() + Send>> {
        let server = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
        // Never dropped: with an abstract name its `Drop` panics.
        let server: &'static tiny_http::Server = Box::leak(Box::new(server));
        let stopped = Arc::new(AtomicBool::new(false));
        for number in 0..threads {
            let (http, tickets) = (self.clone(), Arc::clone(&tickets));
            let stopped = Arc::clone(&stopped);
            thread::Builder::new().name(format!("http-{number}")).spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    // One error comes when the listening socket is shut, one from `unblock`: neither ends the requests.
                    if let Ok(request) = server.recv() {
                        let header = request.headers().iter().find(|it| it.field.equiv(TICKET));
                        let ticket = header.map_or("", |header| header.value.as_str());
                        let answer = tickets.answer(ticket, |exchange| http.answer(exchange));
                        respond(request, answer);
                    }
                }
            })?;
        }
        Ok(Box::new(move || {
            stopped.store(true, Ordering::Relaxed);
            (0..threads).for_each(|_| server.unblock());
        }))
    }

    fn decorate(&self, door: Door, head: &Head, answer: &mut Answer) {
        answer.headers.extend(self.cors(door, head));
        answer.headers.push(("X-Accel-Buffering", "no".to_owned()));
    }

    fn refusal(&self, head: &Head) -> Option<Answer> {
        ask::accepts(head, "text/event-stream").then(|| denied_stream(SessionError::Full, false))
    }
}

impl Http {
    fn answer(&self, exchange: Exchange) -> Outcome {
        let (door, head) = (exchange.door, Arc::clone(&exchange.head));
        let outcome = match door {
            Door::Public => self.route(exchange),
            Door::Admin => self.admin(&head).map(Outcome::Now),
        };
        match outcome.unwrap_or_else(Outcome::Now) {
            Outcome::Now(mut answer) => {
                answer.headers.extend(self.cors(door, &head));
                Outcome::Now(answer)
            }
            later => later,
        }
    }

    /// What the operator reads is for no page.
    fn cors(&self, door: Door, head: &Head) -> Vec<(&'static str, String)> {
        match door {
            Door::Public => self.settings.origins.cors(head),
            Door::Admin => Vec::new(),
        }
    }

    /// An error is an answer too.
    fn route(&self, exchange: Exchange) -> Result<Outcome, Answer> {
        let head = &*Arc::clone(&exchange.head);
        let (path, _) = head.path_and_query();
        if origin::is_invalid(head) {
            let why = "this Origin is none: send SCHEME://HOST or SCHEME://HOST:PORT";
            return Err(error(400, why));
        }
        if !self.settings.origins.admits(head) {
            let why =
                "this Origin may not use the bridge; its operator can add it with --allow-origin";
            return Err(error(403, why));
        }
        if head.method == "OPTIONS" {
            return Ok(Answer::new(204).into());
        }
        if path.len() > PATH_MAX {
            return Err(error(
                414,
                &format!("the path has over {PATH_MAX} bytes, use a shorter id"),
            ));
        }
        if path == "/" || path.starts_with("/-/") {
            allow(head, "GET, HEAD")?;
            let page = pages::page(path, host(head), head, self.settings.demo);
            return page.map(Outcome::Now).ok_or_else(|| error(404, "no such page; / has a hint"));
        }
        allow(head, "GET, POST, DELETE, OPTIONS")?;
        let no_session = matches!(path, "/favicon.ico" | "/robots.txt");
        if no_session || path.starts_with("/.well-known/") || !path.starts_with('/') {
            return Err(error(404, "no session can have this path"));
        }
        let ask = Ask::read(exchange, &self.settings);
        self.session(ask.map_err(|why| error(400, &why))?)
    }

    fn session(&self, ask: Box<Ask>) -> Result<Outcome, Answer> {
        let table = Arc::clone(&self.table);
        Ok(Outcome::Later(match ask.head.method.as_str() {
            "POST" => Box::new(move |client| later::post(&table, ask, client)),
            "DELETE" => Box::new(move |client| later::delete(&table, ask, client)),
            _ if ask.join.kind == Kind::Poll => {
                ask.refuse_what_is_no_client()?;
                Box::new(move |client| later::poll(&table, ask, client))
            }
            _ => {
                ask.refuse_what_is_no_client()?;
                let found = table.find_or_open(&ask.join);
                Box::new(move |client| later::stream(&table, ask, found, client))
            }
        }))
    }

    fn admin(&self, head: &Head) -> Result<Answer, Answer> {
        let site = head.first("sec-fetch-site").unwrap_or(b"none");
        let own = [&b"none"[..], b"same-origin"].iter().any(|own| site.eq_ignore_ascii_case(own));
        if !own || head.first("origin").is_some() {
            let why = "this address is for no page: open it by itself, or ask with curl";
            return Err(error(403, why));
        }
        allow(head, "GET, HEAD")?;
        pages::admin(head.path_and_query().0, &self.table)
            .ok_or_else(|| error(404, "here are /metrics and /sessions"))
    }
}

/// Whether the method is one of these.
fn allow(head: &Head, methods: &'static str) -> Result<(), Answer> {
    let allowed = methods.split(", ").any(|method| method == head.method);
    if allowed {
        Ok(())
    } else {
        Err(error(405, &format!("use one of {methods}")).with("Allow", methods))
    }
}

fn host(head: &Head) -> &str {
    head.first("host").and_then(|host| std::str::from_utf8(host).ok()).unwrap_or("localhost")
}

fn respond(request: tiny_http::Request, answer: Answer) {
    // tiny_http takes ASCII, and would write a line break as it is: none of ours has either.
    let is_plain = |value: &str| !value.contains(|byte: char| byte.is_ascii_control());
    let headers =
        answer.headers.iter().filter(|(_, value)| is_plain(value)).filter_map(|(name, value)| {
            tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes()).ok()
        });
    let length = answer.body.len();
    let response = tiny_http::Response::new(
        tiny_http::StatusCode(answer.status),
        headers.collect(),
        Cursor::new(answer.body),
        Some(length),
        None,
    )
    // Else tiny_http sends what is over 32 KiB in chunks.
    .with_chunked_threshold(usize::MAX);
    if let Err(error) = request.respond(response) {
        info!("event=inner-answer-broken error=\"{error}\"");
    }
}
