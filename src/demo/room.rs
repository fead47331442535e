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
use std::sync::Arc;
use std::time::Duration;
use tungstenite::Message;

/// Channels of one connection; a subscribe beyond is ignored.
const CHANNELS_MAX: usize = 4096;

/// How long a client that sends may leave its own queue full before it is cut off.
const OWN_QUEUE_WAIT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct DemoRoom {
    /// Each with the identifier as its client spells it. Held for looking up and for queueing, never for I/O that could block.
    subscriptions: Mutex<Vec<(Arc<Peer>, Identifier)>>,
}

/// One connection, as others see it.
pub struct Peer {
    pub queue: Sender<Message>,
    pub socket: DemoSocket,
}

/// One connection, as its reader sees it. When it is dropped, the peer has left.
pub struct Member<'a> {
    room: &'a DemoRoom,
    peer: Arc<Peer>,
}

impl DemoRoom {
    /// Sends a JSON value to all subscribers of a channel of this name.
    pub fn tell(&self, channel: &str, json: &str) {
        let message = format!(r#""message":{json}"#);
        for (peer, identifier) in self.subscriptions.lock().iter() {
            if identifier.channel() == channel {
                peer.offer(wire::frame(identifier, &message));
            }
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.lock().is_empty()
    }
}

impl Member<'_> {
    /// Lets a peer in; the welcome is the first that it hears.
    pub fn enter(room: &DemoRoom, peer: Peer) -> Member<'_> {
        peer.offer(Message::text(wire::WELCOME));
        Member { room, peer: Arc::new(peer) }
    }

    /// Does what one text frame of the client asks for.
    pub fn obey(&self, text: &str) {
        let Ok(command) = serde_json::from_str::<Command<'_>>(text) else { return };
        let Some(identifier) = command.identifier() else { return };
        match &*command.command {
            "subscribe" => self.subscribe(identifier),
            // Rails confirms none.
            "unsubscribe" => self.leave(|subscribed| *subscribed == identifier),
            "message" if serde_json::from_str::<IgnoredAny>(&command.data).is_ok() => {
                self.send_back(&identifier, &command.data)
            }
            _ => {}
        }
    }

    /// Queues something for this very client, whose reader may wait for its writer.
    pub fn tell(&self, message: Message) {
        if self.peer.queue.send_timeout(message, OWN_QUEUE_WAIT).is_err() {
            self.peer.socket.cut();
        }
    }

    fn subscribe(&self, identifier: Identifier) {
        if identifier.channel() == "RejectedChannel" {
            return self.tell(wire::frame(&identifier, r#""type":"reject_subscription""#));
        }
        let confirm = wire::frame(&identifier, r#""type":"confirm_subscription""#);
        // Queued under the lock: no message comes before the confirmation, and none after it is missed.
        let mut subscriptions = self.room.subscriptions.lock();
        let own = subscriptions.iter().filter(|(peer, _)| Arc::ptr_eq(peer, &self.peer));
        let own: Vec<_> = own.map(|(_, subscribed)| subscribed).collect();
        if !own.contains(&&identifier) {
            if own.len() == CHANNELS_MAX {
                return;
            }
            subscriptions.push((Arc::clone(&self.peer), identifier));
        }
        let queued = self.peer.queue.try_send(confirm);
        drop(subscriptions);
        if let Err(unsent) = queued {
            self.tell(unsent.into_inner());
        }
    }

    fn leave(&self, which: impl Fn(&Identifier) -> bool) {
        let mut subscriptions = self.room.subscriptions.lock();
        subscriptions.retain(|(peer, of)| !Arc::ptr_eq(peer, &self.peer) || !which(of));
    }

    fn send_back(&self, identifier: &Identifier, data: &str) {
        let message = format!(r#""message":{data}"#);
        let subscriptions = self.room.subscriptions.lock();
        let subscribers = subscriptions.iter().filter(|(_, subscribed)| subscribed == identifier);
        let subscribers: Vec<_> = subscribers.cloned().collect();
        drop(subscriptions);
        if !subscribers.iter().any(|(peer, _)| Arc::ptr_eq(peer, &self.peer)) {
            return;
        }
        for (peer, identifier) in subscribers {
            let frame = wire::frame(&identifier, &message);
            if Arc::ptr_eq(&peer, &self.peer) { self.tell(frame) } else { peer.offer(frame) }
        }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.leave(|_| true);
    }
}

impl Peer {
    /// Queues a message. A peer that does not read, and one that has left, is cut off.
    fn offer(&self, message: Message) {
        if self.queue.try_send(message).is_err() {
            self.socket.cut();
        }
    }
}
