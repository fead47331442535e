//! The log of a year: what an operator finds at the start, and how much an absence of the server writes.

use crate::support::*;

#[test]
fn the_first_line_has_the_version_and_the_server_without_its_query() {
    let upstream = FakeUpstream::start();
    let url = format!("{}?token=secret", upstream.url());

    let bridge = Bridge::at(&url, &[]);

    let log = bridge.log();
    let first = log.lines().next().unwrap();
    let version = format!("event=starting version={}", env!("CARGO_PKG_VERSION"));
    assert!(first.contains(&version), "{first}");
    assert!(first.contains(&format!("server={}", upstream.url())), "{first}");
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn a_server_that_stays_away_is_not_a_line_for_each_attempt() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let _stream = bridge.get("/a").sse().begin();
    for _ in 0..4 {
        upstream.accept().answer(503);
    }

    let _link = upstream.welcome();

    bridge.wait_for_log("event=upstream-up");
    let log = bridge.log();
    assert_eq!(log.matches("event=upstream-failed").count(), 2, "{log}");
}

#[test]
fn the_limit_that_binds_is_named() {
    let upstream = FakeUpstream::start();
    let bound_by = |bridge: &Bridge| {
        let log = bridge.log();
        let line = log.lines().find(|line| line.contains("event=limits")).unwrap().to_owned();
        assert!(line.contains(" sessions=") && line.contains(" connections="), "{line}");
        line.split_once("bound_by=\"").unwrap().1.split('"').next().unwrap().to_owned()
    };

    let few = Bridge::with_descriptors(&upstream.url(), &[], 64);
    assert_eq!(bound_by(&few), "descriptors");
    drop(few);
    let wanted = Bridge::with(&upstream, &["--max-sessions", "7"]);
    assert_eq!(bound_by(&wanted), "--max-sessions");
    assert!(wanted.log().contains(" sessions=7 "), "{}", wanted.log());
}
