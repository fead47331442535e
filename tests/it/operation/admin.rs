//! `--admin`: metrics and sessions for operators, on an address of their own.

use std::collections::HashMap;

use crate::support::*;

struct Watched {
    upstream: FakeUpstream,
    bridge: Bridge,
    admin: Place,
}

impl Watched {
    fn start(name: &str, options: &[&str]) -> Watched {
        let (upstream, admin) = (FakeUpstream::start(), Place::new(name));
        let address = admin.address();
        let bridge = Bridge::with(&upstream, &[options, &["--admin", &address]].concat());
        Watched { upstream, bridge, admin }
    }

    /// The body of a page.
    fn page(&self, path: &str) -> String {
        let answer = self.admin.get(path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Whole numbers all of them, but for seconds.
    fn metrics(&self) -> HashMap<String, u64> {
        let page = self.page("/metrics");
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), value.parse::<f64>().unwrap() as u64)
            })
            .collect()
    }

    fn metric(&self, name: &str) -> u64 {
        *self.metrics().get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// What a counter tells is counted when the work is done, which may be a moment after its client saw it.
    fn expect(&self, name: &str, value: u64) {
        wait_until(PATIENCE, || self.metric(name) == value);
    }
}

#[test]
fn every_sample_of_the_metrics_has_its_help_and_its_type_before_it() {
    let watched = Watched::start("format", &[]);
    let page = watched.page("/metrics");
    let (mut helped, mut typed) = (String::new(), String::new());

    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped = rest.split(' ').next().unwrap().to_owned();
            assert!(rest.len() > helped.len() + 1, "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            typed = name.to_owned();
            let counter = name.ends_with("_total");
            assert_eq!(kind, if counter { "counter" } else { "gauge" }, "{line}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(name == helped && name == typed, "{line}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
        }
    }
    assert!(page.ends_with('\n'));
}

#[test]
fn the_metrics_have_the_type_of_prometheus_text_format() {
    let watched = Watched::start("type", &[]);

    let answer = watched.admin.get("/metrics").to_lowercase();

    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
}

#[test]
fn actioncable_sessions_is_how_many_there_are() {
    let watched = Watched::start("sessions", &[]);
    assert_eq!(watched.metric("actioncable_sessions"), 0);

    let (_a, _a_link) = watched.bridge.open(&watched.upstream, "/a");
    let (_b, _b_link) = watched.bridge.open(&watched.upstream, "/b");
    assert_eq!(watched.metric("actioncable_sessions"), 2);
    watched.bridge.delete("/a").send();

    assert_eq!(watched.metric("actioncable_sessions"), 1);
}

#[test]
fn sessions_are_told_by_the_state_of_their_link() {
    let mut watched = Watched::start("states", &[]);
    let (_up, _up_link) = watched.bridge.open(&watched.upstream, "/up");
    let (mut away, away_link) = watched.bridge.open(&watched.upstream, "/away");
    let _opening = watched.bridge.get("/opening").sse().begin();
    let _held = watched.upstream.accept();
    watched.upstream.go_away();
    away_link.cut();
    away.expect_upstream("disconnected");

    for state in ["connected", "away", "opening"] {
        watched.expect(&format!("actioncable_sessions_by_state{{state=\"{state}\"}}"), 1);
    }
}

#[test]
fn listeners_are_told_by_their_kind() {
    let watched = Watched::start("listeners", &["-r", "--heartbeat", "100ms"]);
    let (mut first, _link) = watched.bridge.open(&watched.upstream, "/a");
    let mut second = watched.bridge.get("/a").sse().stream();
    second.expect_joined();
    first.expect_joined();
    let _poll = watched.bridge.waiting_poll("/a");

    assert_eq!(watched.metric("actioncable_listeners{kind=\"stream\"}"), 2);
    assert_eq!(watched.metric("actioncable_listeners{kind=\"poll\"}"), 1);
    drop(second);
    watched.expect("actioncable_listeners{kind=\"stream\"}", 1);
}

