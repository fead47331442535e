//! What a POST, or the URL of a GET, asks of the channels: `subscribe`, `unsubscribe`, `send`.
//!
//! Never: waits; an item is done at once, or its error is a sentence for the client.

use super::{
    Channel, ChannelState, Channels, HELD_MAX, IDENTIFIERS_BYTES_MAX, ItemResult, Leaving,
    UNSUBSCRIBE_AFTER,
};
use crate::frame::Identifier;
use crate::session::{Effects, random_id};

impl Channels {
    pub fn subscribe(&mut self, identifier: Identifier, out: &mut Effects<'_>) -> ItemResult {
        let known = self.find(&identifier).map(|at| (at, self.channels[at].state));
        match known {
            Some((at, ChannelState::Pending)) => self.channels[at].ask_again(out),
            Some((at, ChannelState::Connected)) => self.tell(out, "connected", at, "{}"),
            Some((_, ChannelState::Rejected)) | None => {
                let id = known.map(|(at, _)| self.channels[at].id.clone());
                self.room_for(&[&identifier], out.rules.channels_max).map_err(|why| (why, id))?;
                return Ok(self.ask_for(identifier, out));
            }
        }
        Ok(known.map(|(at, _)| self.channels[at].id.clone()).unwrap_or_default())
    }

    /// Subscribes those of a GET's URL, in its order; what is there already is left alone and told nothing. A `poll` that did
    /// not open the session leaves the rejected ones alone too: it comes back by itself, and would ask each time.
    /// Where there is no room for all of them nothing is changed.
    pub fn subscribe_all(
        &mut self,
        identifiers: &[Identifier],
        rejected_too: bool,
        out: &mut Effects<'_>,
    ) -> Result<(), String> {
        let is_wanted = |identifier: &&Identifier| match self.find(identifier) {
            Some(at) => rejected_too && self.channels[at].state == ChannelState::Rejected,
            None => true,
        };
        let wanted: Vec<&Identifier> = identifiers.iter().filter(is_wanted).collect();
        self.room_for(&wanted, out.rules.channels_max)?;
        for identifier in wanted {
            self.ask_for(identifier.clone(), out);
        }
        Ok(())
    }

    /// Whether there is room for channels that are new, or rejected so far: those do not count towards `max`.
    pub fn room_for(&self, wanted: &[&Identifier], max: usize) -> Result<(), String> {
        let counts = |channel: &&Channel| channel.state != ChannelState::Rejected;
        if self.channels.iter().filter(counts).count() + wanted.len() > max {
            return Err(format!(
                "a session has {max} channels at most (--max-channels), unsubscribe one first"
            ));
        }
        let new = wanted.iter().copied().filter(|identifier| self.find(identifier).is_none());
        let all = self.channels.iter().map(|channel| &channel.identifier).chain(new);
        if all.map(|identifier| identifier.text().len()).sum::<usize>() > IDENTIFIERS_BYTES_MAX {
            return Err(format!(
                "the session's identifiers have over {IDENTIFIERS_BYTES_MAX} bytes, use shorter ones or unsubscribe one first"
            ));
        }
        Ok(())
    }

    /// Asks the upstream for a channel that is new, or was rejected, and returns its `chan_id`.
    fn ask_for(&mut self, identifier: Identifier, out: &mut Effects<'_>) -> String {
        let at = self.find(&identifier).unwrap_or_else(|| {
            let (id, state) = (random_id(), ChannelState::Pending);
            self.identifier_bytes += identifier.bytes();
            // Most sessions have one or two.
            self.channels.reserve_exact(1);
            self.channels.push(Channel { id, identifier, state, asked: None, held: Vec::new() });
            self.channels.len() - 1
        });
        let channel = &mut self.channels[at];
        channel.state = ChannelState::Pending;
        // Else it is asked for when the one before has left.
        if !self.leaving.iter().any(|leaving| leaving.identifier == channel.identifier) {
            channel.ask(0, out);
        }
        channel.id.clone()
    }

    pub fn unsubscribe(&mut self, identifier: &Identifier, out: &mut Effects<'_>) -> ItemResult {
        let Some(at) = self.find(identifier) else {
            return Err(("not subscribed, so there is nothing to unsubscribe".to_owned(), None));
        };
        self.drop_held(at);
        let Channel { id, identifier, state, asked, .. } = self.channels.remove(at);
        self.identifier_bytes -= identifier.bytes();
        match state {
            ChannelState::Connected => out.command(identifier.unsubscribe()),
            ChannelState::Pending if asked.is_some() => {
                self.identifier_bytes += identifier.bytes();
                self.leaving.push_back(Leaving { identifier, until: out.now + UNSUBSCRIBE_AFTER });
                let bytes = |one: &Leaving| one.identifier.text().len();
                while self.leaving.len() > out.rules.channels_max
                    || self.leaving.iter().map(bytes).sum::<usize>() > IDENTIFIERS_BYTES_MAX
                {
                    self.leave(0, true, out);
                }
            }
            // Not asked for, or refused: the upstream has nothing of it.
            ChannelState::Pending | ChannelState::Rejected => {}
        }
        Ok(id)
    }

    pub fn send(&mut self, to: &Identifier, data: &str, out: &mut Effects<'_>) -> ItemResult {
        let Some(at) = self.find(to) else {
            let why = "not subscribed: subscribe to this identifier before you send to it";
            return Err((why.to_owned(), None));
        };
        let Channel { id, identifier, state, .. } = &self.channels[at];
        let (id, command) = (id.clone(), identifier.message(data));
        let done = match state {
            ChannelState::Rejected => {
                Err("the upstream rejected this channel, subscribe to it again first".to_owned())
            }
            _ if !out.link_is_up => {
                let why = "the upstream is away, send this again after the channel is";
                Err(format!("{why} \"connected\""))
            }
            ChannelState::Connected => {
                out.command(command);
                Ok(())
            }
            ChannelState::Pending => self.hold(at, command, out.rules.bounds.bytes),
        };
        done.map(|()| id.clone()).map_err(|refusal| (refusal, Some(id)))
    }

    /// Keeps a command until the channel is confirmed.
    fn hold(&mut self, at: usize, command: String, held_max: usize) -> Result<(), String> {
        let channel = &mut self.channels[at];
        if channel.held.len() >= HELD_MAX {
            return Err(format!(
                "{HELD_MAX} sends wait for this channel's confirmation, send more after it is \"connected\""
            ));
        }
        if self.held_bytes + command.len() > held_max && self.held_bytes > 0 {
            return Err(format!(
                "over {held_max} bytes wait for confirmations, send more after the channel is \"connected\""
            ));
        }
        self.held_bytes += command.len();
        channel.held.push(command);
        Ok(())
    }
}
