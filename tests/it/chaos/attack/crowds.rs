//! Attacks by number and by slowness: connections that are held and say little or nothing.

use std::io::Write;

use rustix::net::sockopt;

use super::attacker::Attacker;
use crate::support::{CHAT, send, subscribe};

const SILENT: usize = 200;
const DRIPPING: usize = 100;
const STUCK: usize = 8;
const STRANGERS: usize = 150;

/// More than one a strike would be there too slowly.
const AT_ONCE: usize = 20;

/// Connections that come together and leave together.
const BURST: usize = 300;

/// Small, so that the bridge's writes are stuck early.
const UNREAD: usize = 4 * 1024;

pub fn silent(attacker: &mut Attacker) {
    let missing = SILENT.saturating_sub(attacker.sift()).min(AT_ONCE);
    for _ in 0..missing {
        let socket = attacker.fling("");
        attacker.held.extend(socket);
    }
}

pub fn bursts(attacker: &mut Attacker) {
    attacker.held.clear();
    for _ in 0..BURST {
        let socket = attacker.fling("");
        attacker.held.extend(socket);
    }
}

pub fn slow_heads(attacker: &mut Attacker) {
    drip(attacker, "GET /slow HTTP/1.1\r\nHost: a\r\nX: ");
}

pub fn slow_bodies(attacker: &mut Attacker) {
    drip(attacker, "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n[");
}

pub fn slow_chunks(attacker: &mut Attacker) {
    drip(attacker, "POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;");
}

/// A byte on each, and new ones for those that were ended.
fn drip(attacker: &mut Attacker, begin: &str) {
    attacker.held.retain_mut(|socket| socket.write_all(b"x").is_ok());
    let missing = (DRIPPING / 3).saturating_sub(attacker.sift()).min(AT_ONCE);
    for _ in 0..missing {
        let socket = attacker.fling(begin);
        attacker.held.extend(socket);
    }
}

/// Readers that read nothing of a stream or of a poll's answer that is larger than any buffer.
pub fn stuck_readers(attacker: &mut Attacker) {
    if attacker.sift() >= STUCK {
        let oldest = attacker.held.remove(0);
        attacker.leave(oldest);
    }
    let path = attacker.path();
    let big = format!(r#"{{"x":"{}"}}"#, "x".repeat(100_000));
    let items = [vec![subscribe(CHAT)], vec![send(CHAT, &big); 9]].concat();
    attacker.answer(post(&format!("{path}?poll-queue=1000"), &format!("[{}]", items.join(","))));
    let target = if attacker.round % 2 == 0 { path } else { format!("{path}?after=0&timeout=0") };
    let accept = if attacker.round % 2 == 0 { "Accept: text/event-stream\r\n" } else { "" };
    if let Some(socket) = attacker.fling("") {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, UNREAD);
        let mut socket = socket;
        let _ = socket.write_all(get(&target, accept).as_bytes());
        attacker.held.push(socket);
    }
}

/// Ids without end, each a session and a stream: over `--max-sessions` they are told to come again.
pub fn floods_of_ids(attacker: &mut Attacker) {
    if attacker.sift() >= STRANGERS {
        let oldest = attacker.held.remove(0);
        attacker.leave(oldest);
    }
    let path = attacker.path();
    let accept = if attacker.rng.percent(70) { "Accept: text/event-stream\r\n" } else { "" };
    let socket = attacker.fling(get(&path, accept));
    attacker.held.extend(socket);
}

/// Sessions that keep as much as they may, and that nobody reads: `--max-memory` is theirs to pay.
pub fn hoards(attacker: &mut Attacker) {
    let path = attacker.path();
    let big = format!(r#"{{"x":"{}"}}"#, "x".repeat(50_000));
    let items = [vec![subscribe(CHAT)], vec![send(CHAT, &big); 18]].concat();
    attacker.answer(post(&format!("{path}?poll-queue=1000"), &format!("[{}]", items.join(","))));
}

/// A body that is promised and never sent.
pub fn expectations(attacker: &mut Attacker) {
    if attacker.sift() >= STUCK {
        attacker.held.remove(0);
    }
    let head =
        "POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n";
    let socket = attacker.fling(head);
    attacker.held.extend(socket);
}

pub fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: bridge\r\n{headers}\r\n")
}

/// The connection ends with its answer, so that the answer is read to its end.
pub fn post(target: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}
