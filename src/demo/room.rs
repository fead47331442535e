//! Who is connected to the demo, and who subscribed what.
//!
//! Owns: the peers, the subscriptions, and what each command of a client does.
//! Never: waits while the lock is held. A message for a peer whose queue is full ends that peer;
//! only what a client is told because of its own command may wait, and then only that client does.
//! Commands that make no sense are ignored, as Rails does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender, TrySendError};
use parking_lot::Mutex;
use tungstenite::Message;

use super::wire::{self, Command, Identifier, Socket};

/// Channels of one connection; a subscribe beyond is ignored.
const CHANNELS_MAX: usize = 4096;

/// How long a client that sends may leave its own queue full before it is cut off.
const OWN_QUEUE_WAIT: Duration = Duration::from_secs(10);

const CLOCK: &str = "ClockChannel";
const REJECTED: &str = "RejectedChannel";

/// Everyone who is connected.
#[derive(Default)]
pub struct Room {
    /// Guards the two lists. Held for looking up and for queueing, never for I/O that could block.
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    peers: HashMap<usize, Arc<Peer>>,
    /// By `Identifier::key`.
    channels: HashMap<String, Vec<Subscriber>>,
}

#[derive(Clone)]
struct Subscriber {
    peer: Arc<Peer>,
    identifier: Identifier,
}

/// One connection, as others see it.
pub struct Peer {
    number: usize,
    queue: Sender<Message>,
    socket: Socket,
}

/// One connection, as its reader sees it. When it is dropped, the peer has left.
pub struct Member<'a> {
    room: &'a Room,
    peer: Arc<Peer>,
    subscribed: Vec<Identifier>,
}

impl Room {
    /// Lets a peer in; the welcome is the first that it hears.
    pub fn enter(&self, peer: Peer) -> Member<'_> {
        let peer = Arc::new(peer);
        let mut lists = self.lists.lock();
        peer.offer_or_cut(Message::text(wire::WELCOME));
        lists.peers.insert(peer.number, peer.clone());
        drop(lists);
        Member { room: self, peer, subscribed: Vec::new() }
    }

    pub fn everyone(&self, message: &Message) {
        for peer in self.lists.lock().peers.values() {
            peer.offer_or_cut(message.clone());
        }
    }

    /// Tells `time`, a JSON value, to all who subscribed a clock.
    pub fn tell_time(&self, time: &str) {
        let lists = self.lists.lock();
        let subscribers = lists.channels.values().flatten();
        for Subscriber { peer, identifier } in
            subscribers.filter(|subscriber| subscriber.identifier.channel == CLOCK)
        {
            peer.offer_or_cut(Message::text(wire::message(identifier, time)));
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let lists = self.lists.lock();
        lists.peers.is_empty() && lists.channels.is_empty()
    }

    fn subscribers(&self, key: &str) -> Vec<Subscriber> {
        self.lists.lock().channels.get(key).cloned().unwrap_or_default()
    }
}

impl Member<'_> {
    /// Does what one text frame of the client asks for.
    pub fn obey(&mut self, text: &str) {
        match Command::parse(text) {
            Some(Command::Subscribe(identifier)) => self.subscribe(identifier),
            Some(Command::Unsubscribe(identifier)) => self.unsubscribe(&identifier),
            Some(Command::Message(identifier, data)) => self.send_back(&identifier, &data),
            None => {}
        }
    }

    /// Queues something for this very client, whose reader may wait for its writer.
    pub fn tell(&self, message: Message) {
        if let Err(SendTimeoutError::Timeout(_)) =
            self.peer.queue.send_timeout(message, OWN_QUEUE_WAIT)
        {
            self.peer.socket.cut();
        }
    }

    fn subscribe(&mut self, identifier: Identifier) {
        if identifier.channel == REJECTED {
            return self.tell(Message::text(wire::reject(&identifier)));
        }
        let confirm = Message::text(wire::confirm(&identifier));
        if self.subscribed.contains(&identifier) {
            return self.tell(confirm);
        }
        if self.subscribed.len() == CHANNELS_MAX {
            return;
        }
        self.subscribed.push(identifier.clone());
        let subscriber = Subscriber { peer: self.peer.clone(), identifier };
        // Queued under the lock, so that the confirmation comes before the first message.
        let mut lists = self.room.lists.lock();
        let key = subscriber.identifier.key.clone();
        lists.channels.entry(key).or_default().push(subscriber);
        let full = self.peer.offer(confirm);
        drop(lists);
        if let Err(confirm) = full {
            self.tell(confirm);
        }
    }

    /// Rails confirms no unsubscribe.
    fn unsubscribe(&mut self, identifier: &Identifier) {
        self.subscribed.retain(|subscribed| subscribed != identifier);
        self.forget(identifier);
    }

    fn forget(&self, identifier: &Identifier) {
        let mut lists = self.room.lists.lock();
        if let Some(subscribers) = lists.channels.get_mut(&identifier.key) {
            subscribers.retain(|subscriber| {
                subscriber.peer.number != self.peer.number || subscriber.identifier != *identifier
            });
            if subscribers.is_empty() {
                lists.channels.remove(&identifier.key);
            }
        }
    }

    fn send_back(&self, identifier: &Identifier, data: &str) {
        if !self.subscribed.contains(identifier) {
            return;
        }
        for Subscriber { peer, identifier } in self.room.subscribers(&identifier.key) {
            let message = Message::text(wire::message(&identifier, data));
            match peer.number == self.peer.number {
                true => self.tell(message),
                false => peer.offer_or_cut(message),
            }
        }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        for identifier in &self.subscribed {
            self.forget(identifier);
        }
        self.room.lists.lock().peers.remove(&self.peer.number);
    }
}

impl Peer {
    /// A peer with its queue of outgoing messages. `number` is its own for ever.
    pub fn new(number: usize, queue: Sender<Message>, socket: Socket) -> Peer {
        Peer { number, queue, socket }
    }

    /// Queues a message; gives it back when the queue is full. A peer that has left takes all.
    fn offer(&self, message: Message) -> Result<(), Message> {
        match self.queue.try_send(message) {
            Err(TrySendError::Full(message)) => Err(message),
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    fn offer_or_cut(&self, message: Message) {
        if self.offer(message).is_err() {
            self.socket.cut();
        }
    }
}