#[test]
fn connects_to_the_upstream_are_told_by_their_outcome() {
    let watched = Watched::start("outcomes", &[]);
    for status in [401, 503] {
        let asked = watched.bridge.get("/a").begin();
        watched.upstream.accept().answer(status);
        asked.response();
    }
    let asked = watched.bridge.get("/a").begin();
    let mut link = watched.upstream.accept();
    link.upgrade();
    link.disconnect("unauthorized", Some(false));
    asked.response();
    let (mut stream, link) = watched.bridge.open(&watched.upstream, "/b");
    link.cut();
    stream.expect_upstream("disconnected");

    for outcome in ["denied", "failed", "refused", "up"] {
        watched.expect(&format!("actioncable_upstream_connects_total{{outcome=\"{outcome}\"}}"), 1);
    }
    watched.expect("actioncable_upstream_losses_total", 1);
}

#[test]
fn messages_in_and_out_and_what_was_dropped_are_counted() {
    let watched = Watched::start("messages", &["--max-queue", "2"]);
    let (mut stream, mut link) = watched.bridge.open_with(&watched.upstream, "/a", CHAT);
    link.message(CHAT, "1");
    stream.received();
    let received = watched.metric("actioncable_messages_received_total");
    watched.expect("actioncable_messages_delivered_total", 2);
    let id = stream.last_id.clone();
    drop(stream);
    watched.expect("actioncable_listeners{kind=\"stream\"}", 0);
    (0..5).for_each(|n| link.message(CHAT, &n.to_string()));
    link.settle();
    let mut again = watched.bridge.get("/a").sse().header("Last-Event-ID", &id).stream();
    assert_eq!(again.expect_joined().number("dropped"), 3);
    again.received();
    again.received();

    assert_eq!(watched.metric("actioncable_messages_received_total"), received + 5);
    watched.expect("actioncable_messages_delivered_total", 4);
    watched.expect("actioncable_messages_dropped_total", 3);
    assert_eq!(watched.metric("actioncable_resumes_total"), 1);
}

#[test]
fn takeovers_are_counted() {
    let watched = Watched::start("takeovers", &[]);
    let (stream, _link) = watched.bridge.open(&watched.upstream, "/a");

    let request = watched.bridge.get("/a").sse().header("Last-Event-ID", &stream.last_id);
    request.stream().expect_joined();

    assert_eq!(watched.metric("actioncable_takeovers_total"), 1);
    assert_eq!(watched.metric("actioncable_resumes_total"), 1);
}

#[test]
fn the_bytes_that_are_kept_are_told() {
    let watched = Watched::start("bytes", &[]);
    let (stream, mut link) = watched.bridge.open_with(&watched.upstream, "/a", CHAT);
    drop(stream);
    assert!(watched.metric("actioncable_kept_bytes") < 10_000);
    link.message(CHAT, &quote(&"x".repeat(100_000)));
    link.settle();

    assert!(watched.metric("actioncable_kept_bytes") > 100_000);
    watched.bridge.delete("/a").send();
    wait_until(PATIENCE, || watched.metric("actioncable_kept_bytes") == 0);
}

#[test]
fn the_bytes_of_messages_in_and_out_are_told() {
    let watched = Watched::start("in-and-out", &[]);
    let (mut stream, mut link) = watched.bridge.open_with(&watched.upstream, "/a", CHAT);
    let (before, message) = (watched.metrics(), quote(&"x".repeat(1_000)));
    (0..3).for_each(|_| link.message(CHAT, &message));
    (0..3).for_each(|_| drop(stream.received()));

    for name in ["actioncable_received_bytes_total", "actioncable_delivered_bytes_total"] {
        let grown = || watched.metric(name) - before[name];
        wait_until(PATIENCE, || grown() > 3_000);
        assert!(grown() < 4_500, "{name}: {}", grown());
    }
}

#[test]
fn sessions_that_there_is_no_room_for_are_counted_and_said_once() {
    let watched = Watched::start("full", &["--max-sessions", "1"]);
    let (_stream, _link) = watched.bridge.open(&watched.upstream, "/a");
    assert_eq!(watched.metric("actioncable_sessions_max"), 1);

    watched.bridge.get("/b").send().refused(503);
    assert!(watched.bridge.get("/c").sse().send().text().starts_with("retry: "));

    watched.expect("actioncable_sessions_refused_total", 2);
    watched.bridge.wait_for_log("event=session-refused");
    watched.bridge.settle();
    let log = watched.bridge.log();
    assert_eq!(log.matches("event=session-refused").count(), 1, "{log}");
    assert!(log.contains("--max-sessions"), "{log}");
}

