//! A real server that goes away: restarted, deployed anew, or done with one of its users.

use crate::client::{Client, Road, room};
use crate::it::support::Bridge;
use crate::parts::{Rails, Version};

on_each_rails_and_road! {
    a_restart_of_puma_is_survived_with_the_same_channel,
    a_user_whom_the_server_disconnects_is_connected_again,
    a_restart_of_the_cable_alone_is_told_by_its_reason,
}

on_each_rails! {
    a_puma_on_a_socket_file_is_spoken_to_and_its_restart_is_survived,
}

/// With the staleness that a user gets: a restart has to be survived with that too.
fn bridge(rails: &Rails) -> Bridge {
    Bridge::at(&rails.url(), &["--stale-after", "6s"])
}

fn a_restart_of_puma_is_survived_with_the_same_channel(version: Version, road: Road) {
    let mut rails = Rails::start(version);
    let bridge = bridge(&rails);
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);

    rails.stop();
    assert_eq!(ada.expect("disconnected"), channel);
    rails.start_again();

    ada.expect_welcome(&channel);
    ada.act(&room("a"), r#"{"action":"speak","text":"still here"}"#);
    assert_eq!(ada.received(), r#"{"from":"ada","text":"still here"}"#);
}

fn a_user_whom_the_server_disconnects_is_connected_again(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = bridge(&rails);
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);

    rails.control("/disconnect?user=ada");

    assert_eq!(ada.expect("disconnected"), channel);
    ada.expect_welcome(&channel);
    // 6.1 closes the socket and says nothing, 7.2 says what it does.
    let reason = ada.reasons().concat();
    assert!(reason.contains(if version == Version::V6_1 { "1000" } else { "remote" }), "{reason}");
}

fn a_restart_of_the_cable_alone_is_told_by_its_reason(version: Version, road: Road) {
    let rails = Rails::start(version);
    let bridge = bridge(&rails);
    let (mut ada, channel) = Client::enter(&bridge, road, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);

    rails.control("/restart");

    assert_eq!(ada.expect("disconnected"), channel);
    ada.expect_welcome(&channel);
    assert_eq!(ada.reasons(), ["server_restart"]);
}

fn a_puma_on_a_socket_file_is_spoken_to_and_its_restart_is_survived(version: Version) {
    let mut rails = Rails::start(version);
    let bridge = Bridge::at(&rails.socket_url(), &[]);
    let (mut ada, channel) = Client::enter(&bridge, Road::Sse, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);

    rails.stop();
    assert_eq!(ada.expect("disconnected"), channel);
    // puma 5 leaves the file behind, puma 6 does not.
    bridge.wait_for_log("the socket file of --server");
    rails.start_again();

    ada.expect_welcome(&channel);
    ada.act(&room("a"), r#"{"action":"speak","text":"still here"}"#);
    assert_eq!(ada.received(), r#"{"from":"ada","text":"still here"}"#);
}
