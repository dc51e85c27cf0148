//! Frames of websockets (RFC 6455), as far as short text messages need them.
//!
//! Socket.IO servers send every message in one frame. Fragments, compression and binary messages are refused.

use crate::{Decoded, Error, Packet, packet::DISCONNECT};

/// The longest message that is accepted. The longest that a visitor needs is the handshake.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// The longest payload with a length of seven bits. Control frames may not be longer.
const SHORT_BYTES_MAX: usize = 125;
/// Clients must mask what they send, so that no cache mistakes it for a request. What these clients send cannot be
/// mistaken, so the mask need not be secret.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

/// The code of a close frame that ends a websocket in order.
const NORMAL_CLOSURE: [u8; 2] = 1000_u16.to_be_bytes();

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH_OF_16_BITS: u8 = 126;

/// The purpose of a frame. The numbers are those of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Carries a message.
    Text = 1,
    /// Ends the websocket.
    Close = 8,
    /// Asks for a pong.
    Ping = 9,
    /// Answers a ping, with the same payload.
    Pong = 10,
}

/// The content of one frame of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A packet.
    Packet(Packet),
    /// A ping of the websocket protocol, not of Engine.IO. It requires a [`Opcode::Pong`] with the same payload.
    Ping(Vec<u8>),
    /// A pong of the websocket protocol. It requires no action.
    Pong,
    /// The websocket ends.
    Close,
}

impl Message {
    /// Decodes a whole frame from a server.
    ///
    /// # Errors
    /// If the frame or its packet is outside the contract.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        decode(bytes, |opcode, payload| {
            Ok(match opcode {
                Opcode::Text => Self::Packet(Packet::parse(payload)?),
                Opcode::Ping => Self::Ping(payload.to_vec()),
                Opcode::Pong => Self::Pong,
                Opcode::Close => Self::Close,
            })
        })
    }
}

/// Decodes a whole frame from a server, and passes its payload to `read`.
fn decode<T>(bytes: &[u8], read: impl FnOnce(Opcode, &[u8]) -> Result<T, Error>) -> Decoded<T> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8a => Opcode::Pong,
        _ => return Err(Error::unexpected("a frame other than of whole text", bytes)),
    };
    let (header_bytes, payload_bytes) = match (second, rest) {
        (0..=125, _) => (2, usize::from(second)),
        (LENGTH_OF_16_BITS, &[high, low, ..]) => (4, usize::from(u16::from_be_bytes([high, low]))),
        (LENGTH_OF_16_BITS, _) => return Ok(None),
        _ => return Err(Error::unexpected("a frame that is masked or huge", bytes)),
    };
    if payload_bytes > PAYLOAD_BYTES_MAX
        || (opcode != Opcode::Text && payload_bytes > SHORT_BYTES_MAX)
    {
        return Err(Error::unexpected("a frame that is too long", bytes));
    }
    let end = header_bytes + payload_bytes;
    match bytes.get(header_bytes..end) {
        Some(payload) => read(opcode, payload).map(|found| Some((found, end))),
        None => Ok(None),
    }
}

