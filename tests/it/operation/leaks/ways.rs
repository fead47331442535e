//! The ways in which a session comes to its end. Each opens one and brings it there; the upstream's sides of it are
//! returned, to be seen closing.

use crate::support::*;

/// Messages that nobody reads, until the writer is stuck.
const UNREAD: usize = 20;
const UNREAD_BYTES: usize = 100_000;

type Way = fn(&Bridge, &FakeUpstream, &str) -> Vec<Link>;

pub const WAYS: [Way; 17] = [
    a_stream_leaves_with_a_fin,
    a_stream_leaves_with_a_reset,
    a_stream_is_deleted,
    a_half_open_stream_is_taken_over,
    a_stuck_stream_is_taken_over,
    a_page_is_reloaded,
    a_poll_is_answered_and_nobody_comes_back,
    a_waiting_poll_leaves_with_a_fin,
    a_waiting_poll_leaves_with_a_reset,
    a_waiting_poll_is_replaced,
    a_session_without_a_listener_is_deleted,
    the_upstream_ends_it_for_good,
    the_upstream_goes_away_and_then_the_client,
    the_upstream_refuses_the_handshake,
    the_upstream_refuses_after_the_handshake,
    a_stream_leaves_before_the_welcome,
    a_poll_leaves_before_the_welcome,
];

/// The link of this path. One that tries again for an earlier session may be there first.
fn link(upstream: &FakeUpstream, path: &str) -> Link {
    loop {
        let link = upstream.accept();
        if link.handshake.target().ends_with(&tag(path)) {
            return link;
        }
    }
}

fn tag(path: &str) -> String {
    format!("?of={}", &path[1..])
}

fn opening(path: &str) -> String {
    format!("{path}{}", tag(path))
}

fn stream(bridge: &Bridge, upstream: &FakeUpstream, path: &str) -> (Stream, Link) {
    let asked = bridge.get(&opening(path)).sse().begin();
    let mut link = link(upstream, path);
    link.welcome();
    let mut stream = asked.stream();
    stream.expect_joined();
    (stream, link)
}

fn channel(bridge: &Bridge, path: &str, link: &mut Link) {
    bridge.subscribe(path, CHAT);
    link.expect_subscribe(CHAT);
    link.confirm(CHAT);
}

/// A session that a POST opened: no listener yet.
fn posted(bridge: &Bridge, upstream: &FakeUpstream, path: &str) -> Link {
    let target = format!("{}&poll-queue=32", opening(path));
    let asked = bridge.post(&target, &format!("[{}]", subscribe(CHAT))).begin();
    let mut link = link(upstream, path);
    link.welcome();
    asked.response().done();
    link.expect_subscribe(CHAT);
    link.confirm(CHAT);
    link
}

/// A poll that the bridge waits with; nothing is there for it.
fn waiting_poll(bridge: &Bridge, upstream: &FakeUpstream, path: &str) -> (Asked, Link) {
    let asked = bridge.get(&opening(path)).begin();
    let mut link = link(upstream, path);
    link.welcome();
    link.settle();
    (asked, link)
}

fn a_stream_leaves_with_a_fin(bridge: &Bridge, upstream: &FakeUpstream, path: &str) -> Vec<Link> {
    let (_stream, mut link) = stream(bridge, upstream, path);
    channel(bridge, path, &mut link);
    vec![link]
}

fn a_stream_leaves_with_a_reset(bridge: &Bridge, upstream: &FakeUpstream, path: &str) -> Vec<Link> {
    let (stream, link) = stream(bridge, upstream, path);
    stream.abort();
    vec![link]
}

fn a_stream_is_deleted(bridge: &Bridge, upstream: &FakeUpstream, path: &str) -> Vec<Link> {
    let (mut stream, link) = stream(bridge, upstream, path);
    assert_eq!(bridge.delete(path).send().status, 204);
    stream.expect_upstream("disconnected");
    stream.expect_end();
    vec![link]
}

fn a_half_open_stream_is_taken_over(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    let (mut old, link) = stream(bridge, upstream, path);
    let mut new = bridge.get(path).sse().header("Last-Event-ID", &old.last_id).stream();
    new.expect_joined();
    old.expect_named("replaced");
    old.expect_end();
    vec![link]
}

fn a_stuck_stream_is_taken_over(bridge: &Bridge, upstream: &FakeUpstream, path: &str) -> Vec<Link> {
    let (old, mut link) = stream(bridge, upstream, path);
    channel(bridge, path, &mut link);
    for _ in 0..UNREAD {
        link.message(CHAT, &quote(&"x".repeat(UNREAD_BYTES)));
    }
    let mut new = bridge.get(path).sse().header("Last-Event-ID", &old.last_id).stream();
    new.expect_joined();
    vec![link]
}

fn a_page_is_reloaded(bridge: &Bridge, upstream: &FakeUpstream, path: &str) -> Vec<Link> {
    let (old, old_link) = stream(bridge, upstream, path);
    old.leave();
    let (_new, link) = stream(bridge, upstream, path);
    vec![old_link, link]
}

fn a_poll_is_answered_and_nobody_comes_back(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    let (asked, mut link) = waiting_poll(bridge, upstream, path);
    channel(bridge, path, &mut link);
    assert_eq!(asked.poll().kinds(), ["connected"]);
    vec![link]
}

fn a_waiting_poll_leaves_with_a_fin(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    vec![waiting_poll(bridge, upstream, path).1]
}

fn a_waiting_poll_leaves_with_a_reset(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    let (asked, link) = waiting_poll(bridge, upstream, path);
    asked.abort();
    vec![link]
}

fn a_waiting_poll_is_replaced(bridge: &Bridge, upstream: &FakeUpstream, path: &str) -> Vec<Link> {
    let (old, mut link) = waiting_poll(bridge, upstream, path);
    let new = bridge.get(&format!("{path}?after=0")).begin();
    channel(bridge, path, &mut link);
    // Empty if the old one was the later to join; either way both have their answer.
    new.poll();
    drop(old);
    vec![link]
}

fn a_session_without_a_listener_is_deleted(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    let link = posted(bridge, upstream, path);
    // It may have expired already: that is as good an end.
    assert!(matches!(bridge.delete(path).send().status, 204 | 404));
    vec![link]
}

fn the_upstream_ends_it_for_good(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    let (mut stream, mut link) = stream(bridge, upstream, path);
    link.disconnect("unauthorized", Some(false));
    stream.expect_upstream("disconnected");
    stream.expect_end();
    vec![link]
}

fn the_upstream_goes_away_and_then_the_client(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    let (mut stream, link) = stream(bridge, upstream, path);
    link.close(1001, "going away");
    stream.expect_upstream("disconnected");
    Vec::new()
}

fn the_upstream_refuses_the_handshake(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    let asked = bridge.get(&opening(path)).sse().begin();
    link(upstream, path).answer(403);
    asked.response().refused(403);
    Vec::new()
}

fn the_upstream_refuses_after_the_handshake(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    let asked = bridge.get(&opening(path)).begin();
    let mut link = link(upstream, path);
    link.upgrade();
    link.disconnect("unauthorized", Some(false));
    asked.response().refused(403);
    vec![link]
}

fn a_stream_leaves_before_the_welcome(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    let _asked = bridge.get(&opening(path)).sse().begin();
    vec![link(upstream, path)]
}

fn a_poll_leaves_before_the_welcome(
    bridge: &Bridge,
    upstream: &FakeUpstream,
    path: &str,
) -> Vec<Link> {
    let _asked = bridge.get(&opening(path)).begin();
    vec![link(upstream, path)]
}
