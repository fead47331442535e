//! Paths and methods: what names a session, what does not, and what every answer about one has.

use crate::support::*;

#[test]
fn the_root_is_a_short_hint_in_plain_text_on_how_to_use_it_with_curl() {
    let bridge = Bridge::start(&FakeUpstream::start());

    let response = bridge.get("/").send();

    assert_eq!(response.status, 200);
    assert!(response.header("content-type").unwrap().starts_with("text/plain"));
    assert!(response.text().contains("curl"), "{}", response.text());
}

#[test]
fn the_root_takes_head_which_has_no_body() {
    let bridge = Bridge::start(&FakeUpstream::start());

    let mut asked = bridge.raw("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");

    assert_eq!(asked.head().status, 200);
    assert_eq!(asked.rest(), "");
}

#[test]
fn the_favicon_the_robots_file_and_the_well_known_ones_are_no_sessions() {
    let bridge = Bridge::start(&FakeUpstream::start());

    for path in ["/favicon.ico", "/robots.txt", "/.well-known/security.txt", "/.well-known/"] {
        bridge.get(path).sse().send().refused(404);
    }
}

#[test]
fn everything_under_the_bridges_own_pages_is_no_session() {
    let bridge = Bridge::start(&FakeUpstream::start());

    bridge.get("/-/no-such-page").sse().send().refused(404);
}

#[test]
fn health_answers_ok() {
    let bridge = Bridge::start(&FakeUpstream::start());

    let response = bridge.get("/-/health").send();

    assert_eq!((response.status, response.text().trim_end()), (200, "ok"));
}

#[test]
fn a_path_of_512_bytes_names_a_session() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let path = format!("/{}", "a".repeat(511));

    let asked = bridge.get(&path).sse().begin();
    let _link = upstream.welcome();

    assert_eq!(asked.stream().expect_joined().text("id"), path);
}

#[test]
fn a_path_over_512_bytes_is_414() {
    let bridge = Bridge::start(&FakeUpstream::start());

    bridge.get(&format!("/{}", "a".repeat(512))).sse().send().refused(414);
}

#[test]
fn the_query_does_not_count_towards_the_512_bytes() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get(&format!("/a?token={}", "t".repeat(600))).sse().begin();
    let _link = upstream.welcome();

    asked.stream().expect_joined();
}

#[test]
fn the_path_as_sent_names_the_session() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let mut links = Vec::new();
    let ids = ["/a", "/a/", "/%61", "/A", "/a//b", "/a;b=1"].map(|path| {
        let asked = bridge.get(path).sse().begin();
        links.push(upstream.welcome());
        asked.stream().expect_joined().text("id")
    });

    assert_eq!(ids, ["/a", "/a/", "/%61", "/A", "/a//b", "/a;b=1"]);
}

#[test]
fn the_query_does_not_name_the_session() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (stream, _link) = bridge.open(&upstream, "/a?token=one");

    let response = bridge.post("/a?token=two", &format!("[{}]", subscribe(CHAT))).send();

    assert_eq!(response.header("x-session-id"), Some(stream.session_id().as_str()));
}

#[test]
fn event_stream_in_accept_opens_a_stream_in_any_case_and_with_any_q() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let mut links = Vec::new();
    for (n, accept) in ["Text/Event-STREAM", "*/*, text/event-stream;q=0.1"].iter().enumerate() {
        let asked = bridge.get(&format!("/{n}")).header("Accept", accept).begin();
        links.push(upstream.welcome());
        assert_eq!(
            asked.stream().head.header("content-type"),
            Some("text/event-stream; charset=utf-8")
        );
    }
}

#[test]
fn any_other_accept_opens_a_long_poll() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let mut links = Vec::new();
    for (n, accept) in ["application/json", "*/*", "text/event", ""].iter().enumerate() {
        let asked = bridge.get(&format!("/{n}?timeout=1")).header("Accept", accept).begin();
        links.push(upstream.welcome());
        assert!(asked.poll().messages.is_empty());
    }
}

#[test]
fn no_accept_opens_a_long_poll() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);

    let asked = bridge.get("/a?timeout=1").begin();
    let _link = upstream.welcome();

    assert_eq!(asked.poll().head.header("content-type"), Some("application/json"));
}

