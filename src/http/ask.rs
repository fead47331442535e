//! One request about a session, read: its credentials, what it asks for, from where on ("Query parameters", "What is handed
//! on" and "Requests that open nothing" in `src/api.md`).

use super::Http;
use super::query;
use crate::gate::{Answer, Exchange, Head, error};
use crate::session::{JoinRequest, Kind, Start, Table};
use crate::upstream::{Handshake, Protocol, is_token};
use std::sync::Arc;
use std::time::Duration;

/// Default and maximum of `timeout`; 0 has no maximum.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(25), Duration::from_secs(3600));

/// Bytes of comment that a client may ask for.
const PADDING_MAX: u64 = 64 * 1024;

/// The headers that are handed on to the upstream, with those that begin with `X-Forwarded-`.
const HANDED_ON: [&str; 6] =
    ["authorization", "user-agent", "accept-language", "forwarded", "x-real-ip", "host"];

pub struct Ask {
    pub table: Arc<Table>,
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
    cors: String,
}

impl Ask {
    /// Reads it. In a box: it is handed on from function to function, on a stack that should stay shallow. An error is the
    /// sentence for a 400.
    pub fn read(exchange: &Exchange, http: &Http, cors: &str) -> Result<Box<Ask>, String> {
        let head = &exchange.head;
        let (path, query) = head.path_and_query();
        let number = |name: &str| {
            query::first(query, name).map(|text| query::whole_number(name, &text)).transpose()
        };
        let timeout = timeout(query)?;
        let last = last_event_id(head, query);
        let came_back = last.is_some();
        let start = last.map_or_else(|| after(query), Ok)?;
        let protocols = protocols(query)?;
        let tunnel = protocols.is_some();
        let is_get = head.method == "GET";
        let is_stream = is_get && accepts(head, "text/event-stream");
        let join = JoinRequest {
            path: path.to_owned(),
            came_back: is_stream && came_back,
            start: if is_get { start } else { Start::Fresh },
            kind: if is_stream { Kind::Stream } else { Kind::Poll },
            tunnel,
            queue: number("poll-queue")?.map(|queue| queue_of(queue, http.queue_max)),
            channels: if is_get && !tunnel { query::channels(query)? } else { Vec::new() },
            handshake: handshake(exchange, http, protocols),
        };
        // A POST may have the same URL as the stream: there it says nothing.
        let raw = is_get && query::raw(query)?;
        if raw && (tunnel || !is_stream) {
            let why = "raw: only a stream of channels can be raw, neither a poll nor a tunnel";
            return Err(why.to_owned());
        }
        let seq = number("seq")?;
        if seq == Some(0) {
            return Err("seq: the first POST of a tunnel is number 1".to_owned());
        }
        let padding = number("padding")?.unwrap_or(0).min(PADDING_MAX) as usize;
        let (heartbeat, cors) = (http.heartbeat, cors.to_owned());
        let table = Arc::clone(&http.table);
        Ok(Box::new(Ask { table, join, timeout, heartbeat, padding, seq, raw, cors }))
    }

    /// Any answer about a session: the page that asked may read it.
    pub fn answer(&self, mut answer: Answer) -> Answer {
        answer.headers += &self.cors;
        answer
    }
}

/// A link, an image or a script of a page, by an author who knows the id, would be fetched with the user's cookies: it
/// opens nothing. A request for a WebSocket is at the wrong server.
pub fn refuse_what_is_no_client(head: &Head) -> Result<(), Answer> {
    let is = |name: &str, value: &[u8]| head.first(name).map(|v| v.eq_ignore_ascii_case(value));
    let mode = |mode: &[u8]| is("sec-fetch-mode", mode);
    let site = |site: &[u8]| is("sec-fetch-site", site) == Some(true);
    let of_element = match (mode(b"no-cors"), is("sec-fetch-dest", b"empty")) {
        (Some(true), _) | (_, Some(false)) => true,
        (None, None) => is_of_element(head),
        _ => false,
    };
    let (status, why) = if is("upgrade", b"websocket") == Some(true) {
        (
            400,
            "the bridge speaks no WebSocket: connect to the cable server, or use an EventSource or a poll here",
        )
    } else if mode(b"navigate").unwrap_or_else(|| accepts(head, "text/html")) {
        (
            406,
            "this is no page: send an Accept of text/event-stream for a stream, of application/json for a poll; /-/ is a page to try the bridge with",
        )
    } else if (site(b"cross-site") || site(b"same-site")) && head.first("origin").is_none() {
        (403, "a request of another site needs an Origin: use an EventSource, or fetch with CORS")
    } else if of_element {
        (403, "no element of a page may load a session: use an EventSource, or fetch")
    } else {
        return Ok(());
    };
    Err(error(status, why))
}

