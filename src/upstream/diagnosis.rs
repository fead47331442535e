//! What a status in place of the 101 usually means, and the end of a link, and what to do about it.
//!
//! Owns: the sentence for each status that Rails, puma, or a proxy or router in front of them is known to give, and which are
//! final; the reason of a link that was lost. Never: shows the query of a `Location`: it is the client's, with its token.

use super::socket::brief;
use super::{Down, Settings};
use std::io::ErrorKind;
use tungstenite::Error;
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::CloseFrame;

/// In each line the statuses, and what they mean and what to do about it.
const STATUSES: &str = include_str!("statuses.txt");

/// 4xx is what the application says to this client; 408, 429 and all else may pass. `named`: `--host-header` is there.
pub fn of_status(status: u16, location: Option<&[u8]>, named: bool) -> Down {
    let meaning = match (status, location) {
        (300..=399, Some(location)) => of_redirect(location),
        _ => of_code(status, named).to_owned(),
    };
    let final_word = (400..500).contains(&status) && status != 408 && status != 429;
    let subject = if final_word {
        "the upstream answered the handshake"
    } else {
        "the handshake was answered"
    };
    let why = match meaning.as_str() {
        "" => format!("{subject} with {status}"),
        meaning => format!("{subject} with {status}: {meaning}"),
    };
    if final_word { Down::Denied { status, why } } else { Down::failed(&why) }
}

/// The sentence for the status, or for all of its hundred. Rails compares the `Origin` with the `Host` that it is told: what a 404
/// means depends on who chose that.
fn of_code(status: u16, named: bool) -> &'static str {
    let alone = if named && status == 404 { "404-named".to_owned() } else { status.to_string() };
    let hundred = format!("{}xx", status / 100);
    let is = |key: &str| key == alone || key == hundred;
    let mut rows = STATUSES.lines().filter_map(|row| row.split_once(' '));
    rows.find(|(keys, _)| keys.split(',').any(is)).map_or("", |(_, sentence)| sentence)
}

fn of_redirect(location: &[u8]) -> String {
    let end = location.iter().position(|byte| b"?#".contains(byte)).unwrap_or(location.len());
    let shown = location[..end].escape_ascii().to_string();
    let tls = location.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"https://"));
    let remedy = if tls {
        "config.force_ssl does that where X-Forwarded-Proto is not https, let the proxy before the bridge set it; if the \
         server itself speaks TLS, write wss:// in --server"
    } else {
        "a login or a rule of a proxy stands before ActionCable, or the path in --server is another"
    };
    format!("its Location is {}: {remedy}", short(&shown))
}

/// As much of what the upstream words, at any length, as fits a log line and an event.
pub fn short(reason: &str) -> &str {
    reason.char_indices().nth(200).map_or(reason, |(end, _)| &reason[..end])
}

pub fn disconnected(reason: Option<String>, reconnect: bool, was_up: bool) -> Down {
    let reason = reason.as_deref().filter(|reason| !reason.is_empty());
    let reason = reason.map_or("no reason given", short).to_owned();
    if reconnect { Down::Lost { reason, was_up, close: None } } else { Down::Refused { reason } }
}

/// What a close frame means. One without a code counts as 1005 (RFC 6455, section 7.1.5).
pub fn closed_by(frame: Option<CloseFrame>, was_up: bool) -> Down {
    let (reason, close) = match frame {
        None => ("closed by the upstream".to_owned(), (1005, String::new())),
        Some(CloseFrame { code, reason }) => {
            let code = u16::from(code);
            let space = if reason.is_empty() { "" } else { " " };
            let text = format!("closed by the upstream ({code}{space}{reason})");
            (text, (code, reason.to_string()))
        }
    };
    Down::Lost { reason, was_up, close: Some(close) }
}

/// Why the link is lost, and the code of the close frame that we say so with (RFC 6455, section 7.4.1): none to one that has gone.
/// `silent` is the reason where nothing came in time.
pub fn broken_off(error: &Error, settings: &Settings, silent: String) -> (String, Option<u16>) {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            let max = settings.message_max;
            (format!("a message over --max-message ({max} bytes)"), Some(1009))
        }
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            ("closed by the upstream".to_owned(), None)
        }
        Error::Io(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            (silent, None)
        }
        Error::Io(error) => (brief(error), None),
        Error::Protocol(error) => (format!("broken WebSocket frame: {error}"), Some(1002)),
        Error::Utf8(_) => ("a text frame that is not UTF-8".to_owned(), Some(1007)),
        error => (error.to_string(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_of_the_table_is_found() {
        for row in STATUSES.lines() {
            let (keys, sentence) = row.split_once(' ').unwrap();
            for key in keys.split(',') {
                let status = key.replace("xx", "07").replace("-named", "").parse().unwrap();
                assert_eq!(of_code(status, key.ends_with("-named")), sentence, "{row}");
            }
        }
        assert_eq!([of_code(418, true), of_code(501, false), of_code(600, true)], [""; 3]);
    }
}
