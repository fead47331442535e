//! The query of a request: what the bridge owns of it ("Channels in the URL" in `src/api.md`), and what goes on.

use crate::frame::{IDENTIFIER_BYTES_MAX, Identifier, quoted};
use std::borrow::Cow;
use std::collections::HashSet;

/// Parameters that are for the bridge (`ask` reads them) and go no further.
const OWNED: [&str; 8] =
    ["timeout", "poll-queue", "after", "lastEventId", "padding", "protocol", "seq", "raw"];

/// Those that name channels: the bridge's too, but in a tunnel, which has none.
const CHANNELS: [&str; 2] = ["channel", "identifier"];

/// The first value of a parameter, decoded.
pub fn first<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    pairs(query).find(|(key, ..)| key == name).map(|(_, value, _)| decode(value))
}

/// What is appended to the upstream's URL: every parameter that is not the bridge's and that `fixed` (the query of
/// `--server`) does not have, as it came.
///
/// Rails reads `a[b]`, `[a]` and, up to Rack 2, what follows a `;` as parameters too: none of them is a way round `fixed`.
pub fn passed_on(query: &str, fixed: &str, tunnel: bool) -> String {
    let taken: Vec<String> = names(fixed).collect();
    let owned = |key: &str| OWNED.contains(&key) || !tunnel && CHANNELS.contains(&key);
    let passed = pairs(query)
        .filter(|(key, _, piece)| !owned(key) && !names(piece).any(|name| taken.contains(&name)))
        .map(|(_, _, piece)| piece);
    passed.collect::<Vec<_>>().join("&")
}

/// The parameters, each with its key decoded, its value as it came, and both of them as they came.
fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, &str, &str)> {
    query.split('&').filter(|piece| !piece.is_empty()).map(|piece| {
        let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
        (decode(key), value, piece)
    })
}

/// The top-level names under which an application may find what is in `query`.
fn names(query: &str) -> impl Iterator<Item = String> + '_ {
    query.split(['&', ';']).filter(|piece| !piece.is_empty()).map(|piece| {
        let name = decode(piece.split('=').next().unwrap_or(piece)).into_owned();
        let name = name.trim_start_matches(['[', ']', ' ']);
        name.split(['[', ']']).next().unwrap_or(name).trim().to_owned()
    })
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return text.into();
    }
    String::from_utf8_lossy(&unescape(text).0).into_owned().into()
}

/// The bytes that a percent-encoded text stands for, and whether each escape in it is whole.
fn unescape(text: &str) -> (Vec<u8>, bool) {
    // No `+` is left that could be a sign in front of a digit.
    let text = text.replace('+', " ");
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    let mut whole = true;
    for piece in pieces {
        let (byte, rest) = match piece.get(..2).map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(byte)) => (byte, &piece[2..]),
            _ => (b'%', piece),
        };
        whole &= rest.len() < piece.len();
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    (bytes, whole)
}

/// The channels that a GET asks for, each once, in the order of the URL: `channel` is a name, `identifier` an object.
/// An error is the sentence for a 400; what was sent is not in it.
pub fn channels(query: &str) -> Result<Vec<Identifier>, String> {
    let mut channels = Vec::new();
    // Looked up: a query has room for some 1,500 of them.
    let mut known = HashSet::new();
    for (key, value, _) in pairs(query).filter(|(key, ..)| CHANNELS.contains(&&**key)) {
        let (bytes, whole) = unescape(value);
        let text = String::from_utf8(bytes).ok().filter(|_| whole);
        let text = text.ok_or_else(|| format!("{key}: percent-encode it, as UTF-8"))?;
        let json = match &*key {
            "channel" if text.is_empty() => return Err("channel: name a channel's class".into()),
            "channel" => format!(r#"{{"channel":{}}}"#, quoted(&text)),
            _ => text,
        };
        // As it was sent: with the spaces around it, which JSON passes over.
        if json.len() > IDENTIFIER_BYTES_MAX {
            return Err(format!("{key}: over {IDENTIFIER_BYTES_MAX} bytes, use a shorter one"));
        }
        let raw = serde_json::from_str(&json).map_err(|_| {
            "identifier: use an object such as {\"channel\":\"ChatChannel\"}, percent-encoded"
                .to_owned()
        })?;
        let identifier = Identifier::parse(raw)?;
        if known.insert(identifier.clone()) {
            channels.push(identifier);
        }
    }
    Ok(channels)
}

/// Whether a stream is to be raw.
pub fn raw(query: &str) -> Result<bool, String> {
    match first(query, "raw").as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err("raw: use 1 for a raw stream, or leave it out".to_owned()),
    }
}

