//! What a user of a real application sees when everything works.

use crate::client::{Client, Road, dressed, room};
use crate::it::support::{Bridge, Json, PATIENCE, send, wait_until};
use crate::parts::{Rails, Version};

on_each_rails_and_road! {
    a_greeting_is_received_before_its_channel_is_connected,
    what_one_user_speaks_the_room_receives_byte_for_byte,
    five_hundred_messages_of_one_action_arrive_in_order,
    a_room_that_rejects_is_told_as_rejected_and_another_works,
    what_the_server_broadcasts_the_room_receives,
    a_room_that_was_left_is_heard_no_more,
    a_session_that_was_deleted_leaves_no_connection_in_rails,
}

on_each_rails! {
    five_hundred_messages_arrive_in_order_for_a_poller_that_acknowledges_nothing,
}

/// The bridge with the defaults that a user gets.
fn bridge(rails: &Rails) -> Bridge {
    Bridge::at(&rails.url(), &["--stale-after", "6s"])
}

fn a_greeting_is_received_before_its_channel_is_connected(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = bridge(&rails);

    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    let greeting = ada.next();

    assert_eq!(greeting.kind(), "received");
    assert_eq!(greeting.text("chan_id"), channel);
    assert_eq!(greeting.raw("message"), r#"{"greeting":"hello ada"}"#);
    assert_eq!(greeting.raw("identifier"), room("a"));
    assert_eq!(ada.expect("connected"), channel);
}

fn what_one_user_speaks_the_room_receives_byte_for_byte(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = bridge(&rails);
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);
    let (mut bob, channel) = Client::enter(&bridge, road, "bob", "/bob", &room("a"));
    bob.expect_welcome(&channel);

    ada.act(&room("a"), r#"{"action":"speak","text":"1 < 2, é"}"#);

    // Rails escapes for HTML, and the bridge leaves that as it is.
    let spoken = r#"{"from":"ada","text":"1 \u003c 2, é"}"#;
    assert_eq!(ada.received(), spoken);
    assert_eq!(bob.received(), spoken);
}

fn five_hundred_messages_of_one_action_arrive_in_order(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = bridge(&rails);
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);

    ada.act(&room("a"), r#"{"action":"burst","count":500}"#);

    for number in 1..=500 {
        assert_eq!(ada.received(), format!(r#"{{"number":{number}}}"#));
    }
}

fn a_room_that_rejects_is_told_as_rejected_and_another_works(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = bridge(&rails);

    let (mut ada, rejected) = Client::enter(&bridge, road, "ada", "/ada", &room("rejected"));
    assert_eq!(ada.expect("rejected"), rejected);
    let channel = ada.subscribe(&room("a"));

    ada.expect_welcome(&channel);
}

fn what_the_server_broadcasts_the_room_receives(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = bridge(&rails);
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);

    rails.control("/broadcast?room=b&text=not+for+you");
    rails.control("/broadcast?room=a&text=hi");

    assert_eq!(ada.received(), r#"{"from":"server","text":"hi"}"#);
}

fn a_room_that_was_left_is_heard_no_more(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = bridge(&rails);
    let (mut ada, left) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&left);
    let kept = ada.subscribe(&room("b"));
    ada.expect_welcome(&kept);

    ada.unsubscribe(&room("a"));
    wait_until(PATIENCE, || rails.subscriptions() == 1);
    rails.control("/broadcast?room=a&text=not+for+you");
    rails.control("/broadcast?room=b&text=for+you");

    assert_eq!(ada.received(), r#"{"from":"server","text":"for you"}"#);
}

fn a_session_that_was_deleted_leaves_no_connection_in_rails(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = bridge(&rails);
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);
    // Rails counts it after its welcome.
    wait_until(PATIENCE, || rails.connections() == 1);

    ada.leave();

    wait_until(PATIENCE, || rails.connections() == 0);
}

fn five_hundred_messages_arrive_in_order_for_a_poller_that_acknowledges_nothing(version: Version) {
    let rails = Rails::start(version);
    let bridge = bridge(&rails);
    let (mut ada, channel) = Client::enter(&bridge, Road::Poll, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);
    let burst = send(&room("a"), r#"{"action":"burst","count":500}"#);
    let post = bridge.post("/ada?poll-queue=1000", &format!("[{burst}]"));
    dressed(&bridge, post, "ada").send().done();

    let mut numbers = Vec::new();
    while numbers.len() < 500 {
        let poll = dressed(&bridge, bridge.get("/ada?timeout=3&poll-queue=1000"), "ada").poll();
        assert!(!poll.messages.is_empty(), "no more than {} came", numbers.len());
        let received = poll.messages.iter().filter(|message| message.kind() == "received");
        let bodies = received.map(|message| Json::parse(message.raw("message")));
        numbers.extend(bodies.filter(|body| body.has("number")).map(|body| body.number("number")));
    }

    assert_eq!(numbers, Vec::from_iter(1..=500));
}
