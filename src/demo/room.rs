//! The subscriptions of the demo.
//!
//! Owns: the subscriptions, and what each command of a client does.
//! Never: waits while the lock is held. A message for a peer whose queue is full ends that peer; only what a client is told
//! because of its own command may wait, and then only that client does.
//! Commands that make no sense are ignored, as Rails does.

use super::wire::{self, Command, DemoSocket};
use crate::frame::Identifier;
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tungstenite::Message;

/// Channels of one connection; a subscribe beyond is ignored.
const CHANNELS_MAX: usize = 4096;

/// How long a client that sends may leave its own queue full before it is cut off.
const OWN_QUEUE_WAIT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct DemoRoom {
    /// Held for looking up and for queueing, never for I/O that could block.
    channels: Mutex<HashMap<Identifier, Vec<Subscriber>>>,
}

#[derive(Clone)]
struct Subscriber {
    peer: Arc<Peer>,
    /// As this one spells it.
    identifier: Identifier,
}

/// One connection, as others see it. `number` is its own for ever.
pub struct Peer {
    pub number: usize,
    pub queue: Sender<Message>,
    pub socket: DemoSocket,
}

/// One connection, as its reader sees it. When it is dropped, the peer has left.
pub struct Member<'a> {
    room: &'a DemoRoom,
    peer: Arc<Peer>,
    subscribed: Vec<Identifier>,
}

impl DemoRoom {
    /// Sends a JSON value to all subscribers of a channel of this name.
    pub fn tell(&self, channel: &str, json: &str) {
        let message = format!(r#""message":{json}"#);
        let channels = self.channels.lock();
        let named = channels.iter().filter(|(key, _)| key.channel() == channel);
        for Subscriber { peer, identifier } in named.flat_map(|(_, subscribers)| subscribers) {
            peer.offer(wire::frame(identifier, &message));
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.channels.lock().is_empty()
    }
}

impl Member<'_> {
    /// Lets a peer in; the welcome is the first that it hears.
    pub fn enter(room: &DemoRoom, peer: Peer) -> Member<'_> {
        peer.offer(Message::text(wire::WELCOME));
        Member { room, peer: Arc::new(peer), subscribed: Vec::new() }
    }

    /// Does what one text frame of the client asks for.
    pub fn obey(&mut self, text: &str) {
        let Ok(command) = serde_json::from_str::<Command<'_>>(text) else { return };
        let Some(identifier) = command.identifier() else { return };
        match &*command.command {
            "subscribe" => self.subscribe(identifier),
            "unsubscribe" => {
                // Rails confirms none.
                self.subscribed.retain(|subscribed| *subscribed != identifier);
                self.forget(&identifier);
            }
            "message" if is_json(&command.data) => self.send_back(&identifier, &command.data),
            _ => {}
        }
    }

    /// Queues something for this very client, whose reader may wait for its writer.
    pub fn tell(&self, message: Message) {
        if self.peer.queue.send_timeout(message, OWN_QUEUE_WAIT).is_err() {
            self.peer.socket.cut();
        }
    }

    fn subscribe(&mut self, identifier: Identifier) {
        if identifier.channel() == "RejectedChannel" {
            return self.tell(wire::frame(&identifier, r#""type":"reject_subscription""#));
        }
        let known = self.subscribed.contains(&identifier);
        if !known && self.subscribed.len() == CHANNELS_MAX {
            return;
        }
        let confirm = wire::frame(&identifier, r#""type":"confirm_subscription""#);
        if known {
            return self.tell(confirm);
        }
        self.subscribed.push(identifier.clone());
        let subscriber =
            Subscriber { peer: Arc::clone(&self.peer), identifier: identifier.clone() };
        // Queued under the lock: no message comes before the confirmation, and none after it is missed.
        let mut channels = self.room.channels.lock();
        channels.entry(identifier).or_default().push(subscriber);
        let queued = self.peer.queue.try_send(confirm);
        drop(channels);
        if let Err(unsent) = queued {
            self.tell(unsent.into_inner());
        }
    }

    fn forget(&self, identifier: &Identifier) {
        let mut channels = self.room.channels.lock();
        if let Some(subscribers) = channels.get_mut(identifier) {
            subscribers.retain(|subscriber| subscriber.peer.number != self.peer.number);
            if subscribers.is_empty() {
                channels.remove(identifier);
            }
        }
    }

    fn send_back(&self, identifier: &Identifier, data: &str) {
        if !self.subscribed.contains(identifier) {
            return;
        }
        let message = format!(r#""message":{data}"#);
        let subscribers = self.room.channels.lock().get(identifier).cloned();
        for Subscriber { peer, identifier } in subscribers.unwrap_or_default() {
            let frame = wire::frame(&identifier, &message);
            if peer.number == self.peer.number { self.tell(frame) } else { peer.offer(frame) }
        }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.subscribed.iter().for_each(|identifier| self.forget(identifier));
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

impl Peer {
    /// Queues a message. A peer that does not read, and one that has left, is cut off.
    fn offer(&self, message: Message) {
        if self.queue.try_send(message).is_err() {
            self.socket.cut();
        }
    }
}
