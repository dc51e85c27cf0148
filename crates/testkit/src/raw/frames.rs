//! Frames of the websocket protocol, as a client sends them, and others that no client would send.

/// A frame with a whole text.
pub fn text(text: &str) -> Vec<u8> {
    frame(FINAL | TEXT, text.as_bytes())
}

/// The bit that marks the last frame of a message.
pub const FINAL: u8 = 0x80;
/// The opcode of another frame of the same message.
pub const CONTINUATION: u8 = 0;
/// The opcode of a message of text.
pub const TEXT: u8 = 1;
/// The opcode of a message of bytes.
pub const BINARY: u8 = 2;
/// The opcode of the frame that closes the websocket.
pub const CLOSE: u8 = 8;
/// The opcode of the websocket protocol's own ping, which is not that of Engine.IO.
pub const PING: u8 = 9;

/// A frame with this first byte, masked with a key of zeros, which changes nothing.
pub fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    // Instead of a length: that two or eight bytes with the length follow.
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
