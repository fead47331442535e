//! A session's channels: what was subscribed, what the upstream said, what is held till then ("Subscriptions" in `src/api.md`).
//!
//! Owns: the order of the channels, their states, the messages about them, and when a command is sent again.
//! Never: does I/O; a command is left in the outbox.
//! At the limits: `--max-channels`, `IDENTIFIERS_BYTES_MAX`, `HELD_MAX` and the bytes that are held are errors of the item.
//!
//! Rails runs commands in a pool of threads, so it keeps no order between them. It ignores a `subscribe` for what it still has,
//! and never answers an `unsubscribe` (`ActionCable::Connection::Subscriptions`). Hence: a `subscribe` is sent again until it is
//! answered, and an `unsubscribe` waits for the answer to the `subscribe` before it.

mod items;

use super::Effects;
use crate::frame::{Echo, Identifier, one_line};
use crate::report::clock;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// `send`s that one channel holds until it is confirmed; one more is an error of that item.
const HELD_MAX: usize = 64;

/// Bytes of all identifiers of a session; one more is an error of that item. They are kept for as long as it lives, in
/// several forms, and told to each stream that joins.
const IDENTIFIERS_BYTES_MAX: usize = 256 * 1024;

/// A `subscribe` without an answer is sent again after this long, as `SubscriptionGuarantor` of `@rails/actioncable` does; then
/// each pause is twice the one before, up to `REPEAT_MAX`.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
const REPEAT_MAX: Duration = Duration::from_secs(10);

/// How long an `unsubscribe` waits for the answer to the `subscribe` before it. Rails never answers one for an unknown channel.
const UNSUBSCRIBE_AFTER: Duration = Duration::from_secs(5);

/// An item of a POST.
pub enum Item {
    Subscribe(Identifier),
    Unsubscribe(Identifier),
    /// The object to be sent, its text unchanged.
    Send(Identifier, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChannelState {
    /// Asked for, or to be asked for with the next welcome.
    Pending,
    Connected,
    Rejected,
}

struct Channel {
    id: String,
    identifier: Identifier,
    state: ChannelState,
    /// The unanswered `subscribe` on this link. None of a pending channel: the link is away, or its identifier is `leaving`.
    asked: Option<Asked>,
    /// Commands that follow the confirmation.
    held: Vec<String>,
}

/// When a `subscribe` was sent last, and how often before.
#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    repeats: u32,
}

/// A channel that was unsubscribed before its `subscribe` was answered.
struct Leaving {
    identifier: Identifier,
    until: Instant,
}

impl Channel {
    /// Asks for it, always in the spelling that subscribed: Rails knows that one. `repeats`: how often before, on this link.
    fn ask(&mut self, repeats: u32, out: &mut Effects<'_>) {
        if out.link_is_up {
            out.command(self.identifier.subscribe());
            self.asked = Some(Asked { at: out.now, repeats });
        }
    }

    /// A client asks once more: not twice within `REPEAT_AFTER`, since the first is about to be answered.
    fn ask_again(&mut self, out: &mut Effects<'_>) {
        if let Some(asked) = self.asked.filter(|asked| out.now >= asked.at + REPEAT_AFTER) {
            self.ask(asked.repeats, out);
        }
    }
}

/// Which of these an upstream speaks of. It sends them back as they came; one that is spelt anew is understood, and parsed once.
fn position_of<'a>(
    mut identifiers: impl Iterator<Item = &'a Identifier> + Clone,
    echo: Echo<'_>,
) -> Option<usize> {
    let same = identifiers.clone().position(|identifier| identifier.is(echo));
    same.or_else(|| {
        // Where there are none it is not parsed.
        identifiers.clone().next()?;
        let named = echo.identifier()?;
        identifiers.position(|identifier| *identifier == named)
    })
}

/// In the order in which they were first asked for.
#[derive(Default)]
pub struct Channels {
    channels: Vec<Channel>,
    /// In the order in which they end. As many as `--max-channels`, as long as all identifiers may be; one more ends the first.
    leaving: VecDeque<Leaving>,
    /// Bytes of the identifiers of both.
    identifier_bytes: usize,
    /// Bytes of all commands that are held.
    held_bytes: usize,
}

/// The `chan_id`; or a sentence for the client, and the `chan_id` if there is one.
pub type ItemResult = Result<String, (String, Option<String>)>;

impl Item {
    /// What it may take of the memory, about: a `send` is quoted.
    pub fn bytes(&self) -> usize {
        match self {
            Item::Subscribe(identifier) => identifier.bytes(),
            Item::Unsubscribe(_) => 0,
            Item::Send(_, data) => 2 * data.len(),
        }
    }
}

impl Channels {
    /// Bytes of all identifiers, those that are leaving too, and of all that is held.
    pub fn bytes(&self) -> usize {
        self.identifier_bytes + self.held_bytes
    }

    fn find(&self, identifier: &Identifier) -> Option<usize> {
        self.channels.iter().position(|channel| channel.identifier == *identifier)
    }

    fn find_echo(&self, echo: Echo<'_>) -> Option<usize> {
        position_of(self.channels.iter().map(|channel| &channel.identifier), echo)
    }

    /// After a welcome: every channel that was not rejected, again.
    pub fn welcomed(&mut self, out: &mut Effects<'_>) {
        let wanted = self.channels.iter_mut().filter(|one| one.state != ChannelState::Rejected);
        wanted.for_each(|channel| channel.ask(0, out));
    }

