use super::*;
use crate::corpus::{cases, damaged};
use crate::testing::fastest;
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
    for frame in ["", "[]", "7", "{", r#"{"type":7}"#, r#"{"identifier":{}}"#, "\u{0}", "[[[[["] {
        assert!(matches!(Frame::parse(frame), None | Some(Frame::Other)), "{frame}");
    }
}

#[test]
fn the_order_of_keys_and_escapes_do_not_matter_and_the_spelling_of_numbers_does() {
    let one = identifier(r#"{"channel":"C","room":1,"name":"é"}"#).unwrap();
    assert!(one == identifier(r#"{ "name":"\u00e9", "room":1, "channel":"\u0043" }"#).unwrap());
    assert!(one != identifier(r#"{"channel":"C","room":1.0,"name":"é"}"#).unwrap());
    let nested = identifier(r#"{"b":[{},[],[1,{"y":-1e9,"x":null}]],"channel":"}],"}"#).unwrap();
    let spaced = " { \"channel\" : \"}],\" ,\t\"b\" : [ { } , [ ],\n[ 1 , { \"x\":null , \"y\":-1e9 } ] ] } ";
    assert!(nested == identifier(spaced).unwrap());
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
fn a_deep_identifier_is_read_about_as_fast_as_a_flat_one_of_its_size() {
    let filler = "x".repeat(3_000);
    let deep = format!(r#"{}"{filler}"{}"#, "[".repeat(60), "]".repeat(60));
    let flat = format!(r#""{filler}{}""#, "y".repeat(120));
    let time = |value: &str| {
        let json = format!(r#"{{"channel":"C","a":{value}}}"#);
        fastest(|| drop(identifier(&json).unwrap()))
    };

    let (deep, flat) = (time(&deep), time(&flat));

    assert!(deep < 5 * flat, "{deep:?}, flat {flat:?}");
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
    let named = |echo| Echo(echo).identifier().unwrap();
    assert!(plain == named(r#""{\"channel\":\"A\u003cB\"}""#));
    assert!(plain != named(r#""{\"channel\":\"A\u003cC\"}""#));
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
