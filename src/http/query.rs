//! The query of a request: what the bridge owns of it, and what goes on to the upstream.

use std::borrow::Cow;

/// Parameters that are for the bridge and go no further.
const OWNED: [&str; 6] = ["timeout", "poll-queue", "after", "padding", "protocol", "seq"];

/// The first value of a parameter, decoded.
pub fn first<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    pairs(query)
        .find(|(key, _)| key == name)
        .map(|(_, piece)| decode(piece.split_once('=').map_or("", |(_, v)| v)))
}

/// What is appended to the upstream's URL: every parameter that is not the bridge's and that `fixed` (the query of
/// `--server`) does not have, as it came.
///
/// Rails reads `a[b]`, `[a]` and, up to Rack 2, what follows a `;` as parameters too: none of them is a way round `fixed`.
pub fn passed_on(query: &str, fixed: &str) -> String {
    let taken: Vec<String> = names(fixed).collect();
    let passed = pairs(query)
        .filter(|(key, piece)| {
            !OWNED.contains(&&**key) && !names(piece).any(|name| taken.contains(&name))
        })
        .map(|(_, piece)| piece);
    passed.collect::<Vec<_>>().join("&")
}

fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    query.split('&').filter(|piece| !piece.is_empty()).map(|piece| {
        let key = piece.split('=').next().unwrap_or(piece);
        (decode(key), piece)
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
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        rest = match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                &tail[2..]
            }
            (b'+', ..) => {
                bytes.push(b' ');
                tail
            }
            _ => {
                bytes.push(byte);
                tail
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// A whole number from 0 up, in digits. One that is larger than any limit is as good as the largest.
///
/// # Errors
/// The sentence for a 400.
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

    #[test]
    fn the_first_of_a_parameter_counts() {
        assert_eq!(first("a=1&timeout=2&timeout=3", "timeout").as_deref(), Some("2"));
        assert_eq!(first("time%6Fut=4", "timeout").as_deref(), Some("4"));
        assert_eq!(first("x=timeout", "timeout"), None);
        assert_eq!(first("timeout", "timeout").as_deref(), Some(""));
    }

    #[test]
    fn what_is_not_the_bridges_goes_on_as_it_came() {
        assert_eq!(passed_on("token=%41b+c&timeout=1&after=3&x", ""), "token=%41b+c&x");
        assert_eq!(passed_on("&&a=1&", ""), "a=1");
    }

    #[test]
    fn what_the_server_url_has_is_not_replaced() {
        let fixed = "token=ours&list[]=1";
        for theirs in
            ["token=x", "%74oken=x", "token[]=x", "[token]=x", "a=1;token=x", "list=1", "+token=x"]
        {
            assert_eq!(passed_on(theirs, fixed), "", "{theirs}");
        }
        assert_eq!(passed_on("tokens=x", fixed), "tokens=x");
    }

    #[test]
    fn numbers_are_digits_and_none_is_too_large() {
        assert_eq!(whole_number("n", "999999999999999999999999"), Ok(u64::MAX));
        assert_eq!(whole_number("n", "007"), Ok(7));
        for text in ["", "-1", "+1", "1.5", "0x1", " 1", "1e3", "١"] {
            assert!(whole_number("n", text).unwrap_err().starts_with("n: "), "{text}");
        }
    }
}
