//! Subscribing and unsubscribing in one breath. Rails runs commands in a pool and keeps no order between them, so that what the
//! bridge tells is compared with what Rails has, round by round.

use crate::client::{Client, Road, room};
use crate::it::support::{Bridge, PATIENCE, subscribe, unsubscribe, wait_until};
use crate::parts::{Rails, Version};

on_each_rails! {
    after_unsubscribe_and_subscribe_rails_has_what_was_told,
    after_subscribe_unsubscribe_and_subscribe_rails_has_what_was_told,
}

/// `scripts/check --all` asks for 200.
fn rounds() -> usize {
    std::env::var("REAL_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap())
}

fn after_unsubscribe_and_subscribe_rails_has_what_was_told(version: Version) {
    let rails = Rails::start(version);
    let bridge = Bridge::at(&rails.url(), &[]);
    let (mut ada, channel) = Client::enter(&bridge, Road::Sse, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);

    for round in 0..rounds() {
        let told = ada.post_all(&[unsubscribe(&room("a")), subscribe(&room("a"))]);
        expect_subscribed(&mut ada, &rails, &told[1], round);
    }
}

fn after_subscribe_unsubscribe_and_subscribe_rails_has_what_was_told(version: Version) {
    let rails = Rails::start(version);
    let bridge = Bridge::at(&rails.url(), &[]);
    let (mut ada, channel) = Client::enter(&bridge, Road::Sse, "ada", "/ada", &room("a"));
    ada.expect_welcome(&channel);
    ada.unsubscribe(&room("a"));
    wait_until(PATIENCE, || rails.subscriptions() == 0);

    for round in 0..rounds() {
        let (on, off) = (subscribe(&room("a")), unsubscribe(&room("a")));
        let told = ada.post_all(&[on.clone(), off.clone(), on]);
        expect_subscribed(&mut ada, &rails, &told[2], round);
        ada.post_all(&[off]);
        wait_until(PATIENCE, || rails.subscriptions() == 0);
    }
}

/// One `connected`, of this channel; then an action is answered, and Rails has one subscription. Rails' greetings may come more
/// than once: each subscription has its own.
fn expect_subscribed(ada: &mut Client<'_>, rails: &Rails, channel: &str, round: usize) {
    let greeting = |message: &str| message.contains("greeting");
    loop {
        let message = ada.next();
        match message.kind().as_str() {
            "received" => assert!(greeting(message.raw("message")), "{message:?}"),
            "connected" if message.text("chan_id") == channel => break,
            "connected" => {}
            _ => panic!("round {round}: {message:?}"),
        }
    }
    ada.act(&room("a"), &format!(r#"{{"action":"speak","text":"round {round}"}}"#));
    loop {
        let message = ada.received();
        if !greeting(&message) {
            assert_eq!(message, format!(r#"{{"from":"ada","text":"round {round}"}}"#));
            break;
        }
    }
    wait_until(PATIENCE, || rails.subscriptions() == 1);
}
