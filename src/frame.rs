//! Cable frames: the JSON that ActionCable speaks, to and from values.
//!
//! Owns: the frame types of `actioncable-v1-json`, the commands, and when two identifiers name the same channel.
//! Never: does I/O, or panics on any input; what it does not understand is `Other` or `None`.
//! JSON passes through as text: a message or an identifier is never parsed into numbers and printed again.
//! Source of the types: Rails, `actioncable/lib/action_cable.rb`, `INTERNAL`.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// Bytes of an identifier as a client sent it; one more is an error of that item, or of that GET.
pub const IDENTIFIER_BYTES_MAX: usize = 4096;

/// Bytes of an identifier as the upstream spells it, escaped: with each character as an escape and room to spare. A longer one
/// names no channel; reading it would hold up the session.
const ECHO_BYTES_MAX: usize = 16 * IDENTIFIER_BYTES_MAX;

/// Levels of nesting in an identifier; one more is an error of that item. Real ones have one or two.
const IDENTIFIER_DEPTH_MAX: usize = 64;

/// A ping has some 40 bytes; with this many it is something else.
const PING_BYTES_MAX: usize = 128;

#[derive(Debug)]
pub enum Frame<'a> {
    Welcome,
    Ping,
    Disconnect { reason: Option<String>, reconnect: bool },
    Confirm { identifier: Echo<'a> },
    Reject { identifier: Echo<'a> },
    Message { identifier: Echo<'a>, message: &'a RawValue },
    Other,
}

/// An identifier as the upstream sent it back: a JSON string, still escaped.
#[derive(Clone, Copy, Debug)]
pub struct Echo<'a>(&'a str);

impl Echo<'_> {
    /// What it names, if it names anything.
    pub fn identifier(self) -> Option<Identifier> {
        if self.0.len() > ECHO_BYTES_MAX {
            return None;
        }
        Identifier::read(serde_json::from_str(&text(self.0)?).ok()?).ok()
    }
}

/// Every field raw, so that a wrong type in one never hides the others.
#[derive(Deserialize)]
struct CableJson<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    identifier: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    reconnect: Option<&'a RawValue>,
}

/// `null` is a message like any other; without this serde would take it for an absent one.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// What a JSON string says.
fn text(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0)
}

impl<'a> Frame<'a> {
    /// Reads one text frame. `None`: it is no JSON object. Like the official client, a frame of an unknown type
    /// that has an identifier and a message is a message (`@rails/actioncable`, `connection.js`).
    pub fn parse(frame: &'a str) -> Option<Frame<'a>> {
        // A derived `Deserialize` takes an array for the fields, too.
        if !frame.trim_start().starts_with('{') {
            return None;
        }
        let wire: CableJson<'a> = serde_json::from_str(frame).ok()?;
        let echo = wire.identifier.map(|raw| Echo(raw.get()));
        let kind = wire.kind.map(RawValue::get).and_then(text);
        Some(match (kind.as_deref(), echo, wire.message) {
            (Some("welcome"), ..) => Frame::Welcome,
            (Some("ping"), ..) => Frame::Ping,
            (Some("disconnect"), ..) => Frame::Disconnect {
                reason: wire.reason.map(RawValue::get).and_then(text).map(Cow::into_owned),
                reconnect: wire.reconnect.is_none_or(|raw| raw.get() != "false"),
            },
            (Some("confirm_subscription"), Some(identifier), _) => Frame::Confirm { identifier },
            (Some("reject_subscription"), Some(identifier), _) => Frame::Reject { identifier },
            (_, Some(identifier), Some(message)) => Frame::Message { identifier, message },
            _ => Frame::Other,
        })
    }

    /// What the log calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Frame::Welcome => "welcome",
            Frame::Ping => "ping",
            Frame::Disconnect { .. } => "disconnect",
            Frame::Confirm { .. } => "confirm_subscription",
            Frame::Reject { .. } => "reject_subscription",
            Frame::Message { .. } => "message",
            Frame::Other => "other",
        }
    }
}

/// The name of a channel: the object that the client subscribed with.
#[derive(Clone, Debug)]
pub struct Identifier {
    text: Box<str>,
    wire: Box<str>,
    canonical: Box<str>,
}

impl Identifier {
    /// Takes an object with a string `channel`. Raw line breaks become spaces, so that what the upstream sends back is
    /// equal and one SSE line can carry it.
    /// An error is a sentence for the client.
    pub fn parse(raw: &RawValue) -> Result<Identifier, String> {
        if raw.get().len() > IDENTIFIER_BYTES_MAX {
            let max = IDENTIFIER_BYTES_MAX;
            return Err(format!("identifier: over {max} bytes, use a shorter one"));
        }
        Identifier::read(raw)
    }

