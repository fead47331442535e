//! What waits: it runs on the client's own thread, on the client's own socket.

use super::answers::{EVENT_STREAM, denied, denied_stream, error};
use super::ask::Ask;
use super::items;
use crate::frame::quoted;
use crate::gate::{Answer, Client, ClientHandle};
use crate::session::{ClientConnection, Found, SendFramesError, SessionError, Table};
use crate::{poll, sse};
use std::io;
use std::sync::Arc;

impl ClientConnection for ClientHandle {
    fn has_left(&self) -> bool {
        ClientHandle::has_left(self)
    }

    fn cut(&self) {
        ClientHandle::cut(self);
    }
}

fn connection(client: &Client) -> Arc<dyn ClientConnection> {
    Arc::new(client.handle())
}

/// Answers a GET for SSE: joins the session, then writes until one of the two ends.
pub fn stream(
    table: &Arc<Table>,
    ask: Box<Ask>,
    found: Result<Found, SessionError>,
    client: &mut Client,
) -> io::Result<()> {
    let connection = connection(client);
    let joined = found.and_then(|found| table.join_stream(found, &ask.join, &connection));
    let mut stream = match joined {
        Ok(stream) => stream,
        Err(problem) => return refuse_stream(problem, &ask, client),
    };
    let _watch = client.on_disconnect(stream.handle.disconnect_hook());
    stream.handle.evict_displaced();
    let head = Answer::new(200)
        .with("Content-Type", EVENT_STREAM)
        .with("X-Session-Id", stream.handle.session_id());
    let head = ask.answer(head);
    // A client that is half open would rest on it.
    client.close_after();
    client.begin(head.status, &head.headers)?;
    let (padding, raw, heartbeat) = (ask.padding, ask.raw, ask.heartbeat);
    // A stream lives for hours: nothing of its request is kept for it.
    drop((ask, head));
    if sse::run(&mut stream, client, padding, heartbeat, raw)? == sse::End::Orderly {
        client.end()?;
    }
    Ok(())
}

/// Says why there is no stream. One that says no more than when to come back is cut: some clients take an orderly end for
/// the last word.
fn refuse_stream(problem: SessionError, ask: &Ask, client: &mut Client) -> io::Result<()> {
    let answer = ask.answer(denied_stream(problem, ask.join.tunnel));
    if answer.status != 200 {
        return client.answer(answer);
    }
    client.close_after();
    client.begin(answer.status, &answer.headers)?;
    client.write_all(&answer.body)
}

/// Answers a GET for a long poll.
pub fn poll(table: &Arc<Table>, ask: Box<Ask>, client: &mut Client) -> io::Result<()> {
    let mut poll = match table.join_poll(&ask.join, &connection(client)) {
        Ok(poll) => poll,
        Err(problem) => return client.answer(ask.answer(denied(problem))),
    };
    let watch = client.on_disconnect(poll.handle.disconnect_hook());
    poll.handle.evict_displaced();
    let head = Answer::new(200)
        .with("Content-Type", "application/json")
        .with("X-Session-Id", poll.handle.session_id());
    let (head, timeout, heartbeat) = (ask.answer(head), ask.timeout, ask.heartbeat);
    // A poll may wait for hours: nothing of its request is kept for it.
    drop(ask);
    let mut begun = false;
    let reply = poll::wait(&poll, timeout, heartbeat, || {
        if !begun {
            begun = true;
            client.begin(head.status, &head.headers)?;
        }
        client.write_all(b" ")
    })?;
    drop(watch);
    // A client that has gone consumes nothing: its socket would still take the bytes.
    let Some(reply) = reply.filter(|_| !client.handle().has_left()) else {
        return Err(io::ErrorKind::ConnectionAborted.into());
    };
    if begun {
        client.write_all(reply.json.as_bytes())?;
        client.end()?;
    } else {
        client.answer(head.body(reply.json.clone()))?;
    }
    poll.written(&reply);
    Ok(())
}

/// Answers a POST, by what its path is: a tunnel, or a session.
pub fn post(table: &Arc<Table>, mut ask: Box<Ask>, client: &mut Client) -> io::Result<()> {
    let answer = if table.is_tunnel(&ask.join.path) || ask.is_for_tunnel() {
        ask.join.tunnel = true;
        frames(table, &ask)
    } else {
        items(table, &ask)
    };
    client.answer(ask.answer(answer.unwrap_or_else(|refusal| refusal)))
}

/// Each item is done on its own, in order.
fn items(table: &Arc<Table>, ask: &Ask) -> Result<Answer, Answer> {
    let items = items::parse(&ask.body).map_err(|why| error(400, &why))?;
    let session = table.for_post(&ask.join).map_err(denied)?;
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
    Ok(Answer::new(200)
        .with("Content-Type", "application/json")
        .with("X-Session-Id", session.id.as_str())
        .body(body))
}

/// The frames go up in order, all of them or none.
fn frames(table: &Arc<Table>, ask: &Ask) -> Result<Answer, Answer> {
    let session = table.for_frames(&ask.join).map_err(denied)?;
    if items::is_array(&ask.body) {
        return Err(denied(SessionError::WrongKind));
    }
    let frames = items::frames(&ask.body).map_err(|why| error(400, &why))?;
    session.send_frames(ask.seq, frames).map_err(|problem| match problem {
        SendFramesError::Skips { expected } => {
            let next = format!("the next POST of this tunnel is number {expected}");
            error(409, &format!("seq: {next}, send that first"))
        }
        SendFramesError::Closed(close) => denied(SessionError::Gone(close)),
        SendFramesError::Busy => {
            error(503, "the upstream takes no frames at the moment, send them again")
                .with("Retry-After", "2")
        }
    })?;
    Ok(Answer::new(204).with("X-Session-Id", session.id.as_str()))
}

/// Answers a DELETE: the session ends now.
pub fn delete(table: &Arc<Table>, mut ask: Box<Ask>, client: &mut Client) -> io::Result<()> {
    ask.join.tunnel = table.is_tunnel(&ask.join.path);
    let answer = match table.delete(&ask.join, ask.seq) {
        Ok(session_id) => Answer::new(204).with("X-Session-Id", session_id),
        Err(SessionError::NotFound) => error(404, "no such session: there is nothing to end"),
        Err(problem) => denied(problem),
    };
    client.answer(ask.answer(answer))
}
