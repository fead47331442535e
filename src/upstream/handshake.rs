//! The HTTP side of a WebSocket's opening: the request's bytes, and what the answer to it means.
//!
//! Written here and not left to `tungstenite`, which refuses header bytes over 127: a cookie may hold them.
//! Owns: the order of the headers, the check of the 101 (RFC 6455, section 4.1).
//! Never: touches a socket.

use super::{Down, Handshake, Protocol, Settings, Url, diagnosis};
use tungstenite::handshake::derive_accept_key;

/// Bytes of an answer's head; a longer one fails the handshake.
pub const HEAD_MAX: usize = 16 * 1024;

/// Headers of an answer; proxies add some, a hundred is no honest answer.
const HEADERS_MAX: usize = 100;

/// The subprotocol that we speak (`actioncable-unsupported` is only offered, so that an old server can say no).
const CABLE: &str = "actioncable-v1-json";
const CABLE_OFFER: &str = "actioncable-v1-json, actioncable-unsupported";

/// The request, with the client's own headers in their order, byte for byte. Lost where one of
/// them could end its line early and so smuggle a header of its own.
pub fn request(settings: &Settings, handshake: &Handshake, key: &str) -> Result<Vec<u8>, Down> {
    let url = &settings.url;
    let mut bytes = format!("GET {} HTTP/1.1\r\n", target(url, &handshake.query)?).into_bytes();
    let is = |name: &str, wanted: &str| name.eq_ignore_ascii_case(wanted);
    let sent = |wanted: &str| {
        let mut headers = handshake.headers.iter();
        headers.find(|(name, _)| is(name, wanted)).map(|(_, value)| value.as_slice())
    };
    let authority = url.authority();
    let host = sent("Host").filter(|host| !host.is_empty());
    let told = settings.host_header.as_deref().map(str::as_bytes).or(sent("Host"));
    push(&mut bytes, "Host", told.unwrap_or(authority.as_bytes()))?;
    for (name, value) in [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    ] {
        push(&mut bytes, name, value.as_bytes())?;
    }
    if let Some(offer) = offer(&handshake.protocol) {
        push(&mut bytes, "Sec-WebSocket-Protocol", offer.as_bytes())?;
    }
    for (name, value) in handshake.headers.iter().filter(|(name, _)| !is(name, "Host")) {
        push(&mut bytes, name, value)?;
    }
    let hidden = host.filter(|_| settings.host_header.is_some());
    if let Some(host) = hidden.filter(|_| sent("X-Forwarded-Host").is_none()) {
        push(&mut bytes, "X-Forwarded-Host", host)?;
    }
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes)
}

fn target(url: &Url, query: &str) -> Result<String, Down> {
    if query.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(Down::failed("the query holds a space or a control character"));
    }
    let path = &url.path;
    Ok(match (&url.query, query) {
        (None, "") => path.clone(),
        (Some(own), more) if more.is_empty() || own.is_empty() || own.ends_with('&') => {
            format!("{path}?{own}{more}")
        }
        (None, more) => format!("{path}?{more}"),
        (Some(own), more) => format!("{path}?{own}&{more}"),
    })
}

fn push(bytes: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), Down> {
    if !is_token(name) {
        return Err(Down::failed("a header's name is no HTTP token"));
    }
    if value.iter().any(|byte| b"\r\n\0".contains(byte)) {
        return Err(Down::failed(&format!("the header {name} holds a line break or a NUL")));
    }
    bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    Ok(())
}

/// A token (RFC 9110, 5.6.2).
pub fn is_token(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

fn offer(spoken: &Protocol) -> Option<&str> {
    match spoken {
        Protocol::Cable => Some(CABLE_OFFER),
        Protocol::Raw { protocols } if protocols.trim().is_empty() => None,
        Protocol::Raw { protocols } => Some(protocols),
    }
}

/// Looks at an answer as it grows: from which byte on it is WebSocket, and with which subprotocol. `None` while its head is not
/// whole. `named`: `--host-header` is there.
pub fn reply(
    bytes: &[u8],
    key: &str,
    spoken: &Protocol,
    named: bool,
) -> Result<Option<(usize, Option<String>)>, Down> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) if head <= HEAD_MAX => head,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_MAX => return Ok(None),
        Ok(_) => return Err(Down::failed("the handshake was answered with a head over 16 KiB")),
        Err(_) => {
            return Err(Down::failed("the handshake was answered with something that is no HTTP"));
        }
    };
    // A whole head has one.
    let status = response.code.unwrap_or_default();
    if status != 101 {
        let mut headers = response.headers.iter();
        let location = headers.find(|header| header.name.eq_ignore_ascii_case("Location"));
        return Err(diagnosis::of_status(status, location.map(|header| header.value), named));
    }
    let protocol = check_switch(response.headers, key, spoken).map_err(|why| Down::failed(&why))?;
    Ok(Some((head, protocol)))
}

/// RFC 6455, section 4.1, what the client must check in a 101; answers the subprotocol.
fn check_switch(
    headers: &[httparse::Header<'_>],
    key: &str,
    spoken: &Protocol,
) -> Result<Option<String>, String> {
    let all = |name: &str| {
        let named = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii()).collect::<Vec<_>>()
    };
    let lists = |values: &[&[u8]], token: &str| {
        let mut items = values.iter().flat_map(|value| value.split(|&byte| byte == b','));
        items.any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    };
    if !lists(&all("Upgrade"), "websocket") || !lists(&all("Connection"), "upgrade") {
        return Err("the handshake was answered with a 101 that is no upgrade to WebSocket".into());
    }
    if all("Sec-WebSocket-Accept") != [derive_accept_key(key.as_bytes()).as_bytes()] {
        return Err("the handshake was answered with a wrong Sec-WebSocket-Accept".into());
    }
    if !all("Sec-WebSocket-Extensions").iter().all(|value| value.is_empty()) {
        return Err("the upstream chose a WebSocket extension that was not offered".into());
    }
    chosen(&all("Sec-WebSocket-Protocol"), spoken)
}

fn chosen(values: &[&[u8]], spoken: &Protocol) -> Result<Option<String>, String> {
    let [value] = values else {
        let many = !values.is_empty();
        return if many { Err("the upstream chose two subprotocols".into()) } else { Ok(None) };
    };
    let fits = match spoken {
        Protocol::Cable => *value == CABLE.as_bytes(),
        Protocol::Raw { protocols } => {
            protocols.split(',').any(|offered| offered.trim().as_bytes() == *value)
        }
    };
    let shown = value.escape_ascii().to_string();
    if !fits || value.is_empty() {
        return Err(format!("the upstream chose the subprotocol {shown:.40}, which does not fit"));
    }
    Ok(Some(shown))
}
