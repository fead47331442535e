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
    peers: Mutex<Vec<Arc<Peer>>>,
}

/// One connection.
pub struct Peer {
    socket: DemoSocket,
    /// Held for a write, so that no message comes before the confirmation of its channel, and none after it is missed.
    state: Mutex<PeerState>,
}

struct PeerState {
    out: WebSocket<DemoSocket>,
    /// As this client spells them.
    subscribed: Vec<Identifier>,
}

impl DemoRoom {
    /// Lets a client in; the welcome is the first that it hears.
    pub fn enter(&self, socket: &DemoSocket) -> Arc<Peer> {
        let state = Mutex::new(PeerState { out: socket.writer(), subscribed: Vec::new() });
        let peer = Arc::new(Peer { socket: socket.clone(), state });
        peer.send(Message::text(wire::WELCOME));
        self.peers.lock().push(Arc::clone(&peer));
        peer
    }

    pub fn leave(&self, left: &Arc<Peer>) {
        self.peers.lock().retain(|peer| !Arc::ptr_eq(peer, left));
    }

    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.lock().clone()
    }

    /// Sends a JSON value to all subscribers of a channel of this name.
    pub fn tell(&self, channel: &str, json: &str) {
        let is_named = |identifier: &Identifier| identifier.channel() == channel;
        self.peers().iter().for_each(|peer| peer.tell(json, is_named));
    }

    /// Does what one text frame of a client asks for.
    pub fn obey(&self, peer: &Peer, text: &str) {
        let Ok(command) = serde_json::from_str::<Command<'_>>(text) else { return };
        let Some(identifier) = command.identifier() else { return };
        match &*command.command {
            "subscribe" => peer.subscribe(identifier),
            // Rails confirms none.
            "unsubscribe" => peer.state.lock().subscribed.retain(|one| *one != identifier),
            "message" if peer.may_send(&identifier, &command.data) => {
                let is_same = |subscribed: &Identifier| *subscribed == identifier;
                self.peers().iter().for_each(|peer| peer.tell(&command.data, is_same));
            }
            _ => {}
        }
    }
}

impl Peer {
    pub fn send(&self, message: Message) {
        self.write(&mut self.state.lock().out, message);
    }

    fn may_send(&self, identifier: &Identifier, data: &str) -> bool {
        serde_json::from_str::<IgnoredAny>(data).is_ok()
            && self.state.lock().subscribed.contains(identifier)
    }

    /// Sends a JSON value to those of its channels that are meant.
    fn tell(&self, json: &str, is_meant: impl Fn(&Identifier) -> bool) {
        let PeerState { out, subscribed } = &mut *self.state.lock();
        for identifier in subscribed.iter().filter(|identifier| is_meant(identifier)) {
            self.write(out, wire::frame(identifier, &format!(r#""message":{json}"#)));
        }
    }

    fn subscribe(&self, identifier: Identifier) {
        if identifier.channel() == "RejectedChannel" {
            return self.send(wire::frame(&identifier, r#""type":"reject_subscription""#));
        }
        let confirm = wire::frame(&identifier, r#""type":"confirm_subscription""#);
        let PeerState { out, subscribed } = &mut *self.state.lock();
        if !subscribed.contains(&identifier) {
            if subscribed.len() == CHANNELS_MAX {
                return;
            }
            subscribed.push(identifier);
        }
        self.write(out, confirm);
    }

    fn write(&self, out: &mut WebSocket<DemoSocket>, message: Message) {
        if out.send(message).is_err() {
            self.socket.cut();
        }
    }
}
