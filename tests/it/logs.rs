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
