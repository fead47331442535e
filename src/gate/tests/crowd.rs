//! The gate at its limits: many clients, few descriptors, a server behind it that breaks, and its end.
//!
//! What counts threads or descriptors runs in a process of its own (`alone`).

use std::process::Command;
use std::sync::atomic::Ordering;

use super::super::testing::*;
use super::super::*;
use crate::memory::Budget;

#[test]
fn over_the_cap_a_resting_connection_makes_room() {
    let limits = Limits { connections: 10, ..LIMITS };
    let timeouts = Timeouts { evict: Duration::ZERO, ..Timeouts::USUAL };
    let gate = Arc::new(Web::new()).open_with(limits, timeouts);
    let mut silent: Vec<Peer> = (0..10).map(|_| Peer::connect(&gate)).collect();
    assert!(eventually(|| gate.connections() == 10));

    let got = Peer::sends(&gate, get("/")).got();

    assert_eq!(got.status(), 200);
    assert!(silent[0].rest().is_empty(), "the oldest one was closed");
}

#[test]
fn over_the_cap_a_body_that_does_not_come_makes_room() {
    let limits = Limits { connections: 2, ..LIMITS };
    let timeouts = Timeouts { evict: Duration::ZERO, ..Timeouts::USUAL };
    let gate = Arc::new(Web::new()).open_with(limits, timeouts);
    let begun =
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    let mut slow: Vec<Peer> = (0..2).map(|_| Peer::sends(&gate, begun)).collect();
    slow.iter_mut().for_each(|peer| assert_eq!(peer.got_head().status(), 100));

    let got = Peer::sends(&gate, get("/")).got();

    assert_eq!(got.status(), 200);
    assert!(slow[0].rest().is_empty(), "the oldest one was closed");
}

#[test]
fn over_the_cap_of_connections_that_work_a_new_one_is_told_503() {
    let limits = Limits { connections: 2, ..LIMITS };
    let (hold, held) = crossbeam_channel::bounded::<()>(0);
    let web = Web::with_later(move |_| {
        let held = held.clone();
        Box::new(move |client| {
            client.begin(200, "")?;
            let _ = held.recv();
            Ok(())
        })
    });
    let gate = Arc::new(web).open_with(limits, Timeouts::USUAL);
    let mut streams: Vec<Peer> = (0..2).map(|_| Peer::sends(&gate, get("/later"))).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(stream.got_head().status(), 200));

    let mut refused = Peer::sends(&gate, get("/"));

    let got = refused.got();
    assert_eq!(got.status(), 503);
    assert_eq!(got.header("Retry-After"), Some("2"));
    assert!(refused.rest().is_empty());
    // A crowd that does not hang up when it is told so holds up nobody.
    let mut crowd: Vec<Peer> = (0..50).map(|_| Peer::connect(&gate)).collect();
    assert!(crowd.iter_mut().all(|peer| peer.got().status() == 503));
    drop(hold);
}

#[test]
fn of_300_that_come_at_once_none_is_stranded() {
    let gate = Web::new().open();
    let mut peers: Vec<Peer> = (0..300).map(|_| Peer::connect(&gate)).collect();

    peers.iter_mut().for_each(|peer| peer.send(get("/")));

    assert!(peers.iter_mut().all(|peer| peer.got().status() == 200));
    assert!(peers.iter_mut().all(|peer| {
        peer.send(get("/"));
        peer.got().status() == 200
    }));
}

#[test]
fn a_gate_on_a_socket_file_serves_and_removes_the_file() {
    let path = std::env::temp_dir().join(format!("gate-{}.sock", std::process::id()));
    let listener = bind(&Address::Unix(path.clone())).unwrap();
    let inner = Inner::open(Arc::new(Web::new()), Budget::new(1 << 20), Timeouts::USUAL).unwrap();
    let gate = Gate::open(Door::Admin, listener, LIMITS, &inner).unwrap();
    assert_eq!(gate.address().to_string(), format!("unix:{}", path.display()));

    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let close = "GET /peer HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, close.as_bytes()).unwrap();
    let mut got = String::new();
    std::io::Read::read_to_string(&mut stream, &mut got).unwrap();
    gate.close();

    assert!(got.ends_with("\r\n\r\nAdmin None"), "{got}");
    assert!(!path.exists());
}

#[test]
fn closing_ends_idle_connections_and_lets_a_request_under_way_finish() {
    let (hold, held) = crossbeam_channel::bounded::<()>(0);
    let (begun, begins) = crossbeam_channel::bounded::<()>(1);
    let gate = Web::with_later(move |_| {
        let (held, begun) = (held.clone(), begun.clone());
        Box::new(move |client| {
            begun.send(()).unwrap();
            let _ = held.recv();
            client.answer(Answer::new(200).body("done"))
        })
    })
    .open();
    let mut idle = Peer::sends(&gate, get("/"));
    assert_eq!(idle.got().status(), 200);
    let mut busy = Peer::sends(&gate, get("/later"));
    begins.recv_timeout(SOON).unwrap();

    gate.close();

    assert!(idle.rest().is_empty());
    drop(hold);
    let got = busy.got();
    assert_eq!(got.body, "done");
    assert_eq!(got.header("Connection"), Some("close"));
    assert!(busy.rest().is_empty());
    assert!(std::net::TcpStream::connect(gate.address().to_string()).is_err());
}

#[test]
fn two_gates_live_beside_each_other() {
    let one = Web::new().open();
    let other = Web::new().open();

    assert_eq!(Peer::sends(&one, get("/")).got().status(), 200);
    drop(one);
    assert_eq!(Peer::sends(&other, get("/")).got().status(), 200);
}

