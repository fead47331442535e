//! The whole gate, from a client's socket to tiny_http and back.

use std::process::Command;
use std::sync::atomic::Ordering;

use super::testing::*;
use super::*;

#[test]
fn a_request_goes_through_tiny_http_and_its_answer_comes_back() {
    let gate = Web::new().open();

    let got = Peer::sends(&gate, post("/echo", "body")).got();

    assert_eq!(got.line, "HTTP/1.1 200 OK");
    assert_eq!(got.body, "body");
    assert_eq!(got.header("X-From"), Some("http"));
    assert_eq!(got.header("Server"), None);
    assert_eq!(got.header("Connection"), None);
}

#[test]
fn a_connection_carries_one_request_after_another() {
    let gate = Web::new().open();
    let mut peer = Peer::connect(&gate);

    for round in 0..50 {
        let body = format!("round {round}");
        peer.send(post("/echo", &body));
        assert_eq!(peer.got().body, body);
    }
    assert_eq!(gate.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let gate = Web::new().open();

    let all = [post("/echo", "one"), get("/later"), post("/echo", "three")].concat();
    let mut peer = Peer::sends(&gate, all);

    assert_eq!(peer.got().body, "one");
    assert_eq!(peer.got().body, "later");
    assert_eq!(peer.got().body, "three");
}

#[test]
fn a_big_answer_comes_whole() {
    let gate = Web::new().open();

    assert_eq!(Peer::sends(&gate, get("/big")).got().body.len(), 300_000);
}

#[test]
fn a_head_request_gets_the_length_and_no_body() {
    let gate = Web::new().open();
    let mut peer = Peer::sends(&gate, "HEAD /big HTTP/1.1\r\nHost: test\r\n\r\n");

    let got = peer.got_head();
    assert_eq!(got.header("Content-Length"), Some("300000"));

    peer.send("HEAD /later HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(peer.got_head().header("Content-Length"), Some("5"));

    peer.send("HEAD / HTTP/1.1\r\nHost: test\r\nExpect: rain\r\n\r\n");
    assert_eq!(peer.got_head().status(), 417);
    assert!(peer.rest().is_empty());
}

#[test]
fn http_1_0_is_kept_only_where_asked() {
    let gate = Web::new().open();

    let mut once = Peer::sends(&gate, "GET / HTTP/1.0\r\n\r\n");
    let got = once.got();
    assert_eq!(got.line, "HTTP/1.0 200 OK");
    assert_eq!(got.header("Connection"), Some("close"));
    assert!(once.rest().is_empty());

    let mut kept = Peer::connect(&gate);
    for _ in 0..2 {
        kept.send("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!(kept.got().header("Connection"), Some("keep-alive"));
    }
}

#[test]
fn a_client_that_asks_for_the_close_gets_it() {
    let gate = Web::new().open();

    let mut peer =
        Peer::sends(&gate, "GET / HTTP/1.1\r\nHost: test\r\nConnection: te, Close\r\n\r\n");

    assert_eq!(peer.got().header("Connection"), Some("close"));
    assert!(peer.rest().is_empty());
}

#[test]
fn what_a_client_sends_steers_nothing_behind_the_gate() {
    let gate = Web::new().open();
    let mut peer = Peer::connect(&gate);

    for header in ["TE: chunked", "Connection: upgrade", "Upgrade: websocket", "X-Ticket: 1-1"] {
        peer.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{header}\r\n\r\n"));
        let got = peer.got();
        assert_eq!((got.status(), got.body.as_str()), (200, "hello"), "{header}");
    }
}

#[test]
fn bytes_over_127_in_a_cookie_arrive() {
    let gate = Web::new().open();

    let mut peer =
        Peer::sends(&gate, b"GET /cookie HTTP/1.1\r\nHost: test\r\nCookie: n=\xe9\xff\r\n\r\n");

    assert_eq!(peer.got().body, "n=\\xe9\\xff");
}

#[test]
fn an_absolute_target_is_reduced_to_its_path() {
    let gate = Web::new().open();

    let mut peer = Peer::sends(&gate, get("http://test/target?a=b"));

    assert_eq!(peer.got().body, "/target?a=b");
}

#[test]
fn the_peer_is_told_by_its_address() {
    let gate = Web::new().open();

    assert_eq!(Peer::sends(&gate, get("/peer")).got().body, "Some(127.0.0.1)");
}

#[test]
fn a_chunked_body_arrives_decoded_and_the_next_request_follows_it() {
    let gate = Web::new().open();
    let chunked = "POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\none\r\n4;x=y\r\n two\r\n0\r\nTrailer: t\r\n\r\n";

    let mut peer = Peer::sends(&gate, [chunked, &get("/")].concat());

    assert_eq!(peer.got().body, "one two");
    assert_eq!(peer.got().body, "hello");
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let gate = Web::new().open();
    let mut peer = Peer::sends(
        &gate,
        "POST /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );

    assert_eq!(peer.got_head().line, "HTTP/1.1 100 Continue");
    peer.send("body");
    assert_eq!(peer.got().body, "body");
}

/// Each of them is answered with this status, in JSON, and the connection ends in order.
#[test]
fn what_is_no_valid_request_is_refused() {
    let gate = Web::new().open();
    let cases: [(&str, u16); 16] = [
        ("GET / HTTP/2.0\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n", 413),
    ];

    for (request, status) in cases {
        let mut peer = Peer::sends(&gate, request);
        let got = peer.got();
        assert_eq!(got.status(), status, "{request:?}");
        assert!(got.body.starts_with("{\"error\":\""), "{}", got.body);
        assert_eq!(got.header("Content-Type"), Some("application/json"));
        assert_eq!(got.header("Cache-Control"), Some("no-store"));
        assert_eq!(got.header("Connection"), Some("close"));
        assert!(peer.rest().is_empty());
    }
}

#[test]
fn lines_that_end_in_a_bare_lf_are_understood() {
    let gate = Web::new().open();

    assert_eq!(Peer::sends(&gate, "GET / HTTP/1.1\nHost: test\n\n").got().status(), 200);
}

#[test]
fn a_413_is_read_whole_although_the_body_is_still_coming() {
    let gate = Web::new().open();
    let mut peer = Peer::sends(
        &gate,
        "POST / HTTP/1.1\r\nHost: test\r\nOrigin: http://a\r\nContent-Length: 2000000\r\n\r\n",
    );

    peer.send(vec![b'x'; 2_000_000]);

    let got = peer.got();
    assert_eq!(got.status(), 413);
    assert_eq!(got.header("X-Decorated"), Some("yes"));
    assert!(peer.rest().is_empty());
}

#[test]
fn a_head_without_end_is_a_431() {
    let gate = Web::new().open();
    let endless = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}", "x".repeat(100_000));

    assert_eq!(Peer::sends(&gate, endless).got().status(), 431);
}

#[test]
fn a_hundred_and_one_headers_are_a_431() {
    let gate = Web::new().open();
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));

    assert_eq!(Peer::sends(&gate, many).got().status(), 431);
}

#[test]
fn a_head_that_drips_is_a_408_in_the_end() {
    let gate = Arc::new(Web::new()).open_with(LIMITS, BRISK);
    let mut peer = Peer::connect(&gate);
    let pause = crossbeam_channel::never::<()>();

    let start = Instant::now();
    while start.elapsed() < BRISK.first {
        // An error: the gate has closed already, and the answer is there to read.
        let _ = std::io::Write::write_all(&mut peer.stream, b"G");
        let _ = pause.recv_timeout(BRISK.first / 20);
    }

    assert_eq!(peer.got().status(), 408);
}

#[test]
fn a_client_that_never_speaks_is_told_408() {
    let gate = Arc::new(Web::new()).open_with(LIMITS, BRISK);

    let mut peer = Peer::connect(&gate);

    assert_eq!(peer.got().status(), 408);
}

#[test]
fn a_body_that_does_not_come_is_a_408() {
    let gate = Arc::new(Web::new()).open_with(LIMITS, BRISK);

    let mut peer =
        Peer::sends(&gate, "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nshort");

    assert_eq!(peer.got().status(), 408);
}

#[test]
fn a_connection_that_is_idle_for_long_is_closed_in_silence() {
    let gate = Arc::new(Web::new()).open_with(LIMITS, BRISK);
    let mut peer = Peer::sends(&gate, get("/"));
    assert_eq!(peer.got().status(), 200);

    assert!(peer.rest().is_empty());
}

#[test]
fn a_handler_that_panics_is_a_500_and_hurts_nobody_else() {
    let gate = Web::new().open();

    for _ in 0..10 {
        let got = Peer::sends(&gate, get("/panic")).got();
        assert_eq!(got.status(), 500);
        assert_eq!(got.header("X-Decorated"), Some("yes"));
    }

    assert_eq!(Peer::sends(&gate, get("/")).got().status(), 200);
}

#[test]
fn over_the_cap_a_resting_connection_makes_room() {
    let limits = Limits { connections: 10, ..LIMITS };
    let patience = Patience { evict: Duration::ZERO, ..Patience::USUAL };
    let gate = Arc::new(Web::new()).open_with(limits, patience);
    let mut silent: Vec<Peer> = (0..10).map(|_| Peer::connect(&gate)).collect();
    assert!(eventually(|| gate.connections() == 10));

    let got = Peer::sends(&gate, get("/")).got();

    assert_eq!(got.status(), 200);
    assert!(silent[0].rest().is_empty(), "the oldest one was closed");
}

#[test]
fn over_the_cap_of_connections_that_work_a_new_one_is_told_503() {
    let limits = Limits { connections: 2, ..LIMITS };
    let (hold, held) = crossbeam_channel::bounded::<()>(0);
    let web = Web::with_later(move |_| {
        let held = held.clone();
        Box::new(move |client| {
            client.begin(200, &[])?;
            let _ = held.recv();
            Ok(())
        })
    });
    let gate = Arc::new(web).open_with(limits, Patience::USUAL);
    let mut streams: Vec<Peer> = (0..2).map(|_| Peer::sends(&gate, get("/later"))).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(stream.got_head().status(), 200));

    // A crowd of others that is told so and does not hang up.
    let mut crowd: Vec<Peer> = (0..50).map(|_| Peer::connect(&gate)).collect();
    assert!(crowd.iter_mut().all(|peer| peer.got().status() == 503));
    drop(crowd);
    let mut refused = Peer::sends(&gate, get("/"));

    let got = refused.got();
    assert_eq!(got.status(), 503);
    assert_eq!(got.header("Retry-After"), Some("2"));
    assert!(refused.rest().is_empty());
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
    let gate = Gate::open(listener, LIMITS, Arc::new(Web::new())).unwrap();
    assert_eq!(gate.address().to_string(), format!("unix:{}", path.display()));

    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let close = "GET /peer HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, close.as_bytes()).unwrap();
    let mut got = String::new();
    std::io::Read::read_to_string(&mut stream, &mut got).unwrap();
    gate.close();

    assert!(got.ends_with("\r\n\r\nNone"), "{got}");
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
        .args(["--exact", &format!("gate::tests::{name}")])
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
    let _gate = Gate::open(listener, LIMITS, Arc::new(Web::new())).unwrap();
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
        .args(["--exact", "gate::tests::without_descriptors_the_gate_serves_on"])
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
    let gate = web.clone().open_with(LIMITS, Patience::USUAL);

    let broke = Peer::sends(&gate, get("/break")).got();
    let next = Peer::sends(&gate, get("/")).got();

    assert_eq!(broke.status(), 500);
    assert_eq!(next.status(), 200);
    assert_eq!(web.starts.load(Ordering::Relaxed), 2);
}

#[test]
fn a_request_that_http_never_saw_is_sent_again() {
    let web = Arc::new(Web::new());
    let gate = web.clone().open_with(LIMITS, Patience::USUAL);
    web.break_next.store(true, Ordering::Relaxed);

    let got = Peer::sends(&gate, post("/echo", "once")).got();

    assert_eq!((got.status(), got.body.as_str()), (200, "once"));
    assert_eq!(web.starts.load(Ordering::Relaxed), 2);
}

#[test]
fn while_no_set_can_be_built_clients_are_told_503_and_served_when_one_can() {
    let web = Arc::new(Web::new());
    let gate = web.clone().open_with(LIMITS, Patience::USUAL);
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