#[test]
fn what_the_process_takes_and_the_version_are_told() {
    let watched = Watched::start("process", &[]);
    let (_stream, _link) = watched.bridge.open(&watched.upstream, "/a");

    let metrics = watched.metrics();

    assert!(metrics["process_threads"] >= 5);
    assert!(metrics["process_open_fds"] >= 5);
    assert!(metrics["process_resident_memory_bytes"] > 1_000_000);
    assert!(metrics["process_cpu_seconds_total"] < 60);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let started = metrics["process_start_time_seconds"];
    assert!((now - 60..=now + 1).contains(&started), "{started}, and it is {now}");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(metrics[&format!("actioncable_build_info{{version=\"{version}\"}}")], 1);
}

#[test]
fn sessions_are_the_first_six_characters_of_each_id_and_never_a_path() {
    let watched = Watched::start("names", &[]);
    assert_eq!(watched.page("/sessions"), "");
    let (a, _a_link) = watched.bridge.open(&watched.upstream, "/long-path-a");
    let (b, _b_link) = watched.bridge.open(&watched.upstream, "/long-path-b");

    let page = watched.page("/sessions");

    let mut names: Vec<&str> = page.lines().collect();
    let ids = [a.session_id(), b.session_id()];
    let mut wanted = [&ids[0][..6], &ids[1][..6]];
    names.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
}

#[test]
fn the_admins_address_has_no_sessions_and_no_other_page() {
    let watched = Watched::start("pages", &[]);

    for path in ["/", "/a", "/-/", "/-/health", "/metrics/", "/sessions/x", "/Metrics"] {
        let answer = watched.admin.get(path);
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    assert!(watched.upstream.accept_within(std::time::Duration::ZERO).is_none());
}

#[test]
fn the_public_address_has_no_metrics() {
    let watched = Watched::start("public", &[]);

    for path in ["/-/metrics", "/-/sessions"] {
        watched.bridge.get(path).send().refused(404);
    }
    // There it is a path like any other.
    let asked = watched.bridge.get("/metrics").sse().begin();
    watched.upstream.welcome();
    asked.stream().expect_joined();
}

#[test]
fn the_admins_address_may_be_tcp_and_has_a_line_of_its_own() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["--admin", "127.0.0.1:0"]);
    bridge.wait_for_log("door=admin");
    let log = bridge.log();
    let line = log.lines().find(|line| line.contains("door=admin")).unwrap();
    let address = line.split(' ').find_map(|word| word.strip_prefix("address=")).unwrap();

    let response = Request::new(address.parse().unwrap(), "GET", "/metrics").send();

    assert_eq!(response.status, 200);
    assert!(response.text().contains("actioncable_sessions 0\n"));
    let response = Request::new(address.parse().unwrap(), "POST", "/metrics").body("x").send();
    assert_eq!(response.refused(405).is_empty(), response.header("allow").is_none());
}

#[test]
fn an_admins_address_in_use_is_one_line_and_exit_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let run = run(&["-l", "127.0.0.1:0", "--admin", &address]);

    assert_eq!(run.code, 1);
    assert!(run.only_line().contains(&address), "{}", run.err);
}

#[test]
fn the_pages_for_browsers_are_there() {
    let bridge = Bridge::start(&FakeUpstream::start());

    let script = bridge.get("/-/client.js").send();
    let page = bridge.get("/-/").header("Accept", "text/html").send();

    assert!(script.status == 200 && script.header("content-type").unwrap().contains("javascript"));
    assert!(page.status == 200 && page.header("content-type").unwrap().starts_with("text/html"));
}

#[test]
fn no_page_reads_the_metrics() {
    let watched = Watched::start("no-page", &[]);
    let asked = |headers: &str| {
        let mut stream = watched.admin.begin("/metrics", headers);
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        answer
    };

    for headers in [
        "Origin: https://a.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        let answer = asked(&format!("{headers}Connection: close\r\n"));
        assert!(answer.starts_with("HTTP/1.1 403"), "{headers}: {answer}");
        assert!(!answer.to_lowercase().contains("access-control"), "{answer}");
    }
    for headers in ["Sec-Fetch-Site: none\r\n", "Sec-Fetch-Site: same-origin\r\n"] {
        let answer = asked(&format!("{headers}Connection: close\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{headers}: {answer}");
    }
}
