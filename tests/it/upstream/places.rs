//! Where the server is: on a Unix socket, or behind a router that goes by name.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::Builder;

use crate::support::*;

/// Passes each connection of a socket file on to the upstream. Its threads end with their connections.
fn on_a_socket_file(upstream: &FakeUpstream, name: &str) -> PathBuf {
    let file = std::env::temp_dir().join(format!("places-{}-{name}.sock", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let (listener, host) = (UnixListener::bind(&file).unwrap(), upstream.host());
    beside(move || {
        for inner in listener.incoming().flatten() {
            let outer = TcpStream::connect(&host).unwrap();
            let (from, to) = (inner.try_clone().unwrap(), outer.try_clone().unwrap());
            beside(move || carry(&from, &to, |to| to.shutdown(Shutdown::Write)));
            beside(move || carry(&outer, &inner, |to: &UnixStream| to.shutdown(Shutdown::Write)));
        }
    });
    file
}

fn beside(work: impl FnOnce() + Send + 'static) {
    Builder::new().name("places".to_owned()).spawn(work).unwrap();
}

fn carry<'a, F, T>(mut from: &'a F, mut to: &'a T, end: impl Fn(&T) -> io::Result<()>)
where
    &'a F: Read,
    &'a T: Write,
{
    let _ = io::copy(&mut from, &mut to);
    let _ = end(to);
}

/// A router as Heroku and an ingress are: 404 for each `Host` but this one. Answers its address.
fn router(upstream: &FakeUpstream, known: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, host) = (listener.local_addr().unwrap().to_string(), upstream.host());
    beside(move || {
        for mut inner in listener.incoming().flatten() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                inner.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            if !String::from_utf8_lossy(&head).contains(&format!("\r\nHost: {known}\r\n")) {
                let _ = inner.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
            let mut outer = TcpStream::connect(&host).unwrap();
            outer.write_all(&head).unwrap();
            let (from, to) = (inner.try_clone().unwrap(), outer.try_clone().unwrap());
            beside(move || carry(&from, &to, |to| to.shutdown(Shutdown::Write)));
            beside(move || carry(&outer, &inner, |to| to.shutdown(Shutdown::Write)));
        }
    });
    address
}

#[test]
fn a_session_lives_over_a_socket_file_and_over_a_restart_behind_it() {
    let upstream = FakeUpstream::start();
    let file = on_a_socket_file(&upstream, "lives");
    let bridge = Bridge::at(&format!("unix:{}:/other/cable?x=1", file.display()), &[]);

    let (mut stream, link) = bridge.open_with(&upstream, "/a?token=2", CHAT);
    drop(link);
    stream.expect_upstream("disconnected");
    let link = upstream.welcome();

    assert_eq!(link.handshake.target(), "/other/cable?x=1&token=2");
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_socket_file_that_is_not_there_yet_is_waited_for() {
    let upstream = FakeUpstream::start();
    let file = std::env::temp_dir().join(format!("places-{}-late.sock", std::process::id()));
    let bridge = Bridge::at(&format!("unix:{}", file.display()), &[]);

    let error = bridge.get("/poll").send().refused(502);
    assert!(error.contains("the socket file of --server is not there"), "{error}");
    assert!(!error.contains("late.sock"), "{error}");
    let mut stream = bridge.get("/a").sse().stream();
    stream.expect_joined();
    let file = on_a_socket_file(&upstream, "late");
    let _link = upstream.welcome();

    stream.expect_upstream("disconnected");
    stream.expect_upstream("connected");
    let _ = std::fs::remove_file(file);
}

#[test]
fn a_router_by_name_needs_host_header_and_the_sentence_says_so() {
    let upstream = FakeUpstream::start();
    let url = format!("ws://{}/cable", router(&upstream, "app.router"));

    let without = Bridge::at(&url, &[]);
    let error = without.get("/a").sse().send().refused(403);
    assert!(error.contains("404") && error.contains("--host-header"), "{error}");

    let with = Bridge::at(&url, &["--host-header", "app.router"]);
    let asked = with.get("/a").header("Host", "site.example").sse().begin();
    let link = upstream.welcome();
    asked.stream().expect_joined();
    assert_eq!(link.handshake.header("Host").as_deref(), Some("app.router"));
    assert_eq!(link.handshake.header("X-Forwarded-Host").as_deref(), Some("site.example"));
}
