//! How a real application refuses a user, and what the client is told.

use std::time::{Duration, Instant};

use crate::client::{Road, dressed, opening};
use crate::it::support::{Bridge, Request};
use crate::parts::{Rails, Version};

/// More than the `--connect-timeout` that runs out.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(20);

on_each_rails_and_road! {
    a_cookie_that_the_application_refuses_is_a_403_that_names_the_reason,
    a_user_without_a_cookie_is_refused_like_that_too,
    a_wrong_origin_is_a_403_that_says_why_rails_answered_404,
    a_missing_origin_is_replaced_by_the_option,
}

on_each_rails! {
    a_connect_that_raises_is_a_502_for_a_poll,
    a_connect_that_raises_is_told_to_a_stream_that_joined,
}

fn a_cookie_that_the_application_refuses_is_a_403_that_names_the_reason(
    version: Version,
    road: Road,
) {
    let rails = Rails::start(version);
    let bridge = Bridge::at(&rails.url(), &[]);

    let answer = dressed(&bridge, opening(&bridge, road, "/ada"), "banned").send();

    assert!(answer.refused(403).contains("unauthorized"), "{}", answer.text());
}

fn a_user_without_a_cookie_is_refused_like_that_too(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = Bridge::at(&rails.url(), &[]);
    let origin = format!("http://{}", bridge.address);

    let answer = opening(&bridge, road, "/ada").header("Origin", origin).send();

    assert!(answer.refused(403).contains("unauthorized"), "{}", answer.text());
}

fn a_wrong_origin_is_a_403_that_says_why_rails_answered_404(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = Bridge::at(&rails.url(), &[]);

    let answer =
        ada(opening(&bridge, road, "/ada")).header("Origin", "http://elsewhere.example").send();

    let error = answer.refused(403);
    assert!(error.contains("404"), "{error}");
    assert!(error.contains("allowed_request_origins"), "{error}");
}

fn a_missing_origin_is_replaced_by_the_option(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = Bridge::at(&rails.url(), &["--origin", "http://app.example"]);

    // A client that is no browser, behind a proxy that serves app.example.
    let request = ada(opening(&bridge, road, "/ada")).header("Host", "app.example");

    assert_eq!(request.begin().head().status, 200);
}

fn a_connect_that_raises_is_a_502_for_a_poll(version: Version) {
    let rails = Rails::start(version);
    let bridge = Bridge::at(&rails.url(), &["--connect-timeout", "4s"]);
    let started = Instant::now();

    let answer = dressed(&bridge, opening(&bridge, Road::Poll, "/ada"), "broken");
    let answer = answer.begin().patient(REFUSAL_PATIENCE).response();

    let error = answer.refused(502);
    assert!(error.contains("welcome"), "{error}");
    assert!(answer.header("retry-after").is_some());
    assert!(started.elapsed() >= Duration::from_secs(4), "it did not wait for the welcome");
}

fn a_connect_that_raises_is_told_to_a_stream_that_joined(version: Version) {
    let rails = Rails::start(version);
    let bridge = Bridge::at(&rails.url(), &["--connect-timeout", "4s"]);

    let stream = dressed(&bridge, opening(&bridge, Road::Sse, "/ada"), "broken").stream();
    let mut stream = stream.patient(REFUSAL_PATIENCE);

    stream.expect_joined();
    let told = stream.expect_upstream("disconnected");
    assert!(told.text("reason").contains("welcome"), "{told:?}");
    assert!(told.flag("reconnect"));
}

fn ada(request: Request) -> Request {
    request.header("Cookie", "user=ada")
}