    /// One of any length: a server may spell it longer than the client did.
    fn read(raw: &RawValue) -> Result<Identifier, String> {
        let text = one_line(raw.get());
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&text).map_err(|_| {
            "identifier: send an object, such as {\"channel\":\"ChatChannel\"}".to_owned()
        })?;
        if !fields.get("channel").is_some_and(|channel| channel.get().starts_with('"')) {
            let why = "identifier: add a string \"channel\", the name of the channel's class";
            return Err(why.to_owned());
        }
        let mut canonical = String::with_capacity(text.len());
        canonicalize(&text, IDENTIFIER_DEPTH_MAX, &mut canonical)?;
        let wire = quoted(&text);
        Ok(Identifier { text: text.into(), wire: wire.into(), canonical: canonical.into() })
    }

    /// Bytes of all the forms in which it is kept.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.wire.len() + self.canonical.len()
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same as a JSON string: what the field `identifier` of a frame holds.
    pub fn wire(&self) -> &str {
        &self.wire
    }

    /// The name of the channel's class.
    pub fn channel(&self) -> String {
        #[derive(Deserialize)]
        struct Named {
            channel: String,
        }
        serde_json::from_str(&self.text).map_or_else(|_| String::new(), |Named { channel }| channel)
    }

    /// Whether this is the channel that a frame speaks of, by the escaped text: that is how it nearly always comes back, and
    /// it costs no allocation. Other spellings are equal to `Echo::identifier`.
    pub fn is(&self, echo: Echo<'_>) -> bool {
        *self.wire == *echo.0
    }

    pub fn subscribe(&self) -> String {
        format!(r#"{{"command":"subscribe","identifier":{}}}"#, self.wire)
    }

    pub fn unsubscribe(&self) -> String {
        format!(r#"{{"command":"unsubscribe","identifier":{}}}"#, self.wire)
    }

    pub fn message(&self, data: &str) -> String {
        format!(r#"{{"command":"message","identifier":{},"data":{}}}"#, self.wire, quoted(data))
    }
}

/// Equal as JSON values: the order of keys and the escapes in strings do not matter, the spelling of numbers does.
impl PartialEq for Identifier {
    fn eq(&self, other: &Identifier) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Identifier {}

impl Hash for Identifier {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}

/// Whether a frame is ActionCable's ping: an object of just `"type":"ping"` and a number `message`.
pub fn is_ping(frame: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ping<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
        message: serde_json::Number,
    }
    // Nearly every frame is no ping, and a ping is short: most are told by their length.
    frame.len() < PING_BYTES_MAX
        && frame.trim_start().starts_with('{')
        && serde_json::from_str::<Ping<'_>>(frame)
            .is_ok_and(|ping| ping.kind == "ping" && ping.message.as_f64().is_some())
}

/// The text with each raw CR and LF as a space. JSON allows them between tokens only; SSE cannot carry them.
pub fn one_line(json: &str) -> Cow<'_, str> {
    if json.bytes().any(|byte| byte == b'\n' || byte == b'\r') {
        json.replace(['\n', '\r'], " ").into()
    } else {
        json.into()
    }
}

/// The text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always valid JSON")
}

/// Appends the value at the start of `json`, which is valid, with its keys in order, its strings unescaped and escaped again, and
/// its numbers as they are. Returns what follows it: each byte is read once, however deep it lies.
fn canonicalize<'a>(json: &'a str, depth: usize, out: &mut String) -> Result<&'a str, String> {
    let json = json.trim_start();
    if depth == 0 {
        let max = IDENTIFIER_DEPTH_MAX;
        return Err(format!("identifier: nested deeper than {max} levels, use a flatter one"));
    }
    let Some(open @ ('{' | '[')) = json.chars().next() else { return scalar(json, out) };
    let close = if open == '{' { '}' } else { ']' };
    let mut fields = BTreeMap::new();
    out.push(open);
    let mut rest = json[1..].trim_start();
    while !rest.starts_with(close) {
        let mut item = String::new();
        let after = canonicalize(rest.trim_start_matches(','), depth - 1, &mut item)?.trim_start();
        if let Some(value) = after.strip_prefix(':') {
            let mut canonical = String::new();
            rest = canonicalize(value, depth - 1, &mut canonical)?.trim_start();
            fields.insert(item, canonical);
        } else {
            rest = after;
            out.extend([&item, ","]);
        }
    }
    for (key, value) in &fields {
        out.extend([key, ":", value, ","]);
    }
    out.push(close);
    Ok(&rest[1..])
}

/// The same for what has no parts.
fn scalar<'a>(json: &'a str, out: &mut String) -> Result<&'a str, String> {
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<&RawValue>();
    let half = "identifier: a string holds half a surrogate pair, send whole characters";
    let raw = values.next().and_then(Result::ok).ok_or(half)?.get();
    if raw.starts_with('"') {
        out.push_str(&quoted(&text(raw).ok_or(half)?));
    } else {
        out.push_str(raw);
    }
    Ok(&json[values.byte_offset()..])
}

#[cfg(test)]
mod tests;
