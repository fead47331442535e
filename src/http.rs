//! What a request means: paths, methods, statuses ("Paths and methods" in `src/api.md`).
//!
//! Owns: the HTTP API; `tiny_http` and the few threads that take requests from it.
//! Never: waits for more than locks. What waits (an opening session, a stream, a poll, a write to the upstream) is handed to the
//! client's own thread as a `Later`.
//! Flow: gate, `tiny_http`, `Http::answer`; then at once, or later through `later`.

mod answers;
mod ask;
mod items;
mod later;
mod origin;
mod query;

use crate::gate::{Answer, Door, Exchange, Head, Later, Serve, TICKET, Tickets, error};
use crate::pages;
use crate::report::info;
use crate::session::{Kind, SessionError, Table};
use answers::denied_stream;
use ask::Ask;
pub use origin::{Origins, host_and_port, normalized};
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tiny_http::Header;

/// Bytes of a path; one more is a 414.
const PATH_MAX: usize = 512;

/// What requests are answered from: the sessions, and what the options say.
pub struct Http {
    pub table: Arc<Table>,
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

impl Serve for Http {
    fn serve(
        self: Arc<Self>,
        listener: UnixListener,
        threads: usize,
        tickets: Arc<Tickets>,
    ) -> io::Result<Box<dyn Fn() + Send + Sync>> {
        let server = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
        // Never dropped: with an abstract name its `Drop` panics.
        let server: &'static tiny_http::Server = Box::leak(Box::new(server));
        for number in 0..threads {
            let (http, tickets) = (Arc::clone(&self), Arc::clone(&tickets));
            thread::Builder::new().name(format!("http-{number}")).spawn(move || {
                loop {
                    let request = match server.recv() {
                        Ok(request) => request,
                        // The listening socket was shut: the connections go on.
                        Err(error) if error.raw_os_error().is_some() => continue,
                        // That of `unblock`.
                        Err(_) => return,
                    };
                    let header = request.headers().iter().find(|it| it.field.equiv(TICKET));
                    let ticket = header.map_or("", |header| header.value.as_str());
                    let answer = tickets.answer(ticket, |exchange| http.answer(exchange));
                    respond(request, answer);
                }
            })?;
        }
        Ok(Box::new(move || (0..threads).for_each(|_| server.unblock())))
    }

    fn decorate(&self, door: Door, head: &Head, answer: &mut Answer) {
        let is_stream = head.method == "GET" && ask::accepts(head, "text/event-stream");
        if answer.status == 503 && is_stream {
            *answer = denied_stream(SessionError::Full, false);
        }
        // What the operator reads is for no page.
        if door == Door::Public {
            answer.headers += &self.origins.cors(head).unwrap_or_default();
        }
    }
}

impl Http {
    fn answer(&self, exchange: Exchange) -> Result<Later, Answer> {
        let head = Arc::clone(&exchange.head);
        if exchange.door == Door::Admin {
            return Err(self.admin(&head).unwrap_or_else(|refusal| refusal));
        }
        let cors = self.origins.cors(&head)?;
        self.route(&head, exchange, &cors).map_err(|mut answer| {
            answer.headers += &cors;
            answer
        })
    }

    fn route(&self, head: &Head, exchange: Exchange, cors: &str) -> Result<Later, Answer> {
        let (path, _) = head.path_and_query();
        if head.method == "OPTIONS" {
            return Err(Answer::new(204));
        }
        if path.len() > PATH_MAX {
            let why = format!("the path has over {PATH_MAX} bytes, use a shorter id");
            return Err(error(414, &why));
        }
        if path == "/" || path.starts_with("/-/") {
            allow(head, "GET, HEAD")?;
            let page = pages::page(path, head, self.demo);
            return Err(page.unwrap_or_else(|| error(404, "no such page; / has a hint")));
        }
        allow(head, "GET, POST, DELETE, OPTIONS")?;
        let no_session = matches!(path, "/favicon.ico" | "/robots.txt");
        if no_session || path.starts_with("/.well-known/") || !path.starts_with('/') {
            return Err(error(404, "no session can have this path"));
        }
        let ask = Ask::read(&exchange, self, cors).map_err(|why| error(400, &why))?;
        if head.method == "GET" {
            ask::refuse_what_is_no_client(head)?;
        }
        Ok(match (head.method.as_str(), ask.join.kind) {
            ("POST", _) => {
                let body = exchange.body;
                Box::new(move |client| later::post(ask, &body, client))
            }
            ("DELETE", _) => Box::new(move |client| later::delete(ask, client)),
            (_, Kind::Poll) => Box::new(move |client| later::poll(ask, client)),
            (_, Kind::Stream) => {
                // Not on the client's thread: a page more of its stack would stay touched for as long as it streams.
                let found = self.table.find_or_open(&ask.join);
                Box::new(move |client| later::stream(ask, found, client))
            }
        })
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
    if methods.split(", ").any(|method| method == head.method) {
        return Ok(());
    }
    Err(error(405, &format!("use one of {methods}")).with("Allow", methods))
}

fn respond(request: tiny_http::Request, answer: Answer) {
    let mut response = tiny_http::Response::from_data(answer.body)
        .with_status_code(answer.status)
        // Else tiny_http sends what is over 32 KiB in chunks.
        .with_chunked_threshold(usize::MAX);
    // It takes ASCII: none of ours is anything else.
    let headers = answer.headers.lines().filter_map(|line| line.parse::<Header>().ok());
    headers.for_each(|header| response.add_header(header));
    if let Err(error) = request.respond(response) {
        info!("event=inner-answer-broken error=\"{error}\"");
    }
}