/// A whole number from 0 up, in digits. One that is larger than any limit is as good as the largest.
pub fn whole_number(name: &str, text: &str) -> Result<u64, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{name}: use a whole number from 0 up"));
    }
    // Digits only: all that can go wrong is the size.
    Ok(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::cases;
    use proptest::prelude::*;

    #[test]
    fn the_first_of_a_parameter_counts() {
        assert_eq!(first("a=1&timeout=2&timeout=3", "timeout").as_deref(), Some("2"));
        assert_eq!(first("time%6Fut=4", "timeout").as_deref(), Some("4"));
        assert_eq!(first("x=timeout", "timeout"), None);
        assert_eq!(first("timeout", "timeout").as_deref(), Some(""));
    }

    #[test]
    fn what_is_not_the_bridges_goes_on_as_it_came() {
        assert_eq!(passed_on("token=%41b+c&timeout=1&after=3&x", "", false), "token=%41b+c&x");
        assert_eq!(passed_on("&&a=1&", "", false), "a=1");
    }

    #[test]
    fn what_the_server_url_has_is_not_replaced() {
        let fixed = "token=ours&list[]=1";
        for theirs in
            ["token=x", "%74oken=x", "token[]=x", "[token]=x", "a=1;token=x", "list=1", "+token=x"]
        {
            assert_eq!(passed_on(theirs, fixed, false), "", "{theirs}");
        }
        assert_eq!(passed_on("tokens=x", fixed, false), "tokens=x");
    }

    #[test]
    fn numbers_are_digits_and_none_is_too_large() {
        assert_eq!(whole_number("n", "999999999999999999999999"), Ok(u64::MAX));
        assert_eq!(whole_number("n", "007"), Ok(7));
        for text in ["", "-1", "+1", "1.5", "0x1", " 1", "1e3", "١"] {
            assert!(whole_number("n", text).unwrap_err().starts_with("n: "), "{text}");
        }
    }

    #[test]
    fn the_names_of_channels_are_the_bridges_but_in_a_tunnel() {
        let query = "channel=A&a=1&identifier=%7B%7D&raw=1&lastEventId=x&ch%61nnel=B";

        assert_eq!(passed_on(query, "", false), "a=1");
        assert_eq!(passed_on(query, "", true), "channel=A&a=1&identifier=%7B%7D&ch%61nnel=B");
    }

    fn texts(query: &str) -> Result<Vec<String>, String> {
        Ok(channels(query)?.iter().map(|channel| channel.text().to_owned()).collect())
    }

    /// Every byte as an escape, with small digits or large ones.
    fn escaped(bytes: &[u8], large: bool) -> String {
        let escape = |byte| if large { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
        bytes.iter().map(escape).collect()
    }

    /// What must be an escape in a query, or would mean something else there.
    fn sparsely_escaped(bytes: &[u8]) -> String {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"%+&#".contains(&byte);
        let escape = |byte: &u8| match *byte {
            b' ' => "+".to_owned(),
            byte if plain(byte) => char::from(byte).to_string(),
            byte => escaped(&[byte], true),
        };
        bytes.iter().map(escape).collect()
    }

    #[test]
    fn channels_come_in_the_order_of_the_url_each_once() {
        let room = r#"{"channel":"B","room":1}"#;
        let again = escaped(br#"{"room":1,"channel":"\u0042"}"#, true);
        let query = format!(
            "channel=C&x=1&identifier={}&channel=A&identifier={again}&channel=C",
            escaped(room.as_bytes(), false)
        );

        assert_eq!(texts(&query).unwrap(), [r#"{"channel":"C"}"#, room, r#"{"channel":"A"}"#]);
    }

    #[test]
    fn a_plus_is_a_space_and_a_name_is_quoted() {
        assert_eq!(
            texts("channel=a+b%2Bc%22%00%C3%A9").unwrap(),
            ["{\"channel\":\"a b+c\\\"\\u0000é\"}"]
        );
    }

    #[test]
    fn what_is_no_identifier_is_an_error_that_does_not_repeat_it() {
        let name = "x".repeat(4097 - r#"{"channel":""}"#.len());
        let long = format!("channel={name}");
        let bad = [
            "channel=",
            "channel",
            "channel=Secret%",
            "channel=Secret%4",
            "channel=Secret%zz",
            "channel=Secret%ff",
            "channel=Secret%ED%A0%80",
            "identifier=",
            "identifier=Secret",
            "identifier=%7B%22Secret%22:1%7D",
            "channel=A&channel=",
            &long,
        ];
        for query in bad {
            let why = texts(query).unwrap_err();
            assert!(!why.is_empty() && !why.contains("Secret"), "{query}: {why}");
        }
        assert!(texts(&long[..long.len() - 1]).is_ok());
        let longest = escaped(format!(r#"{{"channel":"{}"}}"#, &name[1..]).as_bytes(), true);
        assert!(texts(&format!("identifier={longest}")).is_ok());
        assert!(texts(&format!("identifier={longest}+")).unwrap_err().contains("4096"));
    }

    #[test]
    fn the_corpus_arrives_as_it_is_written_whichever_way_it_is_encoded() {
        for (name, bytes) in cases("identifiers/good") {
            let ways = [escaped(&bytes, false), escaped(&bytes, true), sparsely_escaped(&bytes)];
            let text = String::from_utf8(bytes).unwrap();
            let kept = text.trim().replace(['\n', '\r'], " ");
            for way in ways {
                assert_eq!(texts(&format!("identifier={way}")).unwrap(), [&*kept], "{name}");
            }
        }
        for (name, bytes) in cases("identifiers/bad") {
            assert!(texts(&format!("identifier={}", escaped(&bytes, true))).is_err(), "{name}");
        }
    }

    #[test]
    fn raw_is_one_or_nothing() {
        assert_eq!(
            (raw("a=1"), raw("raw=0"), raw("raw=1&raw=2")),
            (Ok(false), Ok(false), Ok(true))
        );
        for query in ["raw", "raw=", "raw=2", "raw=true", "raw=01"] {
            assert!(raw(query).unwrap_err().starts_with("raw: "), "{query}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn every_query_is_channels_or_an_error(query in "((channel|identifier)=([ -~]|%[0-9a-f]{2}|é){0,12}&?){0,4}") {
            let _ = channels(&query);
        }

        #[test]
        fn a_name_comes_back_however_it_is_encoded(name in any::<String>().prop_filter("empty", |name| !name.is_empty())) {
            let expected = format!(r#"{{"channel":{}}}"#, quoted(&name));
            for way in [escaped(name.as_bytes(), false), sparsely_escaped(name.as_bytes())] {
                prop_assert_eq!(texts(&format!("channel={way}")).unwrap(), [expected.clone()]);
            }
        }
    }
}
