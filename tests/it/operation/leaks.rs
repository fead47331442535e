//! Sessions that end in every way there is leave nothing behind: no descriptor, no thread, no connection upstream.

mod ways;

use std::time::Duration;

use rustix::process::Signal;

use crate::support::*;
use ways::WAYS;

/// Sessions that are opened and ended between the two looks.
const SESSIONS: usize = 300;

/// Lifetimes so short that a session which only expires does so at once.
const OPTIONS: [&str; 6] = ["--resume-window", "50ms", "-S", "50ms", "--connect-timeout", "1s"];

/// Longer than what ends late takes: the linger of a connection, the wait of a poll that was replaced.
const SETTLED: Duration = Duration::from_secs(20);

#[test]
fn after_300_sessions_that_ended_in_every_way_descriptors_threads_and_upstream_connections_are_as_before()
 {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &OPTIONS);
    let before = bridge.at_rest();

    let rounds = 1..=SESSIONS.div_ceil(WAYS.len());
    let links: Vec<Link> = rounds.flat_map(|n| end_in_every_way(&bridge, &upstream, n)).collect();
    links.into_iter().for_each(is_closed);

    is_as(&bridge, before);
    assert!(upstream.accept_within(Duration::ZERO).is_none(), "a session that is over tries again");
}

#[test]
fn a_drain_ends_every_upstream_connection_and_the_process() {
    let upstream = FakeUpstream::start();
    let mut bridge = Bridge::start(&upstream);
    let streams: Vec<_> = (0..20).map(|n| bridge.open(&upstream, &format!("/s{n}"))).collect();
    let polls = (0..10).map(|n| {
        let asked = bridge.get(&format!("/p{n}")).begin();
        let mut link = upstream.welcome();
        link.settle();
        (asked, link)
    });
    let polls: Vec<_> = polls.collect();

    bridge.signal(Signal::TERM);

    assert_eq!(bridge.exit_code(PATIENCE), Some(0));
    for (mut stream, mut link) in streams {
        stream.until_end();
        assert_eq!(link.expect_close(), Some(1000));
    }
    for (asked, mut link) in polls {
        // One that was about to join when the drain began is told to come back later.
        assert!(matches!(asked.response().status, 200 | 503));
        assert_eq!(link.expect_close(), Some(1000));
    }
}

/// Goes on until `enough` says so. Returns how many sessions there were.
pub fn repeat(enough: impl Fn() -> bool) -> usize {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &OPTIONS);
    let before = bridge.at_rest();
    let mut rounds = 0;
    while !enough() {
        rounds += 1;
        end_in_every_way(&bridge, &upstream, rounds).into_iter().for_each(is_closed);
    }
    is_as(&bridge, before);
    rounds * WAYS.len()
}

/// One session for each way; their upstream connections are to be closed by the bridge.
fn end_in_every_way(bridge: &Bridge, upstream: &FakeUpstream, round: usize) -> Vec<Link> {
    let ways = WAYS.iter().enumerate();
    ways.flat_map(|(n, way)| way(bridge, upstream, &format!("/leak-{round}-{n}"))).collect()
}

fn is_closed(mut link: Link) {
    link.expect_close();
}

fn is_as(bridge: &Bridge, before: (usize, usize)) {
    wait_until(SETTLED, || {
        let now = bridge.footprint();
        now.0 <= before.0 && now.1 <= before.1
    });
}
