//! Raw streams: what of a stored event is written as plain event data.
//!
//! Owns: how a message's JSON becomes text (a string is what it says, anything else stays JSON).
//! Never: builds a whole event, or parses a message that is no string: it is cut out of the stored one.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// The name and the data that a raw stream writes for an event, which is as `session` writes it: its type comes first, its message
/// follows the identifier. The message of a `received` has no name; what else there is stays as it is, named by its type.
pub fn of(event: &str) -> (Option<&str>, Cow<'_, str>) {
    match message(event) {
        Some(json) => (None, text(json)),
        None => (Some(event.split('"').nth(3).unwrap_or("message")), event.into()),
    }
}

fn message(event: &str) -> Option<&str> {
    let rest = event.strip_prefix(r#"{"type":"received","#)?;
    let (_, rest) = rest.split_once(r#""identifier":"#)?;
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    rest.get(values.byte_offset()..)?.strip_prefix(r#","message":"#)?.strip_suffix('}')
}

/// Bytes, and not a `String`: JSON may hold half a surrogate pair, and serde_json gives it as the three bytes that UTF-8
/// would have for it.
#[derive(Deserialize)]
struct Bytes<'a>(#[serde(borrow)] Cow<'a, [u8]>);

fn text(json: &str) -> Cow<'_, str> {
    if !json.starts_with('"') {
        return json.into();
    }
    match serde_json::from_str(json) {
        Ok(Bytes(Cow::Borrowed(bytes))) => String::from_utf8_lossy(bytes),
        Ok(Bytes(Cow::Owned(mut bytes))) => {
            replace_surrogates(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned().into()
        }
        Err(_) => json.into(),
    }
}

/// Half a surrogate pair is U+FFFD, which has three bytes too.
fn replace_surrogates(bytes: &mut [u8]) {
    for at in 1..bytes.len() {
        // In UTF-8 no byte over 9F follows an ED.
        if bytes[at - 1] == 0xED && bytes[at] >= 0xA0 && at + 1 < bytes.len() {
            bytes[at - 1..=at + 1].copy_from_slice("\u{FFFD}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(kind: &str, identifier: &str, message: &str) -> String {
        format!(
            r#"{{"type":"{kind}","session_id":"s","chan_id":"c","msg_id":"1","time":"t","identifier":{identifier},"message":{message}}}"#
        )
    }

    fn data(message: &str) -> String {
        let event = event("received", r#"{"channel":"C"}"#, message);
        let (name, data) = of(&event);
        assert_eq!(name, None);
        data.into_owned()
    }

    #[test]
    fn a_string_is_its_text_and_any_other_value_its_json() {
        assert_eq!(data(r#""<b>\"\u00e9\" \u0000\u2028\/</b>""#), "<b>\"é\" \0\u{2028}/</b>");
        for json in ["{}", "null", "1.0", r#"{"a": "\n"}"#, r#"["x"]"#, "12345678901234567890"] {
            assert_eq!(data(json), json);
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_a_replacement_character() {
        let json = r#""a\ud800b\udc00\ud83d\ude00\ud83d\ud83d\ude00\ud83dx\ud83d""#;

        assert_eq!(data(json), "a\u{FFFD}b\u{FFFD}😀\u{FFFD}😀\u{FFFD}x\u{FFFD}");
    }

    #[test]
    fn an_identifier_may_look_like_a_message() {
        let identifier =
            r#"{"channel":"C","identifier":{},"message":"}\",\"message\":1","x":"\u007d"}"#;

        let event = event("received", identifier, "2");

        assert_eq!(of(&event), (None, "2".into()));
    }

    #[test]
    fn what_is_no_message_is_named_by_its_type() {
        for kind in ["connected", "rejected", "disconnected"] {
            let event = event(kind, r#"{"channel":"C"}"#, "{}");
            assert_eq!(of(&event), (Some(kind), (&*event).into()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn every_text_comes_out_as_javascript_would_have_it(units in prop::collection::vec(any::<u16>(), 0..40)) {
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();

            prop_assert_eq!(data(&format!("\"{escaped}\"")), String::from_utf16_lossy(&units));
        }
    }
}