    /// Whether a command is to be sent later if no answer comes.
    pub fn await_answers(&self) -> bool {
        !self.leaving.is_empty() || self.channels.iter().any(|channel| channel.asked.is_some())
    }

    /// Sends what is due: each `subscribe` that has waited for its answer long enough, again, and each `unsubscribe` that has.
    pub fn repeat(&mut self, out: &mut Effects<'_>) {
        while self.leaving.front().is_some_and(|leaving| leaving.until <= out.now) {
            self.leave(0, true, out);
        }
        let pause =
            |repeats: u32| REPEAT_AFTER.saturating_mul(1 << repeats.min(16)).min(REPEAT_MAX);
        for channel in &mut self.channels {
            let is_due = |asked: &Asked| asked.at + pause(asked.repeats) <= out.now;
            if let Some(asked) = channel.asked.filter(is_due) {
                channel.ask(asked.repeats + 1, out);
            }
        }
    }

    /// Ends a wait for an answer. A subscription to the same identifier that was made meanwhile is asked for now.
    fn leave(&mut self, at: usize, unsubscribe: bool, out: &mut Effects<'_>) {
        let Some(Leaving { identifier, .. }) = self.leaving.remove(at) else { return };
        self.identifier_bytes -= identifier.bytes();
        if unsubscribe {
            out.command(identifier.unsubscribe());
        }
        if let Some(at) = self.find(&identifier) {
            self.channels[at].ask(0, out);
        }
    }

    /// The `chan_id`s of the confirmed and the pending ones, as a JSON array.
    pub fn ids_json(&self) -> String {
        let wanted = self.channels.iter().filter(|channel| channel.state != ChannelState::Rejected);
        let ids: Vec<String> = wanted.map(|channel| format!("\"{}\"", channel.id)).collect();
        format!("[{}]", ids.join(","))
    }

    /// All of them with their states, as `joined` tells them.
    pub fn states_json(&self) -> String {
        let channels = self.channels.iter().map(|channel| {
            let state = match channel.state {
                ChannelState::Pending => "pending",
                ChannelState::Connected => "connected",
                ChannelState::Rejected => "rejected",
            };
            let text = channel.identifier.text();
            format!(r#"{{"chan_id":"{}","identifier":{text},"state":"{state}"}}"#, channel.id)
        });
        format!("[{}]", channels.collect::<Vec<_>>().join(","))
    }

    fn drop_held(&mut self, at: usize) -> Vec<String> {
        let held = std::mem::take(&mut self.channels[at].held);
        self.held_bytes -= held.iter().map(String::len).sum::<usize>();
        held
    }

    pub fn receive(&self, echo: Echo<'_>, message: &str, out: &mut Effects<'_>) {
        // What was not asked for on this link gets none: it is of the channel that is leaving.
        let is_asked = |at: &usize| {
            let channel = &self.channels[*at];
            channel.state != ChannelState::Pending || channel.asked.is_some()
        };
        if let Some(at) = self.find_echo(echo).filter(is_asked) {
            self.tell(out, "received", at, &one_line(message));
        }
    }

    /// The upstream answers a `subscribe`.
    pub fn answered(&mut self, echo: Echo<'_>, confirmed: bool, out: &mut Effects<'_>) {
        let leaving = self.leaving.iter().map(|leaving| &leaving.identifier);
        if let Some(at) = position_of(leaving, echo) {
            return self.leave(at, confirmed, out);
        }
        let Some(at) = self.find_echo(echo) else {
            // The answer came too late: the upstream must not go on sending what is not wanted any more.
            if let Some(identifier) = echo.identifier().filter(|_| confirmed) {
                out.command(identifier.unsubscribe());
            }
            return;
        };
        let state = if confirmed { ChannelState::Connected } else { ChannelState::Rejected };
        self.channels[at].asked = None;
        if std::mem::replace(&mut self.channels[at].state, state) == state {
            return;
        }
        let held = self.drop_held(at);
        match held.len() {
            _ if confirmed => {
                self.tell(out, "connected", at, "{}");
                out.outbox.extend(held);
            }
            0 => self.tell(out, "rejected", at, "{}"),
            unsent => self.tell(out, "rejected", at, &format!(r#"{{}},"unsent":{unsent}"#)),
        }
    }

    /// The link is lost: each channel that was not rejected waits for the next welcome.
    pub fn lost(&mut self, out: &mut Effects<'_>) {
        let left = self.leaving.drain(..).map(|leaving| leaving.identifier.bytes());
        self.identifier_bytes -= left.sum::<usize>();
        for at in 0..self.channels.len() {
            self.channels[at].asked = None;
            if self.channels[at].state != ChannelState::Rejected {
                self.channels[at].state = ChannelState::Pending;
                self.tell(out, "disconnected", at, "{}");
            }
        }
    }

    /// Tells the listeners; a field that follows the message may come with it.
    fn tell(&self, out: &mut Effects<'_>, kind: &str, at: usize, message: &str) {
        let channel = &self.channels[at];
        let identifier = channel.identifier.text();
        let time = humantime::format_rfc3339_nanos(clock());
        let msg_id = out.mailbox.last() + 1;
        let head = format!(
            r#"{{"type":"{kind}","session_id":"{}","chan_id":"{}","msg_id":"{msg_id}","time":"{time}","identifier":{identifier},"message":"#,
            out.session_id, channel.id
        );
        out.mailbox.push(&[&head, message, "}"]);
    }
}
