//! The command line: what is taken, what is refused with which exit code, and what is never logged.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::support::*;

const DURATIONS: [&str; 6] = [
    "--session",
    "--connect-timeout",
    "--idle-timeout",
    "--stale-after",
    "--resume-window",
    "--heartbeat",
];
const SIZES: [&str; 8] = [
    "--max-queue",
    "--max-queue-bytes",
    "--max-memory",
    "--max-body",
    "--max-message",
    "--max-sessions",
    "--max-connections",
    "--max-channels",
];

#[test]
fn version_prints_name_and_version_and_ends_with_0() {
    for spelling in ["--version", "-version"] {
        let run = run(&[spelling]);
        assert_eq!(run.code, 0);
        assert!(run.out.contains(env!("CARGO_PKG_VERSION")), "{}", run.out);
    }
}

#[test]
fn help_names_every_option_and_ends_with_0() {
    let run = run(&["--help"]);

    assert_eq!(run.code, 0);
    let others = ["--listen", "--server", "--reuse", "--strict-headers", "--debug", "--quiet"];
    let rest = ["--version", "--demo", "--origin", "--allow-origin", "--admin", "--host-header"];
    for option in [others.as_slice(), &rest, &DURATIONS, &SIZES].concat() {
        assert!(run.out.contains(option), "{option} is missing: {}", run.out);
    }
}

#[test]
fn help_says_the_defaults() {
    let run = run(&["--help"]);

    let text: String = run.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for default in ["127.0.0.1:8080", "ws://127.0.0.1:3000/cable", "5m", "10s", "6s", "30s", "15s"]
    {
        assert!(text.contains(default), "{default} is missing: {text}");
    }
}

#[test]
fn a_wrong_option_is_one_line_and_exit_2() {
    for arguments in [&["--no-such-option"][..], &["-x"], &["word"], &["--max-queue"]] {
        let run = run(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.err);
        run.only_line();
    }
}

#[test]
fn zero_is_out_of_range_for_every_limit() {
    for option in SIZES {
        let run = run(&[option, "0"]);
        assert_eq!(run.code, 2, "{option}");
        assert!(run.only_line().contains(option), "{}", run.err);
    }
}

#[test]
fn zero_is_out_of_range_for_every_duration() {
    for option in DURATIONS {
        let run = run(&[option, "0s"]);
        assert_eq!(run.code, 2, "{option}");
        assert!(run.only_line().contains(option), "{}", run.err);
    }
}

#[test]
fn a_value_that_cannot_be_honoured_is_refused_and_not_changed() {
    for (option, value) in [
        ("--max-queue", "-1"),
        ("--max-queue", "1k"),
        ("--max-queue", "99999999999999999999999999"),
        ("--max-body", "1.5"),
        ("--heartbeat", "15"),
        ("--heartbeat", "-1s"),
        ("--heartbeat", "soon"),
        ("--session", ""),
        ("--origin", "nonsense"),
        ("--allow-origin", "app.example"),
    ] {
        let run = run(&[option, value]);
        assert_eq!(run.code, 2, "{option} {value}: {}", run.err);
        assert!(run.only_line().contains(option), "{}", run.err);
    }
}

#[test]
fn durations_are_taken_as_people_write_them() {
    let upstream = FakeUpstream::start();

    for duration in ["250ms", "30s", "5m", "1h", "1m30s"] {
        let bridge = Bridge::with(&upstream, &["-S", duration, "--heartbeat", duration]);
        assert_eq!(bridge.get("/-/health").send().status, 200);
    }
}

#[test]
fn an_address_that_is_none_is_a_value_out_of_range() {
    for address in ["nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "unix:", ""] {
        let run = run(&["-l", address]);
        assert_eq!(run.code, 2, "{address}: {}", run.err);
        run.only_line();
    }
}

#[test]
fn a_server_of_another_scheme_is_a_value_out_of_range() {
    for url in ["http://127.0.0.1:3000/cable", "https://a.example/cable", "ftp://a"] {
        let run = run(&["-l", "127.0.0.1:0", "-s", url]);
        assert_eq!(run.code, 2, "{url}: {}", run.err);
        run.only_line();
    }
}

#[test]
fn a_server_address_that_cannot_be_parsed_is_one_line_and_exit_1() {
    for url in ["ws://", "ws://[::1/cable", "ws://127.0.0.1:x/cable", "ws://127.0.0.1:99999/"] {
        let run = run(&["-l", "127.0.0.1:0", "-s", url]);
        assert_eq!(run.code, 1, "{url}: {}", run.err);
        run.only_line();
    }
}

#[test]
fn an_address_in_use_is_one_line_and_exit_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let run = run(&["-l", &address]);

    assert_eq!(run.code, 1);
    assert!(run.only_line().contains(&address), "{}", run.err);
}

#[test]
fn a_name_that_does_not_resolve_is_a_warning_and_no_end() {
    // A label of 64 characters is refused by the resolver itself: nothing is asked of any network.
    let url = format!("ws://{}.invalid/cable", "a".repeat(64));

    let bridge = Bridge::at(&url, &[]);

    bridge.wait_for_log("level=warning");
    bridge.get("/a").send().refused(502);
}

#[test]
fn the_spellings_of_the_original_work() {
    let upstream = FakeUpstream::start();
    let server = format!("-s={}", upstream.url());
    let bridge = Bridge::bare(&["-l=127.0.0.1:0", &server, "-strict-headers", "-r"]);
    let (_stream, _link) = bridge.open(&upstream, "/a");

    bridge.get("/a").sse().header("Cookie", "other=1").send().refused(403);
}

