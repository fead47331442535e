//! How most tests begin: a bridge with one session, `/a`, and one channel, `CHAT`, which is confirmed and told.

use std::ops::Range;

use super::{Bridge, CHAT, FakeUpstream, Link, Poll, Request, Stream};

/// A session that a stream opened.
pub fn opened(options: &[&str]) -> (FakeUpstream, Bridge, Stream, Link) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, options);
    let (stream, link) = bridge.open_with(&upstream, "/a", CHAT);
    (upstream, bridge, stream, link)
}

/// A session that polls, and its first poll.
pub fn polled(options: &[&str]) -> (FakeUpstream, Bridge, Link, Poll) {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, options);
    let link = bridge.confirmed_by_post(&upstream, "/a");
    let poll = bridge.get("/a").poll_and_leave();
    assert_eq!(poll.kinds(), ["connected"]);
    (upstream, bridge, link, poll)
}

/// A stream that comes back with this event id.
pub fn back(bridge: &Bridge, id: &str) -> Request {
    bridge.get("/a").sse().header("Last-Event-ID", id)
}

/// The upstream sends these numbers, and the bridge has them.
pub fn sent(link: &mut Link, numbers: Range<u32>) {
    for n in numbers {
        link.message(CHAT, &n.to_string());
    }
    link.settle();
}
