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
const IDENTIFIER_BYTES_MAX: usize = 4096;

/// Bytes of an identifier as the upstream spells it, escaped: with each character as an escape and room to spare. A longer one
/// names no channel; reading it would hold up the session.
const ECHO_BYTES_MAX: usize = 16 * IDENTIFIER_BYTES_MAX;

/// Levels of nesting in an identifier; one more is an error of that item. Real ones have one or two.
const IDENTIFIER_DEPTH_MAX: usize = 64;

/// A ping has some 40 bytes; with this many it is something else.
const PING_BYTES_MAX: usize = 128;

/// One frame from the upstream.
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
        let text: Text<'_> = serde_json::from_str(self.0).ok()?;
        Identifier::read(serde_json::from_str(&text.0).ok()?).ok()
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Every field raw, so that a wrong type in one never hides the others.
#[derive(Deserialize)]
struct Wire<'a> {
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

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

impl<'a> Frame<'a> {
    /// Reads one text frame. `None`: it is no JSON object. Like the official client, a frame of an unknown type
    /// that has an identifier and a message is a message (`@rails/actioncable`, `connection.js`).
    pub fn parse(frame: &'a str) -> Option<Frame<'a>> {
        // A derived `Deserialize` takes an array for the fields, too.
        if !frame.trim_start().starts_with('{') {
            return None;
        }
        let wire: Wire<'a> = serde_json::from_str(frame).ok()?;
        let echo = wire.identifier.map(|raw| Echo(raw.get()));
        let kind = wire.kind.and_then(text);
        Some(match (kind.as_deref(), echo) {
            (Some("welcome"), _) => Frame::Welcome,
            (Some("ping"), _) => Frame::Ping,
            (Some("disconnect"), _) => Frame::Disconnect {
                reason: wire.reason.and_then(text).map(Cow::into_owned),
                reconnect: wire.reconnect.is_none_or(|raw| raw.get() != "false"),
            },
            (Some("confirm_subscription"), Some(identifier)) => Frame::Confirm { identifier },
            (Some("reject_subscription"), Some(identifier)) => Frame::Reject { identifier },
            (_, Some(identifier)) if wire.message.is_some() => {
                Frame::Message { identifier, message: wire.message? }
            }
            _ => Frame::Other,
        })
    }
}

impl Frame<'_> {
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
    ///
    /// # Errors
    /// A sentence for the client: what is wrong with it.
    pub fn parse(raw: &RawValue) -> Result<Identifier, String> {
        if raw.get().len() > IDENTIFIER_BYTES_MAX {
            return Err(format!(
                "identifier: over {IDENTIFIER_BYTES_MAX} bytes, use a shorter one"
            ));
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
            return Err(
                "identifier: add a string \"channel\", the name of the channel's class".to_owned()
            );
        }
        let mut canonical = String::with_capacity(text.len());
        canonicalize(&text, IDENTIFIER_DEPTH_MAX, &mut canonical)?;
        let wire = quoted(&text);
        Ok(Identifier { text: text.into(), wire: wire.into(), canonical: canonical.into() })
    }

    /// The object's text.
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

