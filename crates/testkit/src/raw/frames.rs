//! Websocket frames of a client, and others that no client would send.

/// A frame with a complete text message.
pub fn text(text: &str) -> Vec<u8> {
    frame(FINAL | TEXT, text.as_bytes())
}

/// The bit that marks the last frame of a message.
pub const FINAL: u8 = 0x80;
/// The opcode of a later frame of the same message.
pub const CONTINUATION: u8 = 0;
/// The opcode of a text message.
pub const TEXT: u8 = 1;
/// The opcode of a binary message.
pub const BINARY: u8 = 2;
/// The opcode of the frame that closes the websocket.
pub const CLOSE: u8 = 8;
/// The opcode of a ping of the websocket protocol, not of Engine.IO.
pub const PING: u8 = 9;

/// A frame with this first byte, masked with a key of zeros, which changes nothing.
pub fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    // In place of a length: the real length follows in two or in eight bytes.
    const TWO_BYTES: u8 = 0x7e;
    const EIGHT_BYTES: u8 = 0x7f;
    let mut frame = vec![first_byte];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => frame.push(MASKED | length),
        (_, Ok(length)) => {
            frame.push(MASKED | TWO_BYTES);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(MASKED | EIGHT_BYTES);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
