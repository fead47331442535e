//! Attacks by what a request says: lengths, heads, encodings, JSON, and bytes that are no HTTP.

use std::io::Write;

use super::attacker::{Attacker, read};
use super::crowds::{get, post};
use crate::support::{CHAT, send, subscribe};

const POST: &str = "POST /a HTTP/1.1\r\nHost: a\r\n";

pub fn huge_lengths(attacker: &mut Attacker) {
    let length = attacker.rng.pick(&[
        "1000000000000",
        "18446744073709551615",
        "99999999999999999999999999",
        "-1",
        "0x10",
        "+3",
        "many",
    ]);
    attacker.refused(format!("{POST}Content-Length: {length}\r\n\r\n"));
}

pub fn header_floods(attacker: &mut Attacker) {
    let line = attacker.rng.pick(&["a:b\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "Cookie: a=b\r\n"]);
    attacker.refused(format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n", line.repeat(100_000 / 5)));
}

/// As much as the bridge takes, and at most a megabyte.
pub fn heads_without_end(attacker: &mut Attacker) {
    let Some(mut socket) = attacker.fling("GET /a HTTP/1.1\r\nHost: a\r\nX: ") else { return };
    let taken = (0..256).take_while(|_| socket.write_all(&[b'x'; 4096]).is_ok()).count();
    let answer = read(&mut socket);
    if !answer.is_empty() && !answer.starts_with("HTTP/1.1 4") {
        attacker.complain(&format!("after {taken} pieces: {answer:.200}"));
    }
}

pub fn cut_requests(attacker: &mut Attacker) {
    let path = attacker.path();
    let body = format!("[{}]", [subscribe(CHAT), send(CHAT, "{}")].join(","));
    let whole = match attacker.rng.below(3) {
        0 => post(&path, &body),
        1 => get(&path, "Accept: text/event-stream\r\n"),
        _ => format!("{POST}Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n"),
    };
    let cut = attacker.rng.below(whole.len() - 1);
    if let Some(socket) = attacker.fling(&whole[..cut]) {
        attacker.leave(socket);
    }
}

/// A whole GET, and a FIN or a reset right behind it.
pub fn departures(attacker: &mut Attacker) {
    let path = attacker.path();
    let accept = attacker.rng.pick(&["Accept: text/event-stream\r\n", ""]);
    if let Some(socket) = attacker.fling(get(&path, accept)) {
        attacker.leave(socket);
    }
}

pub fn smugglers(attacker: &mut Attacker) {
    let hidden = "GET /-/health HTTP/1.1\r\nHost: a\r\n\r\n";
    let headers = attacker.rng.pick(&[
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Content-Length : 0\r\n",
        "Host: a\r\n folded: 1\r\n",
        "Content-Length: 0\rX: y\r\n",
        "X: a\0b\r\n",
    ]);
    attacker.refused(format!("{POST}{headers}\r\n{hidden}"));
}

pub fn bad_chunks(attacker: &mut Attacker) {
    let chunk = attacker.rng.pick(&[
        "x\r\n",
        "-1\r\n",
        "ffffffffffffffffff\r\n",
        "ffffffffffffffff\r\n",
        "2\r\n[]0\r\n\r\n",
        "0x1\r\na\r\n",
        "1\na\n0\n\n",
    ]);
    attacker.refused(format!("{POST}Transfer-Encoding: chunked\r\n\r\n{chunk}\r\n\r\n"));
}

/// A million bytes, each in a chunk of its own.
pub fn tiny_chunks(attacker: &mut Attacker) {
    let body = "1\r\n \r\n".repeat(50_000);
    attacker.answer(format!("{POST}Transfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n"));
}

pub fn no_http(attacker: &mut Attacker) {
    let bytes = attacker.rng.pick(&[
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\n\r\n",
        b"G\xc3\xa4T /a HTTP/1.1\r\n\r\n",
        b"GET /a HTTP/0.9\r\n\r\n",
        b"{\"identifier\":1}\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ]);
    attacker.refused(bytes);
}

/// A hundred requests in one breath, answered in order or given up.
pub fn pipelines(attacker: &mut Attacker) {
    let one = "GET /-/health HTTP/1.1\r\nHost: a\r\n\r\nDELETE /none HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET /-/health HTTP/1.0\r\n\r\n";
    let answer = attacker.answer(format!("{}{last}", one.repeat(50)));
    let answers = answer.matches("HTTP/1.").count();
    if answers > 101 {
        attacker.complain(&format!("{answers} answers to 101 requests"));
    }
}

pub fn bad_json(attacker: &mut Attacker) {
    let path = format!("/bad-json-{}", attacker.rng.below(4));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = match attacker.rng.below(8) {
        0 => deep,
        1 => format!(r#"[{{"identifier":{deep},"subscribe":true}}]"#),
        2 => "[".repeat(500_000),
        3 => format!("[{}]", vec!["1"; 9_000].join(",")),
        4 => r#"[{"identifier":{"channel":"\ud800"},"subscribe":true}]"#.to_owned(),
        5 => format!(r#"[{{"identifier":{CHAT},"identifier":{CHAT},"send":7}}]"#),
        6 => "[{},{\"identifier\":7},null,".to_owned(),
        _ => " ".repeat(900_000),
    };
    attacker.answer(post(&format!("{path}?poll-queue=8"), &body));
}

/// What is no client of a session: pages, links, other methods, paths that are none.
pub fn strangers(attacker: &mut Attacker) {
    let request = match attacker.rng.below(8) {
        0 => get("/chaos-0", "Sec-Fetch-Mode: navigate\r\nCookie: c=1\r\n"),
        1 => get("/chaos-0", "Accept: text/html\r\n"),
        2 => get("/chaos-0", "Sec-Fetch-Site: cross-site\r\nAccept: text/event-stream\r\n"),
        3 => get(&format!("/{}", "x".repeat(600)), ""),
        4 => "PUT /chaos-0 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(),
        5 => "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        6 => get("/cable", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        _ => get("/chaos-0?after=x&timeout=y", ""),
    };
    // Each alone, so that the next answer is no second one.
    let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    attacker.refused(request);
}