    /// The command that subscribes.
    pub fn subscribe(&self) -> String {
        format!(r#"{{"command":"subscribe","identifier":{}}}"#, self.wire)
    }

    /// The command that unsubscribes.
    pub fn unsubscribe(&self) -> String {
        format!(r#"{{"command":"unsubscribe","identifier":{}}}"#, self.wire)
    }

    /// The command that sends an object to the channel.
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
    // A derived `Deserialize` takes an array for the fields, too.
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

/// Appends `json` with its keys in order, its strings unescaped and escaped again, and its numbers as they are.
fn canonicalize(json: &str, depth: usize, out: &mut String) -> Result<(), String> {
    let json = json.trim();
    if depth == 0 {
        return Err(format!(
            "identifier: nested deeper than {IDENTIFIER_DEPTH_MAX} levels, use a flatter one"
        ));
    }
    let unreadable =
        |_| "identifier: a string holds half a surrogate pair, send whole characters".to_owned();
    match json.as_bytes().first() {
        Some(b'{') => {
            let fields: BTreeMap<String, &RawValue> =
                serde_json::from_str(json).map_err(unreadable)?;
            out.push('{');
            for (key, value) in fields {
                out.push_str(&quoted(&key));
                out.push(':');
                canonicalize(value.get(), depth - 1, out)?;
                out.push(',');
            }
            out.push('}');
        }
        Some(b'[') => {
            let values: Vec<&RawValue> = serde_json::from_str(json).map_err(unreadable)?;
            out.push('[');
            for value in values {
                canonicalize(value.get(), depth - 1, out)?;
                out.push(',');
            }
            out.push(']');
        }
        Some(b'"') => {
            out.push_str(&quoted(&serde_json::from_str::<String>(json).map_err(unreadable)?))
        }
        _ => out.push_str(json),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{cases, damaged};
    use proptest::prelude::*;
    use serde_json::Value;

    fn identifier(json: &str) -> Result<Identifier, String> {
        Identifier::parse(serde_json::from_str(json).unwrap())
    }

    fn echo_of(command: &str) -> String {
        let command: BTreeMap<String, &RawValue> = serde_json::from_str(command).unwrap();
        command["identifier"].get().to_owned()
    }

    #[test]
    fn a_message_keeps_its_text() {
        for message in
            ["null", "1e400", "12345678901234567890", "1.0", r#""\u00e9""#, r#"{"b":1,"a":2}"#]
        {
            let frame = format!(r#"{{"identifier":"{{}}","message":{message}}}"#);
            match Frame::parse(&frame) {
                Some(Frame::Message { message: kept, .. }) => assert_eq!(kept.get(), message),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn only_an_explicit_false_forbids_to_reconnect() {
        for (frame, expected) in [
            (r#"{"type":"disconnect","reason":"remote","reconnect":false}"#, false),
            (r#"{"type":"disconnect","reason":"remote","reconnect":true}"#, true),
            (r#"{"type":"disconnect"}"#, true),
            (r#"{"type":"disconnect","reason":7,"reconnect":"x"}"#, true),
        ] {
            match Frame::parse(frame) {
                Some(Frame::Disconnect { reconnect, .. }) => {
                    assert_eq!(reconnect, expected, "{frame}")
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn wrong_types_are_no_frame_of_interest_and_no_panic() {
        for frame in ["", "[]", "7", "{", r#"{"type":7}"#, r#"{"identifier":{}}"#, "\u{0}", "[[[[["]
        {
            assert!(matches!(Frame::parse(frame), None | Some(Frame::Other)), "{frame}");
        }
    }

    #[test]
    fn the_order_of_keys_and_escapes_do_not_matter_and_the_spelling_of_numbers_does() {
        let one = identifier(r#"{"channel":"C","room":1,"name":"é"}"#).unwrap();
        assert!(one == identifier(r#"{ "name":"\u00e9", "room":1, "channel":"\u0043" }"#).unwrap());
        assert!(one != identifier(r#"{"channel":"C","room":1.0,"name":"é"}"#).unwrap());
    }

    #[test]
    fn an_identifier_needs_a_string_channel() {
        for json in ["7", "[]", "null", "{}", r#"{"channel":7}"#, r#""channel""#] {
            assert!(identifier(json).is_err(), "{json}");
        }
    }

    #[test]
    fn deep_nesting_and_half_a_surrogate_pair_are_errors() {
        let deep = format!(r#"{{"channel":"C","x":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
        assert!(identifier(&deep).unwrap_err().contains("levels"));
        assert!(identifier(r#"{"channel":"\ud800"}"#).unwrap_err().contains("surrogate"));
    }

    #[test]
    fn an_identifier_has_4_kib_at_most_and_its_echo_may_have_more() {
        let long = |count| format!(r#"{{"channel":"{}"}}"#, "é".repeat(count));
        let name = IDENTIFIER_BYTES_MAX / 2 - 7;
        assert_eq!(long(name).len(), IDENTIFIER_BYTES_MAX);
        let longest = identifier(&long(name)).unwrap();

        assert!(identifier(&long(name + 1)).unwrap_err().contains("4096"));
        let echo = format!(r#""{{\"channel\":\"{}\"}}""#, r"\u00e9".repeat(name));
        assert!(Echo(&echo).identifier().is_some_and(|echo| echo == longest));
    }

    #[test]
    fn a_line_break_in_an_identifier_comes_back_equal() {
        let broken = identifier("{\n\"channel\":\r\n\"C\"}").unwrap();
        assert_eq!(broken.text(), "{ \"channel\":  \"C\"}");
        assert!(broken.is(Echo(&echo_of(&broken.subscribe()))));
    }

    #[test]
    fn an_echo_with_other_escapes_is_the_same_channel() {
        let plain = identifier(r#"{"channel":"A<B"}"#).unwrap();
        assert!(plain.is(Echo(r#""{\"channel\":\"A\u003cB\"}""#)));
        assert!(!plain.is(Echo(r#""{\"channel\":\"A\u003cC\"}""#)));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The same value written another way: keys turned round, every character of a string escaped.
    fn rewritten(value: &Value) -> String {
        let escaped = |text: &str| {
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            format!("\"{units}\"")
        };
        match value {
            Value::String(text) => escaped(text),
            Value::Array(values) => {
                format!("[ {} ]", values.iter().map(rewritten).collect::<Vec<_>>().join(" , "))
            }
            Value::Object(map) => {
                let fields: Vec<String> = map
                    .iter()
                    .rev()
                    .map(|(key, value)| format!("{} : {}", escaped(key), rewritten(value)))
                    .collect();
                format!("{{ {} }}", fields.join(" ,\n"))
            }
            other => other.to_string(),
        }
    }

    /// An identifier of the corpus; `None` where it is not even JSON.
    fn parsed(bytes: &[u8]) -> Option<Result<Identifier, String>> {
        Some(Identifier::parse(serde_json::from_slice(bytes).ok()?))
    }

    #[test]
    fn the_corpus_is_understood_or_passed_over_as_it_says() {
        for (name, frame) in cases("frames/understood") {
            let frame = String::from_utf8(frame).unwrap();
            assert!(!matches!(Frame::parse(&frame), None | Some(Frame::Other)), "{name}");
        }
        for (name, frame) in cases("frames/passed-over") {
            let frame = String::from_utf8(frame).unwrap();
            assert!(matches!(Frame::parse(&frame), None | Some(Frame::Other)), "{name}");
        }
        for (name, identifier) in cases("identifiers/good") {
            assert!(matches!(parsed(&identifier), Some(Ok(_))), "{name}");
        }
        for (name, identifier) in cases("identifiers/bad") {
            assert!(!matches!(parsed(&identifier), Some(Ok(_))), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn a_damaged_frame_is_no_panic_and_its_message_is_a_part_of_it(
            bytes in damaged(&["frames/understood", "frames/passed-over"]),
        ) {
            let text = String::from_utf8_lossy(&bytes);
            if let Some(Frame::Message { message, .. }) = Frame::parse(&text) {
                prop_assert!(text.contains(message.get()));
                let is_json = serde_json::from_str::<serde::de::IgnoredAny>(message.get()).is_ok();
                prop_assert!(is_json || message.get().contains("[["), "deeper than a parser goes, or JSON");
            }
        }

        #[test]
        fn a_damaged_identifier_is_an_error_or_one_line_that_names_itself(
            bytes in damaged(&["identifiers/good", "identifiers/bad"]),
        ) {
            if let Some(Ok(identifier)) = parsed(&bytes) {
                prop_assert!(!identifier.text().contains(['\r', '\n']));
                prop_assert!(parsed(identifier.text().as_bytes()).unwrap().unwrap() == identifier);
                prop_assert!(identifier.is(Echo(&echo_of(&identifier.subscribe()))));
            }
        }

        #[test]
        fn identifiers_are_equal_exactly_when_their_values_are(a in json(), b in json()) {
            let wrap = |value: &str| identifier(&format!(r#"{{"channel":"C","value":{value}}}"#)).unwrap();
            prop_assert!(wrap(&a.to_string()) == wrap(&rewritten(&a)));
            prop_assert_eq!(wrap(&a.to_string()) == wrap(&b.to_string()), a == b);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = Frame::parse(&text);
        }

        #[test]
        fn what_is_sent_upstream_is_recognised_when_it_comes_back(value in json()) {
            let sent = identifier(&format!(r#"{{"channel":"C","value":{value}}}"#)).unwrap();
            prop_assert!(sent.is(Echo(&echo_of(&sent.subscribe()))));
        }
    }
}
