//! Encodes websocket frames: the count, text messages and control frames.

/// The event's name, as every client of the lesson knows it.
pub const USER_COUNT: &str = "user count";

/// The beginning of the payload of every count: an Engine.IO message (4) with a Socket.IO event (2) of this name.
const COUNT_START: &[u8] = b"42[\"user count\",";
/// The digits of the greatest `u64`.
const DIGITS_MAX: usize = 20;
/// A short frame's header, the start, the digits and the bracket at the end.
const FRAME_BYTES_MAX: usize = 2 + COUNT_START.len() + DIGITS_MAX + 1;
const _: () =
    assert!(FRAME_BYTES_MAX - 2 < 126, "the length fits into the second byte of the header");

/// The bit that marks the last frame of a message.
const WHOLE: u8 = 0x80;
/// The first byte of a text message in one frame.
const TEXT: u8 = WHOLE | 1;
/// The opcode of a close frame.
const CLOSE: u8 = 8;
/// The opcode of a pong frame.
const PONG: u8 = 10;

/// The frame of a text message.
pub fn text(payload: &str) -> Vec<u8> {
    text_bytes(payload.as_bytes())
}

/// The frame of a text message whose bytes are UTF-8.
pub fn text_bytes(payload: &[u8]) -> Vec<u8> {
    let mut frame = match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => vec![TEXT, length],
        (_, Ok(length)) => [&[TEXT, 126], &length.to_be_bytes()[..]].concat(),
        _ => [&[TEXT, 127], &(payload.len() as u64).to_be_bytes()[..]].concat(),
    };
    frame.extend_from_slice(payload);
    frame
}

/// A pong frame with the payload of the ping that it answers.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    control(PONG, payload)
}

/// A close frame with this status code (RFC 6455, section 7.4.1).
pub fn close(code: u16) -> Vec<u8> {
    control(CLOSE, &code.to_be_bytes())
}

fn control(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a control frame has at most 125 bytes");
    [&[WHOLE | kind, length], payload].concat()
}

/// A websocket frame with the count, byte for byte what Socket.IO's `emit` sends.
#[derive(Clone, Copy, Debug)]
pub struct CountFrame {
    users: u64,
    bytes: [u8; FRAME_BYTES_MAX],
    length: usize,
}

impl CountFrame {
    /// Encodes the event.
    pub fn new(users: u64) -> Self {
        let event =
            serde_json::to_string(&(USER_COUNT, users)).expect("text and a number are JSON");
        let payload = [b"42", event.as_bytes()].concat();
        let mut bytes = [0; FRAME_BYTES_MAX];
        bytes[0] = TEXT;
        bytes[1] = u8::try_from(payload.len()).expect("asserted above");
        let length = 2 + payload.len();
        bytes[2..length].copy_from_slice(&payload);
        Self { users, bytes, length }
    }

    /// The count in the frame.
    pub fn users(&self) -> u64 {
        self.users
    }

    /// The packet without the frame around it.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[2..self.length]
    }

    /// The bytes of the frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A websocket frame with the count of a room, byte for byte what `emit` of Socket.IO's server sends in that namespace.
#[derive(Clone, Debug)]
pub struct RoomFrame {
    users: u64,
    bytes: Vec<u8>,
    /// The length of the header.
    header: usize,
}

impl RoomFrame {
    /// Encodes the event for the room of this name.
    pub fn new(room: &str, users: u64) -> Self {
        let packet = format!("42{room},[\"{USER_COUNT}\",{users}]");
        let bytes = text(&packet);
        Self { users, header: bytes.len() - packet.len(), bytes }
    }

    /// The count in the frame.
    pub fn users(&self) -> u64 {
        self.users
    }

    /// The packet without the frame around it.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[self.header..]
    }

    /// The bytes of the frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
#[path = "frame/tests.rs"]
mod tests;
