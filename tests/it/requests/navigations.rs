//! A page that somebody navigates to, a link, an image: they come with the user's cookies and open nothing.

use crate::support::*;

/// Headers that make a GET no client's, and what it is answered.
const NO_CLIENT: [(&[(&str, &str)], u16); 6] = [
    (&[("Sec-Fetch-Mode", "navigate"), ("Accept", "text/event-stream")], 406),
    (&[("Sec-Fetch-Mode", "navigate"), ("Origin", "http://a.example")], 406),
    (&[("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")], 406),
    (&[("Accept", "TEXT/HTML, text/event-stream")], 406),
    (&[("Sec-Fetch-Site", "cross-site"), ("Accept", "text/event-stream")], 403),
    (&[("Sec-Fetch-Site", "same-site"), ("Sec-Fetch-Mode", "no-cors")], 403),
];

fn get(bridge: &Bridge, headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(bridge.get("/a"), |request, (name, value)| request.header(name, value))
}

#[test]
fn a_navigation_is_406_and_a_foreign_link_without_origin_is_403() {
    let bridge = Bridge::start(&FakeUpstream::start());

    for (headers, status) in NO_CLIENT {
        get(&bridge, headers).send().refused(status);
    }
}

#[test]
fn a_navigation_or_a_foreign_link_opens_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    for (headers, _) in NO_CLIENT {
        get(&bridge, headers).send();
    }

    let _marker = bridge.get("/a?token=marker").sse().begin();
    assert_eq!(upstream.accept().handshake.target(), "/cable?token=marker");
}

#[test]
fn a_navigation_or_a_foreign_link_joins_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-r"]);
    let (mut stream, mut link) = bridge.open_with(&upstream, "/a", CHAT);

    for (headers, status) in NO_CLIENT {
        get(&bridge, headers).send().refused(status);
    }

    link.message(CHAT, "1");
    assert_eq!(stream.received(), "1");
}

#[test]
fn text_html_in_accept_does_not_count_where_the_mode_is_told() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let request = bridge.get("/a").header("Sec-Fetch-Mode", "cors");
    let asked = request.header("Accept", "text/html, text/event-stream").begin();
    let _link = upstream.welcome();

    asked.stream().expect_joined();
}

#[test]
fn a_foreign_fetch_with_an_origin_is_a_client() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let mut links = Vec::new();
    for site in ["cross-site", "same-site"] {
        let request = bridge.get(&format!("/{site}")).sse().header("Sec-Fetch-Site", site);
        let asked = request.header("Origin", "https://a.example").begin();
        links.push(upstream.welcome());
        asked.stream().expect_joined();
    }
}

#[test]
fn a_fetch_of_the_same_origin_needs_no_origin() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a").sse().header("Sec-Fetch-Site", "same-origin").begin();
    let _link = upstream.welcome();

    asked.stream().expect_joined();
}

#[test]
fn an_upgrade_to_a_websocket_is_told_at_once_that_it_is_at_the_wrong_server_and_opens_nothing() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let error = bridge
        .get("/cable")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .send()
        .refused(400);

    assert!(error.contains("WebSocket"), "{error}");
    bridge.post("/cable", &format!("[{}]", subscribe(CHAT))).send().refused(404);
}
