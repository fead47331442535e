//! What waits: it runs on the client's own thread, on the client's own socket; `begin` alone runs before, and waits for nothing.

use super::Settings;
use super::answers::{denied, denied_stream, error};
use super::ask::Ask;
use super::items;
use crate::frame::quoted;
use crate::gate::{Answer, Client};
use crate::session::{Begun, Denial, Opener, PollAsk, StreamAsk, Table, Untaken};
use crate::{poll, sse};
use std::io;
use std::sync::Arc;

/// What a GET for SSE does at once: finds or opens its session.
pub fn begin(table: &Arc<Table>, ask: &Ask) -> Result<Begun, Denial> {
    with_stream_ask(ask, |ask| table.begin_stream(ask))
}

fn with_stream_ask<T>(ask: &Ask, run: impl FnOnce(&StreamAsk<'_>) -> T) -> T {
    run(&StreamAsk {
        opener: ask.opener(&|| ask.handshake()),
        start: ask.start.clone(),
        came_back: ask.came_back(),
    })
}

/// Answers a GET for SSE: joins the session, then writes until one of the two ends.
pub fn stream(
    table: &Arc<Table>,
    ask: Box<Ask>,
    begun: Result<Begun, Denial>,
    settings: &Settings,
    client: &mut Client,
) -> io::Result<()> {
    let hangup = client.hangup();
    let joined =
        begun.and_then(|begun| with_stream_ask(&ask, |ask| table.join_stream(begun, ask, &hangup)));
    let mut stream = match joined {
        Ok(stream) => stream,
        Err(denial) => return refuse_stream(&denial, &ask, client),
    };
    let _watch = client.on_leave(stream.leaver());
    stream.evict_former();
    let head = Answer::new(200)
        .with("Content-Type", "text/event-stream")
        .with("X-Session-Id", stream.session_id());
    let head = ask.answer(head);
    client.begin(head.status, &head.headers)?;
    let (padding, raw) = (ask.padding, ask.raw);
    // A stream lives for hours: nothing of its request is kept for it.
    drop((ask, head));
    sse::run(&mut stream, client, padding, settings.heartbeat, raw)
}

/// Says why there is no stream. One that says no more than when to come back ends with its connection, as they all do.
fn refuse_stream(denial: &Denial, ask: &Ask, client: &mut Client) -> io::Result<()> {
    let answer = ask.answer(denied_stream(denial, ask.protocols.is_some()));
    if answer.status != 200 {
        return client.answer(answer);
    }
    client.begin(answer.status, &answer.headers)?;
    client.write_all(&answer.body)
}

/// Answers a GET for a long poll.
pub fn poll(
    table: &Arc<Table>,
    ask: &Ask,
    settings: &Settings,
    client: &mut Client,
) -> io::Result<()> {
    let handshake = || ask.handshake();
    let opened = table.open_poll(&PollAsk {
        opener: ask.opener(&handshake),
        start: ask.start.clone(),
        queue: ask.queue,
        hangup: client.hangup(),
    });
    let mut poll = match opened {
        Ok(poll) => poll,
        Err(denial) => return client.answer(ask.answer(denied(&denial))),
    };
    let watch = client.on_leave(poll.leaver());
    poll.evict_former();
    let head = Answer::new(200)
        .with("Content-Type", "application/json")
        .with("X-Session-Id", poll.session_id());
    let head = ask.answer(head);
    let mut begun = false;
    let reply = poll::wait(&poll, ask.timeout, settings.heartbeat, || {
        if !begun {
            begun = true;
            client.begin(head.status, &head.headers)?;
        }
        client.write_all(b" ")
    })?;
    drop(watch);
    // A client that has gone consumes nothing: its socket would still take the bytes.
    let Some(reply) = reply.filter(|_| !client.hangup().has_left()) else {
        return Err(io::ErrorKind::ConnectionAborted.into());
    };
    if begun {
        client.write_all(reply.json.as_bytes())?;
    } else {
        client.answer(head.body(reply.json.clone()))?;
    }
    poll.written(&reply);
    Ok(())
}

/// Answers a POST, by what its path is: a tunnel, or a session.
pub fn post(table: &Arc<Table>, ask: &Ask, body: &[u8], client: &mut Client) -> io::Result<()> {
    let answer = if table.is_tunnel(&ask.path) || ask.is_for_tunnel() {
        frames(table, ask, body)
    } else {
        items(table, ask, body)
    };
    client.answer(ask.answer(answer))
}

/// Each item is done on its own, in order.
fn items(table: &Arc<Table>, ask: &Ask, body: &[u8]) -> Answer {
    let items = match items::parse(body) {
        Ok(items) => items,
        Err(why) => return error(400, &why),
    };
    let handshake = || ask.handshake();
    let session = match table.for_post(&ask.opener(&handshake), ask.queue) {
        Ok(session) => session,
        Err(denial) => return denied(&denial),
    };
    let results = items.into_iter().map(|item| {
        let outcome = item.map_err(|why| (why, None)).and_then(|request| session.run(request));
        let (error, chan_id) = match outcome {
            Ok(chan_id) => ("null".to_owned(), Some(chan_id)),
            Err((why, chan_id)) => (quoted(&why), chan_id),
        };
        let chan_id = chan_id.map_or("null".to_owned(), |id| quoted(&id));
        format!(r#"{{"error":{error},"session_id":"{}","chan_id":{chan_id}}}"#, session.id)
    });
    let body = format!("[{}]\n", results.collect::<Vec<_>>().join(","));
    session.flush();
    Answer::new(200)
        .with("Content-Type", "application/json")
        .with("X-Session-Id", session.id.as_str())
        .body(body)
}

/// The frames go up in order, all of them or none.
fn frames(table: &Arc<Table>, ask: &Ask, body: &[u8]) -> Answer {
    let handshake = || ask.handshake();
    let opener = Opener { tunnel: true, ..ask.opener(&handshake) };
    let session = match table.for_frames(&opener) {
        Ok(session) => session,
        Err(denial) => return denied(&denial),
    };
    if body.trim_ascii_start().starts_with(b"[") {
        return denied(&Denial::WrongKind);
    }
    let frames = match items::frames(body) {
        Ok(frames) => frames,
        Err(why) => return error(400, &why),
    };
    match session.send_frames(ask.seq, frames) {
        Ok(()) => Answer::new(204).with("X-Session-Id", session.id.as_str()),
        Err(Untaken::Skips { expected }) => error(
            409,
            &format!("seq: the next POST of this tunnel is number {expected}, send that first"),
        ),
        Err(Untaken::Closed(close)) => denied(&Denial::Gone(Some(close))),
        Err(Untaken::Busy) => {
            error(503, "the upstream takes no frames at the moment, send them again")
                .with("Retry-After", "2")
        }
    }
}

/// Answers a DELETE: the session ends now.
pub fn delete(table: &Arc<Table>, ask: &Ask, client: &mut Client) -> io::Result<()> {
    let handshake = || ask.handshake();
    let opener = Opener { tunnel: table.is_tunnel(&ask.path), ..ask.opener(&handshake) };
    let answer = match table.delete(&opener, ask.seq) {
        Ok(session_id) => Answer::new(204).with("X-Session-Id", session_id),
        Err(Denial::NotFound) => error(404, "no such session: there is nothing to end"),
        Err(denial) => denied(&denial),
    };
    client.answer(ask.answer(answer))
}