#[test]
fn options_on_any_path_and_on_the_asterisk_is_204() {
    let bridge = Bridge::start(&FakeUpstream::start());

    for target in ["/a", "/", "/-/health", "/favicon.ico", "*"] {
        let response = bridge.request("OPTIONS", target).send();
        assert_eq!((response.status, response.text().as_str()), (204, ""), "{target}");
    }
}

#[test]
fn delete_ends_the_session_with_204_and_closes_its_upstream() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (mut stream, mut link) = bridge.open(&upstream, "/a");

    let response = bridge.delete("/a").send();

    assert_eq!(response.status, 204);
    link.expect_close();
    stream.until_end();
}

#[test]
fn delete_of_no_session_is_404() {
    let bridge = Bridge::start(&FakeUpstream::start());

    bridge.delete("/a").send().refused(404);
}

#[test]
fn any_other_method_is_405_with_what_is_allowed() {
    let bridge = Bridge::start(&FakeUpstream::start());

    for method in ["PUT", "PATCH", "HEAD", "BREW"] {
        let head = bridge.request(method, "/a").begin().head();
        let allow = head.header("allow").unwrap_or("");
        assert_eq!(head.status, 405, "{method}");
        assert!(["GET", "POST", "DELETE", "OPTIONS"].iter().all(|m| allow.contains(m)), "{allow}");
    }
}

#[test]
fn the_bridges_own_pages_take_get_and_head_and_no_other_method() {
    let bridge = Bridge::start(&FakeUpstream::start());

    for path in ["/", "/-/health"] {
        let response = bridge.post(path, "[]").send();
        response.refused(405);
        let allow = response.header("allow").unwrap();
        assert!(allow.contains("GET") && allow.contains("HEAD"), "{allow}");
        assert!(!allow.contains("POST"), "{allow}");
    }
}

#[test]
fn the_session_id_is_on_every_answer_that_succeeds() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-r"]);
    let (stream, _link) = bridge.open(&upstream, "/a");
    let id = stream.session_id();

    let poll = bridge.get("/a?timeout=1").poll();
    let post = bridge.post("/a", &format!("[{}]", subscribe(CHAT))).send();
    let delete = bridge.delete("/a").send();

    for head in [&poll.head, &post, &delete] {
        assert_eq!(head.header("x-session-id"), Some(id.as_str()), "{head:?}");
    }
    assert_eq!(poll.json.text("session_id"), id);
}

#[test]
fn the_session_id_is_on_no_403() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (_stream, _link) = bridge.open(&upstream, "/a");

    let response = bridge.get("/a").sse().send();

    response.refused(403);
    assert_eq!(response.header("x-session-id"), None);
}

#[test]
fn no_answer_about_a_session_is_stored_transformed_or_buffered() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::with(&upstream, &["-r"]);
    let (stream, _link) = bridge.open(&upstream, "/a");

    let poll = bridge.get("/a?timeout=1").send();
    let post = bridge.post("/a", &format!("[{}]", subscribe(CHAT))).send();
    let wrong = bridge.post("/a", "{").send();
    let delete = bridge.delete("/a").send();
    let gone = bridge.delete("/a").send();

    for head in [&stream.head, &poll, &post, &wrong, &delete, &gone] {
        assert_eq!(head.header("cache-control"), Some("no-store, no-transform"), "{head:?}");
        assert_eq!(head.header("x-accel-buffering"), Some("no"), "{head:?}");
    }
}

#[test]
fn every_answer_has_a_date_and_only_one() {
    let upstream = FakeUpstream::start();
    let bridge = Bridge::start(&upstream);
    let (stream, _link) = bridge.open(&upstream, "/a");
    let mut heads = vec![stream.head];

    heads.push(bridge.get("/-/health").send());
    heads.push(bridge.get("/a").send());
    heads.push(bridge.post("/a", "[1]").send());
    heads.push(bridge.raw("GET /a HTTP/2.0\r\n\r\n").response());

    for head in heads {
        let dates: Vec<_> = head.headers.iter().filter(|(name, _)| name == "date").collect();
        assert!(dates.len() == 1 && dates[0].1.ends_with(" GMT"), "{head:?}");
    }
}
