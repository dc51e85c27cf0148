//! What comes in on a websocket of our own: bytes to frames to messages, whole ones. Pure; it answers nothing and
//! knows no packets.
//!
//! Between frames it holds no memory, so that a client who only listens costs none.

use std::{io::Cursor, mem};

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// What a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole message of text.
    Text(&'a str),
    /// A whole message of bytes, which nobody here looks at.
    Binary,
    /// A ping of the websocket itself, to be answered with the same bytes.
    Ping(&'a [u8]),
    /// The answer to such a ping.
    Pong,
    /// The last frame.
    Close,
}

/// Why a connection cannot go on: a status code of RFC 6455, section 7.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mangled(pub u16);

const PROTOCOL_ERROR: Mangled = Mangled(1002);
const NOT_TEXT: Mangled = Mangled(1007);
const TOO_LONG: Mangled = Mangled(1009);

/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: u64 = 125;

/// Takes in the bytes of one connection.
#[derive(Debug)]
pub struct Inlet {
    /// The most bytes of a message.
    message_bytes_max: usize,
    /// A frame that has not come to its end.
    begun: Vec<u8>,
    /// A message in several frames, of which the last has not come, and whether it is text.
    parts: Option<(Vec<u8>, bool)>,
}

impl Inlet {
    /// For messages of at most so many bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, begun: Vec::new(), parts: None }
    }

    /// Takes in these bytes, and calls `hear` with what they make whole. The bytes are unmasked where they are.
    ///
    /// # Errors
    /// [`Mangled`] if they are no websocket's, and whatever `hear` says. Nothing may be read after either.
    pub fn read<E: From<Mangled>>(
        &mut self,
        bytes: &mut [u8],
        mut hear: impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.begun.is_empty() {
            let used = self.read_frames(bytes, &mut hear)?;
            self.begun.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut whole = mem::take(&mut self.begun);
        whole.extend_from_slice(bytes);
        let used = self.read_frames(&mut whole, &mut hear)?;
        whole.drain(..used);
        if !whole.is_empty() {
            self.begun = whole;
        }
        Ok(())
    }

    /// Reads the frames that are whole; returns how many bytes they were.
    fn read_frames<E: From<Mangled>>(
        &mut self,
        bytes: &mut [u8],
        hear: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut used = 0;
        loop {
            let mut cursor = Cursor::new(&bytes[used..]);
            let header = FrameHeader::parse(&mut cursor).map_err(|_| PROTOCOL_ERROR)?;
            let Some((header, length)) = header else { return Ok(used) };
            self.check(&header, length)?;
            let (mask, length) = (header.mask.ok_or(PROTOCOL_ERROR)?, to_usize(length)?);
            let start = used + to_usize(cursor.position())?;
            let Some(payload) = bytes.get_mut(start..start + length) else { return Ok(used) };
            for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= mask;
            }
            self.read_frame(&header, payload, hear)?;
            used = start + length;
        }
    }

    /// Whether such a frame may come now. It is judged by its header, before its payload takes memory.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<(), Mangled> {
        let extended = header.rsv1 || header.rsv2 || header.rsv3;
        let in_place = match header.opcode {
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => false,
            OpCode::Control(_) => header.is_final && length <= CONTROL_BYTES_MAX,
            OpCode::Data(Data::Continue) => self.parts.is_some(),
            OpCode::Data(_) => self.parts.is_none(),
        };
        if extended || !in_place {
            return Err(PROTOCOL_ERROR);
        }
        let before = self.parts.as_ref().map_or(0, |(parts, _)| parts.len());
        let fits = length <= (self.message_bytes_max - before) as u64;
        if fits || matches!(header.opcode, OpCode::Control(_)) { Ok(()) } else { Err(TOO_LONG) }
    }

    fn read_frame<E: From<Mangled>>(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        hear: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (data, text) = match header.opcode {
            OpCode::Control(Control::Ping) => return hear(Incoming::Ping(payload)),
            OpCode::Control(Control::Pong) => return hear(Incoming::Pong),
            OpCode::Control(_) => return hear(Incoming::Close),
            OpCode::Data(data) => (data, data == Data::Text),
        };
        if header.is_final && data != Data::Continue {
            return hear(message(payload, text)?);
        }
        let (parts, text) = self.parts.get_or_insert_with(|| (Vec::new(), text));
        parts.extend_from_slice(payload);
        if header.is_final {
            let text = *text;
            let whole = mem::take(parts);
            self.parts = None;
            return hear(message(&whole, text)?);
        }
        Ok(())
    }
}

fn message(payload: &[u8], text: bool) -> Result<Incoming<'_>, Mangled> {
    if text {
        str::from_utf8(payload).map(Incoming::Text).map_err(|_| NOT_TEXT)
    } else {
        Ok(Incoming::Binary)
    }
}

fn to_usize(length: u64) -> Result<usize, Mangled> {
    usize::try_from(length).map_err(|_| TOO_LONG)
}

#[cfg(test)]
#[path = "inlet/tests.rs"]
mod tests;
