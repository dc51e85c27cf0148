//! The count as bytes on a websocket, and where in a stream of bytes one websocket frame ends and the next
//! begins. Pure: it knows neither sockets nor who writes.

use std::ops::Range;

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
/// A ping of Engine.IO, which is a text.
pub const PING: &[u8] = &[TEXT, 1, b'2'];
/// The longest header of a frame that is not masked; a server's frames never are.
const HEADER_BYTES_MAX: usize = 10;

/// What the answer that begins a websocket starts with.
const SWITCHING: &[u8] = b"HTTP/1.1 101";
/// What ends the head of any answer.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// The frame of a text message.
pub fn text(payload: &str) -> Vec<u8> {
    let mut frame = match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => vec![TEXT, length],
        (_, Ok(length)) => [&[TEXT, 126], &length.to_be_bytes()[..]].concat(),
        _ => [&[TEXT, 127], &(payload.len() as u64).to_be_bytes()[..]].concat(),
    };
    frame.extend_from_slice(payload.as_bytes());
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

    /// What goes over the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Where in what was written to a connection its writer is. It is shown every byte that was taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    position: Position,
}

#[derive(Clone, Copy, Debug, Default)]
enum Position {
    /// Answers to ordinary requests, which are not looked at.
    #[default]
    Http,
    /// The answer that begins the websocket is about to be written: so much of its first words has passed.
    Answer { matched: u8 },
    /// Its head is being written: so much of the head's end has passed.
    Head { matched: u8 },
    /// So much of a frame's header has passed; at 0 one frame has ended and none has begun.
    Header { bytes: [u8; HEADER_BYTES_MAX], length: u8 },
    /// So much of a frame's payload is left, and so much of it was as a count's payload begins. There is one of
    /// these for each connection, so it is small.
    Payload { left: u64, matched: u8, first: u8 },
}

/// The boundary between two frames.
const BOUNDARY: Position = Position::Header { bytes: [0; HEADER_BYTES_MAX], length: 0 };

/// What passed completely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// A frame with a count.
    pub count: bool,
    /// The frame after which nothing may follow.
    pub close: bool,
}

impl Scan {
    /// The next answer begins the websocket.
    pub fn begin_websocket(&mut self) {
        if matches!(self.position, Position::Http) {
            self.position = Position::Answer { matched: 0 };
        }
    }

    /// The answer has been written: from here on there are frames.
    pub fn begin_frames(&mut self) {
        self.position = BOUNDARY;
    }

    /// Whether no websocket has begun.
    pub fn is_http(&self) -> bool {
        matches!(self.position, Position::Http | Position::Answer { .. } | Position::Head { .. })
    }

    /// Whether a frame of somebody else may be written now.
    pub fn at_boundary(&self) -> bool {
        matches!(self.position, Position::Header { length: 0, .. })
    }

    /// These bytes were written.
    pub fn advance(&mut self, mut bytes: &[u8]) -> Passed {
        let mut passed = Passed::default();
        while let Some(&byte) = bytes.first() {
            let mut taken = 1;
            self.position = match self.position {
                Position::Http => return passed,
                Position::Answer { matched } => match step(SWITCHING, matched, byte) {
                    Some(matched) => Position::Answer { matched },
                    None => Position::Head { matched: 0 },
                },
                Position::Head { matched } => match step(HEAD_END, matched, byte) {
                    Some(matched) => Position::Head { matched },
                    None => BOUNDARY,
                },
                Position::Header { bytes: mut header, length } => {
                    header[usize::from(length)] = byte;
                    match Header::parse(&header[..=usize::from(length)]) {
                        None => Position::Header { bytes: header, length: length + 1 },
                        Some(header) => header.payload_begins(),
                    }
                }
                Position::Payload { left, matched, first } => {
                    taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let matched = also_matched(matched, &bytes[..taken]);
                    match left - taken as u64 {
                        0 => {
                            passed.count |=
                                first == TEXT && usize::from(matched) == COUNT_START.len();
                            passed.close |= first & 0x0f == CLOSE;
                            BOUNDARY
                        }
                        left => Position::Payload { left, matched, first },
                    }
                }
            };
            bytes = &bytes[taken..];
        }
        passed
    }

    /// Where in `bytes`, which are to be written next, the first whole frame with a count lies.
    pub fn first_count(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let mut start = match &self.position {
            Position::Payload { left, .. } => usize::try_from(*left).ok()?,
            Position::Header { length: 0, .. } => 0,
            Position::Header { bytes: begun, length } => {
                let length = usize::from(*length);
                let mut whole = *begun;
                let more = bytes.len().min(HEADER_BYTES_MAX - length);
                whole[length..length + more].copy_from_slice(&bytes[..more]);
                let header = Header::parse(&whole[..length + more])?;
                let end = header.length.checked_add(usize::try_from(header.payload).ok()?)?;
                end.saturating_sub(length)
            }
            _ => return None,
        };
        while start < bytes.len() {
            let header = Header::parse(&bytes[start..])?;
            let payload = start + header.length;
            let end = payload.checked_add(usize::try_from(header.payload).ok()?)?;
            let is_count =
                header.first == TEXT && bytes.get(payload..end)?.starts_with(COUNT_START);
            if is_count {
                return Some(start..end);
            }
            start = end;
        }
        None
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug)]
struct Header {
    /// Its first byte: what kind of frame, and whether it is the whole message.
    first: u8,
    /// Bytes of the header itself.
    length: usize,
    /// Bytes that follow it.
    payload: u64,
}

impl Header {
    /// Reads it from the start of `bytes`; `None` if there is more of it to come.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&first, &short) = (bytes.first()?, bytes.get(1)?);
        let (length, payload) = match short & 0x7f {
            126 => (4, bytes.get(2..4)?),
            127 => (10, bytes.get(2..10)?),
            _ => return Some(Self { first, length: 2, payload: u64::from(short & 0x7f) }),
        };
        let payload = payload.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        Some(Self { first, length, payload })
    }

    fn payload_begins(self) -> Position {
        match self.payload {
            0 => BOUNDARY,
            left => Position::Payload { left, matched: 0, first: self.first },
        }
    }
}

/// How much of `pattern` has passed after `byte`; `None` once all of it has. It starts over wherever it does not
/// go on, which finds patterns in which the first byte can only begin them anew.
fn step(pattern: &[u8], matched: u8, byte: u8) -> Option<u8> {
    let goes_on = pattern[usize::from(matched)] == byte;
    let matched = if goes_on { matched + 1 } else { u8::from(pattern[0] == byte) };
    (usize::from(matched) < pattern.len()).then_some(matched)
}

/// How much of a count's payload has passed after these bytes of a payload of which so much had.
fn also_matched(matched: u8, bytes: &[u8]) -> u8 {
    let Some(expected) = COUNT_START.get(usize::from(matched)..) else { return NO_COUNT };
    let compared = expected.len().min(bytes.len());
    if expected[..compared] != bytes[..compared] {
        return NO_COUNT;
    }
    matched + u8::try_from(compared).unwrap_or(NO_COUNT)
}

/// The payload is another's: nothing to come makes it a count's.
const NO_COUNT: u8 = u8::MAX;

#[cfg(test)]
#[path = "frame/tests.rs"]
mod tests;
