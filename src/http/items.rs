//! The body of a POST ("POST" in `src/api.md`): an array of requests, each done or refused on its own; for a tunnel, a frame
//! a line.

use crate::frame::Identifier;
use crate::session::Item;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Requests of one POST, or frames; one more is a 400. Each has an answer of some 150 bytes, or waits to go up in as many,
/// however short it is itself.
const ITEMS_MAX: usize = 10_000;

/// Raw, so that a wrong type is told in our words, and numbers keep their spelling.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    identifier: Option<&'a RawValue>,
    #[serde(borrow)]
    subscribe: Option<&'a RawValue>,
    #[serde(borrow)]
    unsubscribe: Option<&'a RawValue>,
    #[serde(borrow)]
    send: Option<&'a RawValue>,
}

/// Reads the whole body; each item is a request, or the sentence that says why it is none.
/// An error is a sentence with line and column.
pub fn parse(body: &[u8]) -> Result<Vec<Result<Item, String>>, String> {
    let body = without_mark(body);
    let text = std::str::from_utf8(body).map_err(|error| {
        let (line, column) = position(&body[..error.valid_up_to()]);
        format!("the body is no UTF-8 at line {line} column {column}, send UTF-8")
    })?;
    let items: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|error| format!("the body is no JSON array of requests: {error}"))?;
    if items.is_empty() {
        return Err("the array is empty at line 1 column 1, send one request or more".to_owned());
    }
    if items.len() > ITEMS_MAX {
        return Err(format!("the array has over {ITEMS_MAX} requests, send fewer at a time"));
    }
    Ok(items.into_iter().map(item).collect())
}

/// Reads the body of a tunnel's POST: one JSON string a line, each the text of one frame.
/// An error is a sentence with the line that is none.
pub fn frames(body: &[u8]) -> Result<Vec<String>, String> {
    let lines = without_mark(body).split(|byte| *byte == b'\n').enumerate();
    let filled = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    if filled.clone().nth(ITEMS_MAX).is_some() {
        return Err(format!("the body has over {ITEMS_MAX} frames, send fewer at a time"));
    }
    filled
        .map(|(number, line)| {
            serde_json::from_slice(line).map_err(|error| {
                let (line, column) = (number + 1, error.column());
                format!("line {line} column {column} is no JSON string, send the text of one frame a line")
            })
        })
        .collect()
}

/// Whether a tunnel's body is one of a session: its frames are strings.
pub fn is_array(body: &[u8]) -> bool {
    without_mark(body).trim_ascii_start().starts_with(b"[")
}

/// Without the byte order mark that some editors and libraries write first.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn position(before: &[u8]) -> (usize, usize) {
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}

fn item(raw: &RawValue) -> Result<Item, String> {
    // A derived `Deserialize` would take an array for the object's fields in order.
    if !raw.get().starts_with('{') {
        let why =
            "a request is an object with an identifier and one of subscribe, unsubscribe, send";
        return Err(why.to_owned());
    }
    let fields: Fields<'_> =
        serde_json::from_str(raw.get()).map_err(|error| format!("this request: {error}"))?;
    let identifier =
        fields.identifier.ok_or("identifier: add the object that names the channel")?;
    let identifier = Identifier::parse(identifier)?;
    let subscribe = flag("subscribe", fields.subscribe)?;
    let unsubscribe = flag("unsubscribe", fields.unsubscribe)?;
    let send = fields.send.map(RawValue::get).filter(|send| *send != "false");
    match (subscribe, unsubscribe, send) {
        (true, false, None) => Ok(Item::Subscribe(identifier)),
        (false, true, None) => Ok(Item::Unsubscribe(identifier)),
        (false, false, Some(send)) if send.starts_with('{') => {
            Ok(Item::Send(identifier, send.to_owned()))
        }
        (false, false, Some(_)) => {
            Err(r#"send: use an object, such as {"action":"speak"}"#.to_owned())
        }
        _ => {
            Err(r#"use exactly one of "subscribe":true, "unsubscribe":true and "send":{…}"#
                .to_owned())
        }
    }
}

fn flag(name: &str, raw: Option<&RawValue>) -> Result<bool, String> {
    match raw.map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(format!("{name}: use true, or leave it out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{cases, damaged};
    use crate::frame::quoted;
    use proptest::prelude::*;

    #[test]
    fn the_corpus_is_an_array_or_none_as_it_says() {
        for (name, body) in cases("bodies/array") {
            assert!(parse(&body).is_ok(), "{name}");
        }
        for (name, body) in cases("bodies/no-array") {
            let why = parse(&body).err().unwrap();
            assert!(why.contains("line ") && why.contains("column "), "{name}: {why}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn a_damaged_body_is_told_where_or_is_as_many_requests_as_it_has_items(
            bytes in damaged(&["bodies/array", "bodies/no-array"]),
        ) {
            match parse(&bytes) {
                Ok(items) => {
                    let plain = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
                    let values: Vec<&RawValue> = serde_json::from_slice(plain).unwrap();
                    prop_assert_eq!(items.len(), values.len());
                    let is_object = |data: &str| data.starts_with('{') && data.ends_with('}');
                    let fine = items.iter().flatten().all(|request| match request {
                        Item::Send(_, data) => is_object(data),
                        _ => true,
                    });
                    prop_assert!(fine);
                }
                Err(why) => prop_assert!(why.contains("column "), "{}", why),
            }
            let _ = frames(&bytes);
        }

        #[test]
        fn frames_come_out_as_they_were_quoted(texts in prop::collection::vec(any::<String>(), 0..20)) {
            let body = texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join("\n");
            prop_assert_eq!(frames(body.as_bytes()).unwrap(), texts);
        }
    }

    fn one(item: &str) -> Result<Item, String> {
        parse(format!("[{item}]").as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn a_body_that_is_no_array_is_told_where() {
        for body in ["", "{}", "[", "[1,]", "7", "[{}] x"] {
            let why = parse(body.as_bytes()).err().unwrap();
            assert!(why.contains("line 1 column "), "{body}: {why}");
        }
        assert!(parse(b"[\n \"\xff\"]").err().unwrap().contains("line 2 column 3"));
        assert!(parse(b"[]").err().unwrap().contains("empty"));
    }

    #[test]
    fn one_bad_item_leaves_the_others() {
        let items = parse(br#"[7,{"identifier":{"channel":"C"},"subscribe":true}]"#).unwrap();
        assert!(items[0].is_err() && items[1].is_ok());
    }

    #[test]
    fn false_and_null_count_as_absent_and_other_keys_are_ignored() {
        let item = r#"{"identifier":{"channel":"C"},"subscribe":true,"unsubscribe":false,"send":null,"x":1}"#;
        assert!(matches!(one(item), Ok(Item::Subscribe(_))));
    }

    #[test]
    fn an_item_needs_exactly_one_of_the_three() {
        for rest in [
            "",
            r#","subscribe":true,"unsubscribe":true"#,
            r#","subscribe":true,"send":{}"#,
            r#","subscribe":1"#,
            r#","send":7"#,
            r#","send":"x""#,
        ] {
            assert!(
                one(&format!(r#"{{"identifier":{{"channel":"C"}}{rest}}}"#)).is_err(),
                "{rest}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_no_trouble() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(deep.as_bytes()).unwrap().remove(0).is_err());
        let item = format!(r#"{{"identifier":{{"channel":"C"}},"send":{{"x":{deep}}}}}"#);
        assert!(one(&item).is_ok());
    }
}
