//! Bytes: the answer to a websocket handshake, unmasked frames out, masked frames in. It does no I/O.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1_smol::Sha1;

/// The text that RFC 6455, section 1.3, appends to the key before it is hashed.
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x8;

/// A text frame with this payload.
///
/// # Panics
/// If the payload is longer than 16 bits can express, which does not happen here.
pub fn text(payload: &str) -> Vec<u8> {
    let mut frame = vec![TEXT];
    match u8::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(length),
        _ => {
            let length = u16::try_from(payload.len()).expect("payloads here are short");
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(payload.as_bytes());
    frame
}

/// The frame of one count.
pub fn count(users: usize) -> Vec<u8> {
    text(&format!("42[\"user count\",{users}]"))
}

/// The answer to a complete request head, with Engine.IO's opening packet; `None` if it is no handshake.
pub fn opening(head: &[u8], session: u64) -> Option<Vec<u8>> {
    let head = std::str::from_utf8(head).ok()?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    })?;
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(ACCEPT_SUFFIX.as_bytes());
    let accept = STANDARD.encode(hash.digest().bytes());
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    let opening = format!(
        "0{{\"sid\":\"{session:020}\",\"upgrades\":[],\"pingInterval\":25000,\
         \"pingTimeout\":20000,\"maxPayload\":100000}}"
    );
    answer.extend(text(&opening));
    Some(answer)
}

/// The acknowledgement of joining the namespace.
pub fn acknowledgement(session: u64) -> Vec<u8> {
    text(&format!("40{{\"sid\":\"{session:020}\"}}"))
}

/// The acknowledgement of joining a room.
pub fn room_acknowledgement(room: &str, session: u64) -> Vec<u8> {
    text(&format!("40{room},{{\"sid\":\"{session:020}\"}}"))
}

/// The frame of one count of a room.
pub fn room_count(room: &str, users: usize) -> Vec<u8> {
    text(&format!("42{room},[\"user count\",{users}]"))
}

/// A packet of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Join the default namespace.
    Join,
    /// Leave the default namespace.
    Leave,
    /// Join a room.
    JoinRoom(String),
    /// Leave a room.
    LeaveRoom(String),
    /// Close the session or the connection.
    Close,
    /// A pong, or a packet that does not matter here.
    Other,
}

/// The first frame of the bytes that arrived, and its length; `None` while it is incomplete. Clients of the
/// benchmark send nothing that is longer than 125 bytes.
pub fn first_frame(bytes: &[u8]) -> Option<(Said, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let length = usize::from(second & 0x7f);
    let mask = bytes.get(2..6)?;
    let masked = bytes.get(6..6 + length)?;
    if first & 0xf == CLOSE {
        return Some((Said::Close, 6 + length));
    }
    let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let payload: Vec<u8> = payload.collect();
    let room = |rest: &[u8]| {
        let name = rest.split(|byte| *byte == b',').next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    };
    let said = match &payload[..] {
        [b'4', b'0', rest @ ..] if rest.starts_with(b"/") => Said::JoinRoom(room(rest)),
        [b'4', b'1', rest @ ..] if rest.starts_with(b"/") => Said::LeaveRoom(room(rest)),
        [b'4', b'0', ..] => Said::Join,
        [b'4', b'1', ..] => Said::Leave,
        [b'1'] => Said::Close,
        _ => Said::Other,
    };
    Some((said, 6 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the handshake is the one of the standard. Method: the example of RFC 6455, section 1.3.
    #[test]
    fn the_handshake_is_the_standards() {
        let head = b"GET / HTTP/1.1\r\nsec-webSocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let answer = opening(head, 7).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    }

    /// Goal: frames are read whole or not at all. Method: one masked join, cut at every length.
    #[test]
    fn a_frame_is_read_whole() {
        let joined = [0x81, 0x82, 1, 2, 3, 4, b'4' ^ 1, b'0' ^ 2];
        for cut in 0..joined.len() {
            assert_eq!(first_frame(&joined[..cut]), None);
        }
        assert_eq!(first_frame(&joined), Some((Said::Join, 8)));
    }

    /// Goal: both forms of the length are right. Method: a short and a long payload.
    #[test]
    fn lengths_are_encoded() {
        assert_eq!(count(5)[..2], [0x81, 18]);
        assert_eq!(text(&"x".repeat(200))[..4], [0x81, 126, 0, 200]);
    }
}