/// Runs a test in a process of its own, where what is counted is its own. True in that process.
fn alone(name: &str) -> bool {
    if std::env::var_os("GATE_TEST_ALONE").is_some() {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("gate::tests::crowd::{name}")])
        .env("GATE_TEST_ALONE", "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

/// Threads of this process with this name.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
    names.filter(|comm| comm.as_ref().is_ok_and(|comm| comm.trim_end() == name)).count()
}

#[test]
fn a_gate_that_was_closed_leaves_nothing_behind() {
    if !alone("a_gate_that_was_closed_leaves_nothing_behind") {
        return;
    }
    drop(Web::new().open());
    let gone = || ["gate-accept", "gate-refuse", "client", "http"].map(threads) == [0; 4];
    assert!(eventually(gone));
    let descriptors = count("fd");

    for _ in 0..10 {
        let gate = Web::new().open();
        assert_eq!(Peer::sends(&gate, get("/")).got().status(), 200);
    }

    assert!(eventually(gone));
    assert!(eventually(|| count("fd") <= descriptors));
}

/// The gate of the other process: few descriptors, a socket file, and an end when its standard input ends.
fn serve_with_64_descriptors(path: &std::path::Path) {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = Rlimit { current: Some(64), maximum: Some(64) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let listener = bind(&Address::Unix(path.to_owned())).unwrap();
    let inner = Inner::open(Arc::new(Web::new()), Budget::new(1 << 20), Timeouts::USUAL).unwrap();
    let _gate = Gate::open(Door::Public, listener, LIMITS, &inner).unwrap();
    let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
}

#[test]
fn without_descriptors_the_gate_serves_on() {
    use std::os::unix::net::UnixStream;
    let path = std::env::temp_dir().join(format!("gate-64-{}.sock", std::process::id()));
    if let Some(path) = std::env::var_os("GATE_TEST_64") {
        return serve_with_64_descriptors(path.as_ref());
    }
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gate::tests::crowd::without_descriptors_the_gate_serves_on"])
        .env("GATE_TEST_64", &path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    assert!(eventually(|| UnixStream::connect(&path).is_ok()));

    let _silent: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    std::io::Write::write_all(&mut stream, get("/").as_bytes()).unwrap();
    let mut got = [0; 15];
    std::io::Read::read_exact(&mut stream, &mut got).unwrap();

    assert_eq!(&got, b"HTTP/1.1 200 OK");
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
    let _ = std::fs::remove_file(&path);
}

#[test]
fn odd_requests_leak_no_thread_and_no_descriptor() {
    if !alone("odd_requests_leak_no_thread_and_no_descriptor") {
        return;
    }
    let gate = Web::new().open();
    assert_eq!(Peer::sends(&gate, get("/")).got().status(), 200);
    assert!(eventually(|| gate.connections() == 0));
    let (threads, descriptors) = (count("task"), count("fd"));

    for _ in 0..200 {
        assert_eq!(Peer::sends(&gate, "GET / HTTP/2.0\r\n\r\n").got().status(), 505);
        drop(Peer::sends(&gate, "GET / HTTP/1.1\r\n"));
        drop(Peer::sends(&gate, get("/later")));
    }

    assert!(eventually(|| count("task") <= threads && count("fd") <= descriptors));
    assert_eq!(Peer::sends(&gate, get("/")).got().status(), 200);
}

#[test]
fn an_inner_connection_that_breaks_is_replaced_by_a_new_set() {
    let web = Arc::new(Web::new());
    let gate = web.clone().open_with(LIMITS, Timeouts::USUAL);

    let broke = Peer::sends(&gate, get("/break")).got();
    let next = Peer::sends(&gate, get("/")).got();

    assert_eq!(broke.status(), 500);
    assert_eq!(next.status(), 200);
    assert_eq!(web.starts.load(Ordering::Relaxed), 2);
}

#[test]
fn a_request_that_http_never_saw_is_sent_again() {
    let web = Arc::new(Web::new());
    let gate = web.clone().open_with(LIMITS, Timeouts::USUAL);
    web.break_next.store(true, Ordering::Relaxed);

    let got = Peer::sends(&gate, post("/echo", "once")).got();

    assert_eq!((got.status(), got.body.as_str()), (200, "once"));
    assert_eq!(web.starts.load(Ordering::Relaxed), 2);
}

#[test]
fn while_no_set_can_be_built_clients_are_told_503_and_served_when_one_can() {
    let web = Arc::new(Web::new());
    let gate = web.clone().open_with(LIMITS, Timeouts::USUAL);
    web.broken.store(true, Ordering::Relaxed);
    assert_eq!(Peer::sends(&gate, get("/break")).got().status(), 500);

    let got = Peer::sends(&gate, get("/")).got();
    assert_eq!(got.status(), 503);
    assert_eq!(got.header("Retry-After"), Some("2"));
    web.broken.store(false, Ordering::Relaxed);

    assert!(eventually(|| Peer::sends(&gate, get("/")).got().status() == 200));
}

#[test]
fn sets_that_break_again_and_again_leave_nothing_behind() {
    if !alone("sets_that_break_again_and_again_leave_nothing_behind") {
        return;
    }
    let gate = Web::new().open();
    let descriptors = count("fd");

    for _ in 0..20 {
        assert_eq!(Peer::sends(&gate, get("/break")).got().status(), 500);
        assert_eq!(Peer::sends(&gate, get("/")).got().status(), 200);
    }

    assert!(eventually(|| count("fd") <= descriptors), "{} {descriptors}", count("fd"));
}
