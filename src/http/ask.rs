//! One request about a session, read: its credentials, what it asks for, from where on.

use super::HttpSettings;
use super::answers::error;
use super::query;
use crate::gate::{Answer, Body, Exchange, Head};
use crate::session::{Credentials, JoinRequest, Kind, Start};
use crate::upstream::{Handshake, Protocol, is_token};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A poll waits this long when it does not say, and never longer than the other with a forced reply.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(25), Duration::from_secs(3600));

/// Bytes of comment that a client may ask for.
const PADDING_MAX: u64 = 64 * 1024;

/// The headers that are handed on to the upstream, with those that begin with `X-Forwarded-`.
const HANDED_ON: [&str; 6] =
    ["authorization", "user-agent", "accept-language", "forwarded", "x-real-ip", "host"];

pub struct Ask {
    pub head: Arc<Head>,
    pub body: Body,
    /// What the table of sessions is asked.
    pub join: JoinRequest,
    /// `None`: no forced reply.
    pub timeout: Option<Duration>,
    pub heartbeat: Duration,
    pub padding: usize,
    /// The number of a tunnel's POST.
    pub seq: Option<u64>,
    /// A stream of messages alone.
    pub raw: bool,
    cors: Vec<(&'static str, String)>,
}

impl Ask {
    /// Reads it. In a box: it is handed on from function to function, on a stack that should stay shallow. An error is the
    /// sentence for a 400.
    pub fn read(exchange: Exchange, settings: &HttpSettings) -> Result<Box<Ask>, String> {
        let head = Arc::clone(&exchange.head);
        let (_, query) = head.path_and_query();
        let number = |name: &str| match query::first(query, name) {
            Some(text) => query::whole_number(name, &text).map(Some),
            None => Ok(None),
        };
        let timeout = match query::first(query, "timeout").as_deref() {
            Some("-1") => Some(0),
            _ => number("timeout")?,
        };
        let mut join = join_request(&exchange, settings)?;
        join.queue = number("poll-queue")?.map(|queue| queue_of(queue, settings.queue_max));
        // A POST may have the same URL as the stream: there it says nothing.
        let raw = head.method == "GET" && query::raw(query)?;
        if raw && (join.tunnel || join.kind != Kind::Stream) {
            let why = "raw: only a stream of channels can be raw, neither a poll nor a tunnel";
            return Err(why.to_owned());
        }
        let seq = number("seq")?;
        if seq == Some(0) {
            return Err("seq: the first POST of a tunnel is number 1".to_owned());
        }
        let padding = number("padding")?.unwrap_or(0).min(PADDING_MAX) as usize;
        let (timeout, cors) = (timeout_of(timeout), settings.origins.cors(&head));
        // That of a GET is of no use, and a stream is waited for.
        let body = if head.method == "POST" { exchange.body } else { Body::default() };
        let heartbeat = settings.heartbeat;
        let head = exchange.head;
        Ok(Box::new(Ask { head, body, join, timeout, heartbeat, padding, seq, raw, cors }))
    }

    /// Whether a POST says that it has frames.
    pub fn is_for_tunnel(&self) -> bool {
        self.join.tunnel || self.seq.is_some()
    }

    /// A link, an image or a script of a page, by an author who knows the id, would be fetched with the user's cookies: it
    /// opens nothing. A request for a WebSocket is at the wrong server.
    pub fn refuse_what_is_no_client(&self) -> Result<(), Answer> {
        let is =
            |name: &str, value: &[u8]| self.head.first(name).map(|v| v.eq_ignore_ascii_case(value));
        let mode = |mode: &[u8]| is("sec-fetch-mode", mode);
        let site = |site: &[u8]| is("sec-fetch-site", site) == Some(true);
        let of_element = match (mode(b"no-cors"), is("sec-fetch-dest", b"empty")) {
            (Some(true), _) | (_, Some(false)) => true,
            (None, None) => is_of_element(&self.head),
            _ => false,
        };
        let refusal = if is("upgrade", b"websocket") == Some(true) {
            (
                400,
                "the bridge speaks no WebSocket: connect to the cable server, or use an EventSource or a poll here",
            )
        } else if mode(b"navigate").unwrap_or_else(|| accepts(&self.head, "text/html")) {
            (
                406,
                "this is no page: send an Accept of text/event-stream for a stream, of application/json for a poll; /-/ is a page to try the bridge with",
            )
        } else if (site(b"cross-site") || site(b"same-site")) && self.head.first("origin").is_none()
        {
            (
                403,
                "a request of another site needs an Origin: use an EventSource, or fetch with CORS",
            )
        } else if of_element {
            (403, "no element of a page may load a session: use an EventSource, or fetch")
        } else {
            return Ok(());
        };
        Err(unbuffered(error(refusal.0, refusal.1)))
    }

