//! Tests of what comes in: frames as clients send them, in pieces of any size, and what no client may send.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::fixtures::mutate::mutated;

const BYTES_MAX: usize = 1000;

/// What was heard, to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Text(String),
    Binary,
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// A frame as a client sends it; masked with a key, its length in as many bytes as are needed.
fn frame(first: u8, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            frame.push(0xfe);
            frame.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Everything that is heard of these bytes, which come in pieces of such lengths, again and again.
fn hear(bytes: &[u8], pieces: &[usize]) -> (Vec<Heard>, Result<(), ProtocolError>) {
    let (mut decoder, mut heard) = (FrameDecoder::new(BYTES_MAX), Vec::new());
    let (mut rest, mut pieces) = (bytes.to_vec(), pieces.iter().cycle());
    while !rest.is_empty() {
        let length = pieces.next().map_or(rest.len(), |&length| length.clamp(1, rest.len()));
        let mut piece: Vec<u8> = rest.drain(..length).collect();
        let read = decoder.read(&mut piece, |incoming| {
            heard.push(match incoming {
                Incoming::Text(text) => Heard::Text(text.to_owned()),
                Incoming::Binary => Heard::Binary,
                Incoming::Ping(payload) => Heard::Ping(payload.to_vec()),
                Incoming::Pong => Heard::Pong,
                Incoming::Close => Heard::Close,
            });
            Ok::<(), ProtocolError>(())
        });
        if read.is_err() {
            return (heard, read);
        }
        let held = decoder.begun.len() + decoder.parts.as_ref().map_or(0, |(parts, _)| parts.len());
        assert!(held <= BYTES_MAX + 14 + length, "{held} bytes are held");
    }
    (heard, Ok(()))
}

/// A message in frames, with a ping between them, and what is to be heard of it.
fn any_message() -> impl Strategy<Value = (Vec<u8>, Vec<Heard>)> {
    let parts = vec("\\PC{0,40}", 1..4);
    (parts, any::<[u8; 4]>(), any::<bool>(), any::<bool>()).prop_map(
        |(parts, key, text, pinged)| {
            let (mut bytes, mut heard) = (Vec::new(), Vec::new());
            for (index, part) in parts.iter().enumerate() {
                let kind = if index > 0 { 0 } else { 2 - u8::from(text) };
                let last = if index + 1 == parts.len() { 0x80 } else { 0 };
                if pinged {
                    bytes.extend(frame(0x89, key, b"there?"));
                    heard.push(Heard::Ping(b"there?".to_vec()));
                }
                bytes.extend(frame(kind | last, key, part.as_bytes()));
            }
            heard.push(if text { Heard::Text(parts.concat()) } else { Heard::Binary });
            (bytes, heard)
        },
    )
}

proptest! {
    /// Goal: messages are decoded completely and in order, in whatever pieces the bytes arrive. Method: messages in several
    /// frames with pings between them, in random pieces.
    #[test]
    fn messages_are_heard_whole(
        messages in vec(any_message(), 0..6),
        pieces in vec(1_usize..200, 1..8),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<Heard> = messages.into_iter().flat_map(|(_, heard)| heard).collect();
        prop_assert_eq!(hear(&bytes, &pieces), (expected, Ok(())));
    }

    /// Goal: no bytes cause a panic or unlimited memory, and the pieces make no difference. Method: damaged messages.
    #[test]
    fn any_bytes_may_come(
        bytes in mutated(
            vec(any_message(), 1..4)
                .prop_map(|messages| messages.into_iter().flat_map(|(bytes, _)| bytes).collect())
        ),
        pieces in vec(1_usize..50, 1..4),
    ) {
        prop_assert_eq!(hear(&bytes, &pieces), hear(&bytes, &[]));
    }
}

/// Goal: no memory is held after a message. Method: a long message in two pieces.
#[test]
fn nothing_is_kept_between_messages() {
    let mut decoder = FrameDecoder::new(BYTES_MAX);
    let mut bytes = frame(0x81, [1, 2, 3, 4], &[b'a'; 900]);
    let (first, second) = bytes.split_at_mut(500);
    let mut heard = 0;
    for piece in [first, second] {
        let read = decoder.read(piece, |_| {
            heard += 1;
            Ok::<(), ProtocolError>(())
        });
        assert_eq!(read, Ok(()));
    }
    assert_eq!((heard, decoder.begun.capacity()), (1, 0));
}

/// Goal: invalid frames end the connection with the standard's code. Method: one violation each; the last ones are refused
/// by their headers alone.
#[test]
fn offences_have_their_codes() {
    let key = [7; 4];
    let unmasked = [0x81, 1, b'3'].to_vec();
    let begun = frame(0x01, key, b"a");
    let far_too_long = [&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &key].concat();
    let cases = [
        (unmasked, 1002),
        (frame(0xc1, key, b"3"), 1002),
        (frame(0x83, key, b"3"), 1002),
        (frame(0x8b, key, b""), 1002),
        (frame(0x80, key, b"b"), 1002),
        ([begun.clone(), frame(0x81, key, b"b")].concat(), 1002),
        (frame(0x09, key, b""), 1002),
        (frame(0x89, key, &[0; 126])[..8].to_vec(), 1002),
        (frame(0x81, key, &[0xff]), 1007),
        ([frame(0x01, key, &[0xc3]), frame(0x80, key, b"a")].concat(), 1007),
        (frame(0x81, key, &[b'a'; BYTES_MAX + 1])[..8].to_vec(), 1009),
        ([begun, frame(0x80, key, &[b'a'; BYTES_MAX])[..8].to_vec()].concat(), 1009),
        (far_too_long, 1009),
    ];
    for (bytes, code) in cases {
        let (heard, read) = hear(&bytes, &[]);
        let read = read.map_err(ProtocolError::close_code);
        assert_eq!((heard, read), (Vec::new(), Err(code)), "{bytes:?}");
    }
}
