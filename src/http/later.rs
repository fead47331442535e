//! What waits: it runs on the client's own thread, on the client's own socket.

use super::Settings;
use super::answers::{denied, denied_stream};
use super::ask::Ask;
use crate::frame::quoted;
use crate::gate::{Answer, Client};
use crate::session::{Denial, PollAsk, Request, StreamAsk, Table};
use crate::{poll, sse};
use std::io;
use std::sync::Arc;

/// Answers a GET for SSE: opens or rejoins the session, then writes until one of the two ends.
pub fn stream(
    table: &Arc<Table>,
    ask: &Ask,
    settings: &Settings,
    client: &mut Client,
) -> io::Result<()> {
    let handshake = || ask.handshake();
    let opened = table.open_stream(&StreamAsk {
        opener: ask.opener(&handshake),
        start: ask.start.clone(),
        came_back: ask.came_back(),
        hangup: client.hangup(),
    });
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(denial) => return refuse_stream(&denial, ask, client),
    };
    let _watch = client.on_leave(stream.leaver());
    stream.evict_former();
    let head = Answer::new(200)
        .with("Content-Type", "text/event-stream")
        .with("X-Session-Id", stream.session_id());
    let head = ask.answer(head);
    client.begin(head.status, &head.headers)?;
    sse::run(&stream, client, ask.padding, settings.heartbeat)
}

/// Says why there is no stream. One that says no more than when to come back ends with its connection, as they all do.
fn refuse_stream(denial: &Denial, ask: &Ask, client: &mut Client) -> io::Result<()> {
    let answer = ask.answer(denied_stream(denial));
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

/// Answers a POST: each item is done on its own, in order.
pub fn post(
    table: &Arc<Table>,
    ask: &Ask,
    items: Vec<Result<Request, String>>,
    client: &mut Client,
) -> io::Result<()> {
    let handshake = || ask.handshake();
    let session = match table.for_post(&ask.opener(&handshake), ask.queue) {
        Ok(session) => session,
        Err(denial) => return client.answer(ask.answer(denied(&denial))),
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
    let answer = Answer::new(200)
        .with("Content-Type", "application/json")
        .with("X-Session-Id", session.id.as_str());
    client.answer(ask.answer(answer.body(body)))
}

/// Answers a DELETE: the session ends now.
pub fn delete(table: &Arc<Table>, ask: &Ask, client: &mut Client) -> io::Result<()> {
    let handshake = || ask.handshake();
    let answer = match table.delete(&ask.opener(&handshake)) {
        Ok(session_id) => Answer::new(204).with("X-Session-Id", session_id),
        Err(denial) => denied(&denial),
    };
    client.answer(ask.answer(answer))
}