/// Whether Accept names this media type, in any case, with any q.
pub fn accepts(head: &Head, media_type: &str) -> bool {
    media_types(head).any(|name| name.eq_ignore_ascii_case(media_type.as_bytes()))
}

/// Whether Accept is that of an `<img>`, a style sheet, a video: what older browsers, and any on plain HTTP, tell of where
/// the request comes from.
fn is_of_element(head: &Head) -> bool {
    let kinds: [&[u8]; 4] = [b"image/", b"text/css", b"video/", b"audio/"];
    let mut names = media_types(head).map(<[u8]>::to_ascii_lowercase);
    names.any(|name| kinds.iter().any(|kind| name.starts_with(kind)))
}

/// What Accept names, without parameters.
fn media_types(head: &Head) -> impl Iterator<Item = &[u8]> {
    let ranges = head.list("accept");
    ranges.map(|range| range.split(|byte| *byte == b';').next().unwrap_or(range).trim_ascii())
}

/// What the upstream's handshake carries of this request.
fn handshake(exchange: &Exchange, http: &Http, protocols: Option<String>) -> Handshake {
    let head = &exchange.head;
    let (_, query) = head.path_and_query();
    let query = query::passed_on(query, &http.server_query, protocols.is_some());
    let mut headers = Vec::new();
    // HTTP/2 sends cookies in pieces (RFC 9113, 8.2.3), and Rails wants them whole.
    let cookies: Vec<&[u8]> = head.all("cookie").collect();
    if !cookies.is_empty() {
        headers.push(("Cookie".to_owned(), cookies.join(&b"; "[..])));
    }
    for (name, value) in head.headers() {
        let lower = name.to_ascii_lowercase();
        let forwarded = lower.starts_with("x-forwarded-") && lower != "x-forwarded-for";
        if forwarded || HANDED_ON.contains(&lower.as_str()) {
            headers.push((name.to_owned(), value.to_vec()));
        }
    }
    if let Some(origin) = http.origins.origin_for_upstream(head) {
        headers.push(("Origin".to_owned(), origin));
    }
    let peer = exchange.peer.map(|peer| peer.to_string().into_bytes());
    let hops: Vec<&[u8]> = head.all("x-forwarded-for").chain(peer.as_deref()).collect();
    if !hops.is_empty() {
        headers.push(("X-Forwarded-For".to_owned(), hops.join(&b", "[..])));
    }
    let protocol = protocols.map_or(Protocol::Cable, |protocols| Protocol::Raw { protocols });
    Handshake { query, headers, protocol }
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

/// How long a poll waits for its forced reply; `None`: there is none.
fn timeout(query: &str) -> Result<Option<Duration>, String> {
    let seconds = match query::first(query, "timeout").as_deref() {
        None => return Ok(Some(TIMEOUT.0)),
        Some("-1") => 0,
        Some(text) => query::whole_number("timeout", text)?,
    };
    Ok((seconds > 0).then(|| Duration::from_secs(seconds).min(TIMEOUT.1)))
}

fn queue_of(wanted: u64, max: usize) -> usize {
    let wanted = if wanted == 0 { crate::session::POLL_QUEUE_DEFAULT as u64 } else { wanted };
    usize::try_from(wanted).unwrap_or(max).min(max)
}
