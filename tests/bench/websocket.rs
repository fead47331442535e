//! As much of WebSocket as both ends of the benchmark speak: handshakes, text frames in, text frames out.
//!
//! Never: fragments or control frames of our own. Small on purpose: tungstenite in here would be measured with the bridge, on
//! the same two cores.

/// A key that any client may choose (RFC 6455, section 4.1: its 16 bytes are not looked at).
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;

pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// Appends the head of an unmasked text frame.
pub fn put_text_head(out: &mut Vec<u8>, length: usize) {
    out.push(0x80 | TEXT);
    match u8::try_from(length) {
        Ok(short @ 0..=125) => out.push(short),
        _ => {
            out.push(126);
            out.extend_from_slice(&u16::try_from(length).expect("a short frame").to_be_bytes());
        }
    }
}

/// An unmasked text frame, as servers send them.
pub fn text(payload: &str) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 4);
    put_text_head(&mut frame, payload.len());
    frame.extend_from_slice(payload.as_bytes());
    frame
}

/// A text frame as clients send them. A mask of zeros is a mask, and leaves the payload as it is.
pub fn masked_text(payload: &str) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 8);
    put_text_head(&mut frame, payload.len());
    frame[1] |= 0x80;
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload.as_bytes());
    frame
}

/// The first frame of these bytes and how many it takes; `None` until it is whole.
pub fn first_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, mut at) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => panic!("a frame of the benchmark is short"),
        short => (usize::from(short), 2),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        mask = bytes.get(at..at + 4)?.try_into().ok()?;
        at += 4;
    }
    let masked = bytes.get(at..at + length)?;
    let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Some((Frame { opcode: first & 0x0f, payload }, at + length))
}

/// What a client opens its session `slot` with.
pub fn request(slot: usize) -> String {
    format!(
        "GET /cable?slot={slot} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Protocol: actioncable-v1-json\r\n\r\n"
    )
}

/// The 101 to a request with this key.
pub fn accept(key: &[u8]) -> String {
    let accept = tungstenite::handshake::derive_accept_key(key);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Protocol: actioncable-v1-json\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Where a head ends: after its blank line.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}