#[test]
fn the_long_spellings_work() {
    let upstream = FakeUpstream::start();
    let url = upstream.url();

    let bridge = Bridge::bare(&["--listen", "127.0.0.1:0", "--server", &url, "--session", "1m"]);

    let (_stream, _link) = bridge.open(&upstream, "/a");
}

#[test]
fn a_port_alone_listens_on_all_interfaces() {
    let upstream = FakeUpstream::start();

    let bridge = Bridge::with(&upstream, &["-l", ":0"]);

    let port = bridge.address.port();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(bridge.address.ip().is_unspecified());
}

#[test]
fn an_ipv6_address_can_be_listened_on() {
    let upstream = FakeUpstream::start();

    let bridge = Bridge::with(&upstream, &["-l", "[::1]:0"]);

    assert_eq!(bridge.get("/-/health").send().status, 200);
}

#[test]
fn localhost_is_reached_without_a_look_up() {
    let upstream = FakeUpstream::start();
    let url = upstream.url().replace("127.0.0.1", "localhost");

    let bridge = Bridge::at(&url, &["-l", "localhost:0"]);

    let (_stream, link) = bridge.open(&upstream, "/a");
    assert_eq!(link.handshake.target(), "/cable");
}

#[test]
fn a_server_address_without_a_path_is_asked_for_the_root() {
    let upstream = FakeUpstream::start();
    let url = upstream.url().replace("/cable", "");

    let bridge = Bridge::at(&url, &[]);

    let (_stream, link) = bridge.open(&upstream, "/a");
    assert_eq!(link.handshake.target(), "/");
}

#[test]
fn debug_logs_the_type_and_size_of_frames() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::with(&upstream, &["-d"]);

    let (_stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    link.message(CHAT, "1");
    link.settle();

    let log = bridge.end_and_log();
    let frames: Vec<&str> = log.lines().filter(|line| line.contains("event=frame")).collect();
    assert!(frames.iter().any(|line| line.contains("dir=in")), "{log}");
    assert!(frames.iter().any(|line| line.contains("dir=out")), "{log}");
    assert!(frames.iter().all(|line| line.contains("type=") && line.contains("bytes=")), "{log}");
}

#[test]
fn without_debug_frames_are_not_logged() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::start(&upstream);

    let (_stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);
    link.settle();

    assert!(!bridge.end_and_log().contains("event=frame"));
}

#[test]
fn every_line_of_the_log_is_one_event_of_keys_and_values() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::with(&upstream, &["-d"]);
    let (mut stream, link) = bridge.open_with(&upstream, "/a", CHAT);
    link.close(1001, "");
    stream.expect_upstream("disconnected");

    for line in bridge.end_and_log().lines() {
        assert!(line.starts_with("time="), "{line}");
        assert!(line.contains(" level=") && line.contains(" event="), "{line}");
    }
}

#[test]
fn what_is_secret_never_reaches_the_log() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::with(&upstream, &["-d"]);
    let request = bridge.get("/path-secret?token=query-secret&after=after-secret");
    request.sse().header("Cookie", "c=cookie-secret").send().refused(400);
    let request = bridge.get("/path-secret?token=query-secret").sse();
    let request = request.header("Cookie", "c=cookie-secret");
    let asked = request.header("Authorization", "Bearer auth-secret").begin();
    let mut link = upstream.welcome();
    let mut stream = asked.stream();
    stream.expect_joined();
    bridge.act("/path-secret", &[subscribe(CHAT), send(CHAT, r#"{"a":"send-secret"}"#)]);
    link.subscribed(CHAT);
    stream.expect("connected");
    link.message(CHAT, r#""body-secret""#);
    stream.received();
    bridge.post("/path-secret", r#"["post-secret","#).send().refused(400);
    link.close(1001, "");
    stream.expect_upstream("disconnected");
    bridge.delete("/path-secret").send();

    let log = bridge.end_and_log();
    assert!(!log.contains("secret"), "{log}");
    assert!(!log.contains(&stream.session_id()), "{log}");
    assert!(!log.contains(&stream.last_id), "{log}");
}

#[test]
fn quiet_says_nothing_while_all_is_well() {
    let upstream = FakeUpstream::start();
    let place = Place::new("quiet");

    let mut child = place.bridge(&upstream.url(), &["-q"]);
    assert!(place.get("/-/health").starts_with("HTTP/1.1 200"));

    assert_eq!(child.end(), "");
}

#[test]
fn quiet_says_why_the_bridge_ends() {
    let upstream = FakeUpstream::start();
    let place = Place::new("why");
    let mut child = place.bridge(&upstream.url(), &["-q"]);

    child.signal(rustix::process::Signal::TERM);

    let said = child.said();
    assert_eq!(said.lines().count(), 1, "{said:?}");
}

#[test]
fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let upstream = FakeUpstream::start();

    let bridge = Bridge::with_soft_descriptors(&upstream.url(), 64);

    let limits = bridge.limits();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
}

#[test]
fn sigterm_ends_with_0_within_five_seconds() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::start(&upstream);
    let (_stream, _link) = bridge.open(&upstream, "/a");

    bridge.signal(rustix::process::Signal::TERM);

    assert_eq!(bridge.exit_code(Duration::from_secs(5)), Some(0));
}