/// A whole frame from a client.
///
/// # Panics
/// If the payload is longer than 65,535 bytes, which no message of a client is.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("clients have little to say");
    let mut frame = vec![FINAL | opcode as u8];
    match u8::try_from(length) {
        Ok(short) if payload.len() <= SHORT_BYTES_MAX => frame.push(MASKED | short),
        _ => {
            frame.push(MASKED | LENGTH_OF_16_BITS);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A whole frame with a packet.
///
/// # Panics
/// If the packet is longer than 65,535 bytes, which none of [`crate::packet`] is.
pub fn encode_packet(packet: &str) -> Vec<u8> {
    encode(Opcode::Text, packet.as_bytes())
}

/// The frames that leave the namespace and close the websocket in order, as socket.io-client does.
pub fn encode_leave() -> Vec<u8> {
    let mut frames = encode_packet(DISCONNECT);
    frames.extend(encode(Opcode::Close, &NORMAL_CLOSURE));
    frames
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use headcount_mutate::mutated;
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::{
        Message, WebSocket,
        protocol::{Role, WebSocketConfig},
    };

    use super::*;

    fn decoded(bytes: &[u8]) -> Decoded<(Opcode, Vec<u8>)> {
        decode(bytes, |opcode, payload| Ok((opcode, payload.to_vec())))
    }

    /// The bytes that another implementation of a server sends for these messages.
    fn sent_by_a_server(messages: &[Message]) -> Vec<u8> {
        let mut socket = WebSocket::from_raw_socket(Cursor::new(Vec::new()), Role::Server, None);
        for message in messages {
            socket.send(message.clone()).unwrap();
        }
        socket.get_ref().get_ref().clone()
    }

    /// Goal: frames outside the protocol are refused before they take memory. Method: binary frames, fragments,
    /// compression, masks, 64-bit lengths, too long frames, long pings.
    #[test]
    fn other_frames_are_refused() {
        for start in [
            [0x82, 1, 0, 0],
            [0x01, 1, 0, 0],
            [0x80, 1, 0, 0],
            [0xc1, 1, 0, 0],
            [0x81, 0x81, 0, 0],
            [0x81, 127, 0, 0],
            [0x81, 126, 0x40, 0x01],
            [0x89, 126, 0, 126],
        ] {
            assert!(decoded(&start).is_err(), "{start:x?}");
        }
        assert_eq!(decoded(&[0x81, 126, 0x40, 0x00]), Ok(None), "this is just short enough");
    }

    proptest! {
        /// Goal: nothing that a server sends causes a panic. Method: random bytes, also after a valid beginning.
        #[test]
        fn any_bytes_are_survived(start in prop::sample::select(vec![vec![], vec![0x81], vec![0x88, 2]]), rest: Vec<u8>) {
            let bytes = [start, rest].concat();
            if let Ok(Some((_, length))) = decoded(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        /// Goal: frames of a real server are decoded correctly, in whatever pieces they arrive. Method: tungstenite writes
        /// texts and pings; each is found when it is complete, not before.
        #[test]
        fn a_real_server_is_understood(texts in prop::collection::vec("\\PC{0,300}", 1..5), ping in prop::collection::vec(any::<u8>(), 0..126)) {
            let mut messages: Vec<Message> = texts.iter().map(|text| Message::text(text.as_str())).collect();
            messages.push(Message::Ping(ping.into()));
            let bytes = sent_by_a_server(&messages);
            let mut rest = &bytes[..];
            for message in messages {
                let opcode = if message.is_ping() { Opcode::Ping } else { Opcode::Text };
                let (frame, length) = decoded(rest)?.expect("a whole frame");
                prop_assert_eq!(frame, (opcode, message.into_data().to_vec()));
                prop_assert_eq!(decoded(&rest[..length - 1])?, None);
                rest = &rest[length..];
            }
            prop_assert!(rest.is_empty());
        }

        /// Goal: a real server understands clients. Method: tungstenite reads what is encoded here.
        #[test]
        fn a_real_server_understands(text in "[ -~]{0,300}") {
            let bytes = encode(Opcode::Text, text.as_bytes());
            let config = WebSocketConfig::default();
            let mut socket = WebSocket::from_raw_socket(Cursor::new(bytes), Role::Server, Some(config));
            prop_assert_eq!(socket.read().unwrap(), Message::text(text));
        }

        /// Goal: the result does not depend on where the network cuts a frame. Method: decode damaged frames of a real
        /// server, cut and whole. An early result stays the same, and so does a refusal.
        #[test]
        fn cuts_do_not_matter(
            bytes in mutated("\\PC{0,150}".prop_map(|text| sent_by_a_server(&[Message::text(text)]))),
            cut: prop::sample::Index,
        ) {
            match decoded(&bytes[..cut.index(bytes.len() + 1)]) {
                Ok(None) => {}
                Ok(early) => prop_assert_eq!(decoded(&bytes), Ok(early)),
                Err(_) => prop_assert!(decoded(&bytes).is_err()),
            }
        }
    }
}