    /// Any answer about a session: no cache keeps it, no proxy holds it back, and the page that asked may read it.
    pub fn answer(&self, answer: Answer) -> Answer {
        let mut answer = unbuffered(answer);
        answer.headers.extend(self.cors.iter().cloned());
        answer
    }
}

fn unbuffered(mut answer: Answer) -> Answer {
    if !answer.headers.iter().any(|(name, _)| *name == "Cache-Control") {
        answer = answer.with("Cache-Control", "no-store, no-transform");
    }
    answer.with("X-Accel-Buffering", "no")
}

/// Whether Accept names this media type, in any case, with any q.
pub fn accepts(head: &Head, media_type: &str) -> bool {
    names_type(head, |name| name.eq_ignore_ascii_case(media_type.as_bytes()))
}

/// Whether Accept is that of an `<img>`, a style sheet, a video: what older browsers, and any on plain HTTP, tell of where
/// the request comes from.
fn is_of_element(head: &Head) -> bool {
    let kinds: [&[u8]; 4] = [b"image/", b"text/css", b"video/", b"audio/"];
    let begins = |name: &[u8], kind: &[u8]| {
        name.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
    };
    names_type(head, |name| kinds.iter().any(|kind| begins(name, kind)))
}

fn names_type(head: &Head, is: impl Fn(&[u8]) -> bool) -> bool {
    let named =
        |part: &[u8]| is(part.split(|byte| *byte == b';').next().unwrap_or(part).trim_ascii());
    head.all("accept").any(|value| value.split(|byte| *byte == b',').any(named))
}

fn join_request(exchange: &Exchange, settings: &HttpSettings) -> Result<JoinRequest, String> {
    let head = &exchange.head;
    let (path, query) = head.path_and_query();
    let last = last_event_id(head, query);
    let came_back = last.is_some();
    let start = last.map_or_else(|| after(query), Ok)?;
    let protocols = protocols(query)?;
    let joined = |values: Vec<&[u8]>| (!values.is_empty()).then(|| values.join(&b"; "[..]));
    let credentials = Credentials {
        cookie: joined(head.all("cookie").collect()),
        authorization: joined(head.all("authorization").collect()),
        query: query::passed_on(query, &settings.server_query, protocols.is_some()),
        origin: settings.origins.effective(head),
    };
    let is_get = head.method == "GET";
    let is_stream = is_get && accepts(head, "text/event-stream");
    let with_channels = is_get && protocols.is_none();
    Ok(JoinRequest {
        path: path.to_owned(),
        came_back: is_stream && came_back,
        start: if is_get { start } else { Start::Fresh },
        kind: if is_stream { Kind::Stream } else { Kind::Poll },
        tunnel: protocols.is_some(),
        queue: None,
        channels: if with_channels { query::channels(query)? } else { Vec::new() },
        handshake: handshake(head, exchange.peer, &credentials, protocols),
        credentials,
    })
}

/// What the upstream's handshake carries of this request.
fn handshake(
    head: &Head,
    peer: Option<IpAddr>,
    credentials: &Credentials,
    protocols: Option<String>,
) -> Handshake {
    let mut headers = Vec::new();
    // HTTP/2 sends cookies in pieces (RFC 9113, 8.2.3), and Rails wants them whole.
    if let Some(cookie) = &credentials.cookie {
        headers.push(("Cookie".to_owned(), cookie.clone()));
    }
    for (name, value) in head.headers() {
        let lower = name.to_ascii_lowercase();
        let forwarded = lower.starts_with("x-forwarded-") && lower != "x-forwarded-for";
        if forwarded || HANDED_ON.contains(&lower.as_str()) {
            headers.push((name.to_owned(), value.to_vec()));
        }
    }
    if let Some(origin) = &credentials.origin {
        headers.push(("Origin".to_owned(), origin.clone()));
    }
    let peer = peer.map(|peer| peer.to_string().into_bytes());
    let hops: Vec<&[u8]> = head.all("x-forwarded-for").chain(peer.as_deref()).collect();
    if !hops.is_empty() {
        headers.push(("X-Forwarded-For".to_owned(), hops.join(&b", "[..])));
    }
    let speech = protocols.map_or(Protocol::Cable, |protocols| Protocol::Raw { protocols });
    Handshake { query: credentials.query.clone(), headers, speech }
}

/// The event id that a client comes back with: `Last-Event-ID`, or else `lastEventId` in the query, by which those send it
/// that may set no header. What has not the form of one is none.
fn last_event_id(head: &Head, query: &str) -> Option<Start> {
    let header = head.first("last-event-id").and_then(|id| std::str::from_utf8(id).ok());
    let header = header.and_then(|id| Start::from_event_id(id.trim()));
    header.or_else(|| Start::from_event_id(query::first(query, "lastEventId")?.trim()))
}

/// Where a client that has no event id goes on: what it acknowledges by `after`.
fn after(query: &str) -> Result<Start, String> {
    let Some(text) = query::first(query, "after") else { return Ok(Start::Fresh) };
    let number = || query::whole_number("after", &text).ok().map(Start::Number);
    Start::from_event_id(&text)
        .or_else(number)
        .ok_or("after: use the last_event_id or the msg_id that you have".to_owned())
}

/// `protocol`: tokens (RFC 9110, 5.6.2) with commas between them, or nothing.
fn protocols(query: &str) -> Result<Option<String>, String> {
    let Some(list) = query::first(query, "protocol") else { return Ok(None) };
    let tokens: Vec<&str> = list.split(',').map(str::trim).collect();
    if !list.is_empty() && !tokens.iter().copied().all(is_token) {
        return Err(
            "protocol: use names of subprotocols with commas between them, or nothing".to_owned()
        );
    }
    Ok(Some(tokens.join(", ")))
}

fn timeout_of(seconds: Option<u64>) -> Option<Duration> {
    match seconds {
        None => Some(TIMEOUT.0),
        Some(0) => None,
        Some(seconds) => Some(Duration::from_secs(seconds).min(TIMEOUT.1)),
    }
}

fn queue_of(wanted: u64, max: usize) -> usize {
    let wanted = if wanted == 0 { crate::session::POLL_QUEUE_DEFAULT as u64 } else { wanted };
    usize::try_from(wanted).unwrap_or(max).min(max)
}
