//! What waits: it runs on the client's own thread, on the client's own socket.

use super::answers::{EVENT_STREAM, JSON, denied, denied_stream, done};
use super::ask::Ask;
use super::items;
use crate::frame::quoted;
use crate::gate::{Answer, Client, error};
use crate::session::{Found, SessionError};
use crate::{poll, sse};
use std::io::{self, Write};

/// Answers a GET for SSE: joins the session, then writes until one of the two ends.
pub fn stream(
    ask: Box<Ask>,
    found: Result<Found, SessionError>,
    client: &mut Client,
) -> io::Result<()> {
    let joined = found.and_then(|found| ask.table.join_stream(found, &ask.join, &client.handle()));
    let mut stream = match joined {
        Ok(stream) => stream,
        Err(problem) => return refuse_stream(problem, &ask, client),
    };
    let _watch = client.on_disconnect(stream.handle.disconnect_hook());
    stream.handle.evict_displaced();
    let head = ask.answer(done(EVENT_STREAM, stream.handle.session_id()));
    client.begin(head.status, &head.headers)?;
    let (padding, raw, heartbeat) = (ask.padding, ask.raw, ask.heartbeat);
    // A stream lives for hours: nothing of its request is kept for it.
    drop((ask, head));
    if sse::run(&mut stream, client, padding, heartbeat, raw)? == sse::End::Orderly {
        // A client that is half open would rest on a connection that is kept.
        client.end_last()?;
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
    client.begin(answer.status, &answer.headers)?;
    client.write_all(&answer.body)
}

/// Answers a GET for a long poll.
pub fn poll(ask: Box<Ask>, client: &mut Client) -> io::Result<()> {
    let connection = client.handle();
    let mut poll = match ask.table.join_poll(&ask.join, &connection) {
        Ok(poll) => poll,
        Err(problem) => return client.answer(ask.answer(denied(problem))),
    };
    let watch = client.on_disconnect(poll.handle.disconnect_hook());
    poll.handle.evict_displaced();
    let head = ask.answer(done(JSON, poll.handle.session_id()));
    let (timeout, heartbeat) = (ask.timeout, ask.heartbeat);
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
    let Some(mut reply) = reply.filter(|_| !connection.has_left()) else {
        return Err(io::ErrorKind::ConnectionAborted.into());
    };
    if begun {
        client.write_all(reply.json.as_bytes())?;
        client.end()?;
    } else {
        client.answer(head.body(std::mem::take(&mut reply.json)))?;
    }
    poll.written(&reply);
    Ok(())
}

/// Answers a POST, by what its path is: a tunnel, or a session.
pub fn post(mut ask: Box<Ask>, body: &[u8], client: &mut Client) -> io::Result<()> {
    ask.join.tunnel |= ask.seq.is_some() || ask.table.is_tunnel(&ask.join.path);
    let answer = if ask.join.tunnel { frames(&ask, body) } else { items(&ask, body) };
    client.answer(ask.answer(answer.unwrap_or_else(|refusal| refusal)))
}

/// Each item is done on its own, in order.
fn items(ask: &Ask, body: &[u8]) -> Result<Answer, Answer> {
    let items = items::parse(body).map_err(|why| error(400, &why))?;
    let session = ask.table.for_post(&ask.join).map_err(denied)?;
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
    Ok(done(JSON, &session.id).body(body))
}

/// The frames go up in order, all of them or none.
fn frames(ask: &Ask, body: &[u8]) -> Result<Answer, Answer> {
    let session = ask.table.for_frames(&ask.join).map_err(denied)?;
    if items::is_array(body) {
        return Err(denied(SessionError::WrongKind));
    }
    let frames = items::frames(body).map_err(|why| error(400, &why))?;
    session.send_frames(ask.seq, frames).map_err(denied)?;
    Ok(Answer::new(204).with("X-Session-Id", session.id.as_str()).unbuffered())
}

/// Answers a DELETE: the session ends now.
pub fn delete(mut ask: Box<Ask>, client: &mut Client) -> io::Result<()> {
    ask.join.tunnel = ask.table.is_tunnel(&ask.join.path);
    let answer = match ask.table.delete(&ask.join, ask.seq) {
        Ok(session_id) => Answer::new(204).with("X-Session-Id", session_id).unbuffered(),
        Err(SessionError::NotFound) => error(404, "no such session: there is nothing to end"),
        Err(problem) => denied(problem),
    };
    client.answer(ask.answer(answer))
}
