//! What goes out on a websocket, as bytes: the count, and the frames around it. Pure: it knows no sockets.

/// The event's name, as every client of the lesson knows it.
pub const USER_COUNT: &str = "user count";

/// How the payload of every count begins: a message (4) of Engine.IO that is an event (2) of Socket.IO with
/// this name.
const COUNT_START: &[u8] = b"42[\"user count\",";
/// The longest count: what a `u64` may hold.
const DIGITS_MAX: usize = 20;
/// A short frame's header, the start, the digits and the bracket at the end.
const FRAME_BYTES_MAX: usize = 2 + COUNT_START.len() + DIGITS_MAX + 1;
const _: () =
    assert!(FRAME_BYTES_MAX - 2 < 126, "the length fits into the second byte of the header");

/// The bit of a frame that is a whole message, or the last of one.
const WHOLE: u8 = 0x80;
/// A whole text message.
const TEXT: u8 = WHOLE | 1;
/// The kind of frame after which nothing may follow.
const CLOSE: u8 = 8;
/// The kind of frame that answers a ping.
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

/// The frame that answers a ping of the websocket itself.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    control(PONG, payload)
}

/// The frame after which nothing follows, with this status code (RFC 6455, section 7.4.1).
pub fn close(code: u16) -> Vec<u8> {
    control(CLOSE, &code.to_be_bytes())
}

fn control(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a control frame has at most 125 bytes");
    [&[WHOLE | kind, length], payload].concat()
}

/// A websocket frame that tells the count, the same to the byte as Socket.IO's `emit` sends it.
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

    /// The count it tells.
    pub fn users(&self) -> u64 {
        self.users
    }

    /// The packet alone, without its frame.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[2..self.length]
    }

    /// What goes over a websocket.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
#[path = "frame/tests.rs"]
mod tests;
