//! Two processes of the application that share a Redis, as in production.

use crate::client::{Client, Road, room};
use crate::it::support::Bridge;
use crate::parts::{Rails, Redis, Version};

on_each_rails_and_road! {
    what_is_spoken_on_one_process_is_received_on_the_other,
    what_one_process_broadcasts_is_received_on_the_other,
    a_user_whom_another_process_disconnects_is_connected_again,
    five_hundred_messages_arrive_in_order_with_redis,
}

struct Pair {
    one: Rails,
    other: Rails,
    _redis: Redis,
}

fn pair(version: Version) -> Pair {
    let redis = Redis::start();
    let (one, other) = (Rails::sharing(version, &redis), Rails::sharing(version, &redis));
    Pair { one, other, _redis: redis }
}

fn what_is_spoken_on_one_process_is_received_on_the_other(version: Version, road: Road) {
    let pair = pair(version);
    let (bridge, other) = (Bridge::at(&pair.one.url(), &[]), Bridge::at(&pair.other.url(), &[]));
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);
    let (mut bob, channel) = Client::enter(&other, road, "bob", "/bob", &room("a"));
    bob.expect_welcome(&channel);

    ada.act(&room("a"), r#"{"action":"speak","text":"hi"}"#);

    assert_eq!(bob.received(), r#"{"from":"ada","text":"hi"}"#);
    assert_eq!(ada.received(), r#"{"from":"ada","text":"hi"}"#);
}

fn what_one_process_broadcasts_is_received_on_the_other(version: Version, road: Road) {
    let pair = pair(version);
    let bridge = Bridge::at(&pair.one.url(), &[]);
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);

    pair.other.control("/broadcast?room=a&text=hi");

    assert_eq!(ada.received(), r#"{"from":"server","text":"hi"}"#);
}

fn a_user_whom_another_process_disconnects_is_connected_again(version: Version, road: Road) {
    let pair = pair(version);
    let bridge = Bridge::at(&pair.one.url(), &[]);
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);

    pair.other.control("/disconnect?user=ada");

    assert_eq!(ada.expect("disconnected"), channel);
    ada.expect_welcome(&channel);
}

fn five_hundred_messages_arrive_in_order_with_redis(version: Version, road: Road) {
    let pair = pair(version);
    let bridge = Bridge::at(&pair.one.url(), &[]);
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);

    ada.act(&room("a"), r#"{"action":"burst","count":500}"#);

    for number in 1..=500 {
        assert_eq!(ada.received(), format!(r#"{{"number":{number}}}"#));
    }
}
