//! Attacks from within: sessions of the attackers' own, used as nobody would, and upstreams that behave badly.

use std::net::TcpStream;

use super::attacker::{Attacker, read};
use super::crowds::{get, post};
use super::upstream::MISBEHAVIOURS;
use crate::support::{CHAT, send, subscribe};

const STREAM: &str = "Accept: text/event-stream\r\n";

/// Sessions with a bad upstream that are held at a time.
const BAD: usize = 30;

/// Streams that fight for one place.
const RIVALS: usize = 6;

/// Each opens a session whose upstream behaves badly, and stays for a while.
pub fn bad_upstreams(attacker: &mut Attacker) {
    if attacker.sift() >= BAD {
        let oldest = attacker.held.remove(0);
        attacker.leave(oldest);
    }
    let bad = attacker.round % MISBEHAVIOURS.len() as u64;
    let path = attacker.path();
    let accept = if attacker.rng.percent(70) { STREAM } else { "" };
    let socket = attacker.fling(get(&format!("{path}?bad={bad}"), accept));
    attacker.held.extend(socket);
}

/// One session, a few that know its event ids: each takes the place of the one before.
pub fn takeovers(attacker: &mut Attacker) {
    let path = format!("/rivals-{}", attacker.round / 50);
    let known = attacker.held.last_mut().and_then(first_id);
    let id = known.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
    let socket = attacker.fling(get(&path, &format!("{STREAM}{id}")));
    attacker.held.extend(socket);
    if attacker.held.len() > RIVALS {
        let oldest = attacker.held.remove(0);
        attacker.leave(oldest);
    }
}

/// The first event id that came on a stream.
fn first_id(stream: &mut TcpStream) -> Option<String> {
    use std::io::Read;
    let mut buffer = [0; 2048];
    let count = stream.read(&mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
    let id = text.lines().find_map(|line| line.strip_prefix("id: "))?;
    Some(id.to_owned())
}

/// Event ids that are nobody's, on sessions of the attacker's own.
pub fn forged_ids(attacker: &mut Attacker) {
    let path = attacker.path();
    let id = match attacker.rng.below(5) {
        0 => "0".repeat(32) + ".1",
        1 => "%0d%0aevent: evil".to_owned(),
        2 => format!("{}.{}", "f".repeat(32), "9".repeat(40)),
        3 => "x".repeat(8_000),
        _ => "\u{e4}\u{1f680}".to_owned(),
    };
    if let Some(mut socket) =
        attacker.fling(get(&path, &format!("{STREAM}Last-Event-ID: {id}\r\n")))
    {
        let mut begin = [0; 4096];
        let count = std::io::Read::read(&mut socket, &mut begin).unwrap_or(0);
        if String::from_utf8_lossy(&begin[..count]).contains("evil") {
            attacker.complain("an id came back");
        }
        attacker.leave(socket);
    }
}

/// Tunnels with frames out of order, and after their end.
pub fn tunnels(attacker: &mut Attacker) {
    let path = attacker.path();
    let stream = attacker.fling(get(&format!("{path}?protocol=p1"), STREAM));
    for (query, body) in [
        ("seq=1", "\"one\""),
        ("seq=3", "\"three\""),
        ("seq=1", "\"again\""),
        ("seq=2", "no string"),
        ("protocol=", "[]"),
        ("seq=99999999999999999999", "\"\\ud800\""),
    ] {
        attacker.answer(post(&format!("{path}?{query}"), body));
    }
    attacker.answer(format!(
        "DELETE {path}?protocol= HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ));
    if let Some(stream) = stream {
        attacker.leave(stream);
    }
}

/// More channels and more held sends than there may be.
pub fn channels(attacker: &mut Attacker) {
    let path = attacker.path();
    let rooms = (0..400).map(|n| format!(r#"{{"channel":"RoomChannel","room":{n}}}"#));
    let items: Vec<String> = rooms.map(|room| subscribe(&room)).collect();
    attacker.answer(post(&format!("{path}?poll-queue=8"), &format!("[{}]", items.join(","))));
    let sends = vec![send(CHAT, "{}"); 1000];
    attacker.answer(post(&path, &format!("[{}]", sends.join(","))));
}

/// POSTs and DELETEs of sessions that are not there, and of one that always is, until it is not.
pub fn ends(attacker: &mut Attacker) {
    let path = format!("/ends-{}", attacker.rng.below(8));
    let delete =
        |path: &str| format!("DELETE {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let stream = attacker.fling(get(&path, STREAM));
    let request = match attacker.rng.below(3) {
        0 => delete(&path),
        1 => delete("/never-there"),
        _ => post("/never-there", "[1]"),
    };
    attacker.answer(request);
    if let Some(mut stream) = stream {
        let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(50)));
        read(&mut stream);
        attacker.leave(stream);
    }
}
