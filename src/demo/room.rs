//! Who is connected to the demo, and to which channels.
//!
//! Owns: the subscriptions, and what each command of a client does.
//! Never: waits for a client longer than one write may take (`wire::WRITE_MAX`); then that client is cut off.
//! Commands that make no sense are ignored, as Rails does.

use super::wire::{self, Command, DemoSocket};
use crate::frame::Identifier;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use std::sync::Arc;
use tungstenite::{Message, WebSocket};

/// Channels of one connection; a subscribe beyond is ignored.
const CHANNELS_MAX: usize = 4096;

#[derive(Default)]
pub struct DemoRoom {
    /// Held to see which there are, and never for I/O.
    peers: Mutex<Vec<SharedPeer>>,
}

/// Held for a write, so that no message comes before the confirmation of its channel, and none after it is missed.
type SharedPeer = Arc<Mutex<Peer>>;

/// One connection.
pub struct Peer {
    out: WebSocket<DemoSocket>,
    /// As this client spells them.
    subscribed: Vec<Identifier>,
}

impl DemoRoom {
    /// Lets a client in; the welcome is the first that it hears.
    pub fn enter(&self, socket: &DemoSocket) -> SharedPeer {
        let mut peer = Peer { out: socket.writer(), subscribed: Vec::new() };
        peer.send(Message::text(wire::WELCOME));
        let peer = Arc::new(Mutex::new(peer));
        self.peers.lock().push(Arc::clone(&peer));
        peer
    }

    pub fn leave(&self, left: &SharedPeer) {
        self.peers.lock().retain(|peer| !Arc::ptr_eq(peer, left));
    }

    pub fn peers(&self) -> Vec<SharedPeer> {
        self.peers.lock().clone()
    }

    /// Sends a JSON value to all subscribers of a channel of this name.
    pub fn tell(&self, channel: &str, json: &str) {
        let is_named = |identifier: &Identifier| identifier.channel() == channel;
        self.peers().iter().for_each(|peer| peer.lock().tell(json, is_named));
    }

    /// Does what one text frame of a client asks for.
    pub fn obey(&self, peer: &Mutex<Peer>, text: &str) {
        let Ok(command) = serde_json::from_str::<Command<'_>>(text) else { return };
        let Some(identifier) = command.identifier() else { return };
        match &*command.command {
            "subscribe" => peer.lock().subscribe(identifier),
            // Rails confirms none.
            "unsubscribe" => peer.lock().subscribed.retain(|one| *one != identifier),
            "message"
                if serde_json::from_str::<IgnoredAny>(&command.data).is_ok()
                    && peer.lock().subscribed.contains(&identifier) =>
            {
                let is_same = |subscribed: &Identifier| *subscribed == identifier;
                self.peers().iter().for_each(|peer| peer.lock().tell(&command.data, is_same));
            }
            _ => {}
        }
    }
}

impl Peer {
    pub fn send(&mut self, message: Message) {
        send(&mut self.out, message);
    }

    /// Sends a JSON value to those of its channels that are meant.
    fn tell(&mut self, json: &str, is_meant: impl Fn(&Identifier) -> bool) {
        for identifier in self.subscribed.iter().filter(|identifier| is_meant(identifier)) {
            send(&mut self.out, wire::frame(identifier, &format!(r#""message":{json}"#)));
        }
    }

    fn subscribe(&mut self, identifier: Identifier) {
        if identifier.channel() == "RejectedChannel" {
            return self.send(wire::frame(&identifier, r#""type":"reject_subscription""#));
        }
        let confirm = wire::frame(&identifier, r#""type":"confirm_subscription""#);
        if !self.subscribed.contains(&identifier) {
            if self.subscribed.len() == CHANNELS_MAX {
                return;
            }
            self.subscribed.push(identifier);
        }
        self.send(confirm);
    }
}

fn send(out: &mut WebSocket<DemoSocket>, message: Message) {
    if out.send(message).is_err() {
        out.get_ref().cut();
    }
}
