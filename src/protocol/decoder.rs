//! What comes in on a websocket: bytes to frames to whole messages. Pure; it answers nothing and knows no packets.
//!
//! Between frames it holds no memory, so that a client which only listens costs none.

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
    /// A whole message of bytes, which nothing here looks at.
    Binary,
    /// A ping of the websocket itself, to be answered with the same bytes.
    Ping(&'a [u8]),
    /// The answer to such a ping.
    Pong,
    /// The last frame.
    Close,
}

/// Why bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// They are no frames of a websocket client.
    NoFrame,
    /// What should be text is not UTF-8.
    NotText,
    /// A message is longer than allowed.
    TooLong,
}

impl ProtocolError {
    /// The status code of RFC 6455, section 7.4.1.
    pub fn close_code(self) -> u16 {
        match self {
            Self::NoFrame => 1002,
            Self::NotText => 1007,
            Self::TooLong => 1009,
        }
    }
}

/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: u64 = 125;

/// Reads the bytes of one connection.
#[derive(Debug)]
pub struct FrameDecoder {
    /// The most bytes of a message.
    message_bytes_max: usize,
    /// A frame that has not come to its end.
    begun: Vec<u8>,
    /// A message in several frames, of which the last has not come, and whether it is text.
    parts: Option<(Vec<u8>, bool)>,
}

impl FrameDecoder {
    /// For messages of at most `message_bytes_max` bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, begun: Vec::new(), parts: None }
    }

    /// Takes in these bytes, and calls `receive` with what they make whole. The bytes are unmasked where they are.
    ///
    /// # Errors
    /// [`ProtocolError`] if they are no websocket's, and whatever `receive` returns. Nothing may be read after either.
    pub fn read<E: From<ProtocolError>>(
        &mut self,
        bytes: &mut [u8],
        mut receive: impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.begun.is_empty() {
            let used = self.read_frames(bytes, &mut receive)?;
            self.begun.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut whole = mem::take(&mut self.begun);
        whole.extend_from_slice(bytes);
        let used = self.read_frames(&mut whole, &mut receive)?;
        whole.drain(..used);
        if !whole.is_empty() {
            self.begun = whole;
        }
        Ok(())
    }

    /// Reads the frames that are whole; returns how many bytes they were.
    fn read_frames<E: From<ProtocolError>>(
        &mut self,
        bytes: &mut [u8],
        receive: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut used = 0;
        loop {
            let mut cursor = Cursor::new(&bytes[used..]);
            let header = FrameHeader::parse(&mut cursor).map_err(|_| ProtocolError::NoFrame)?;
            let Some((header, length)) = header else { return Ok(used) };
            self.check(&header, length)?;
            let (mask, length) = (header.mask.ok_or(ProtocolError::NoFrame)?, to_usize(length)?);
            let start = used + to_usize(cursor.position())?;
            let Some(payload) = bytes.get_mut(start..start + length) else { return Ok(used) };
            for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= mask;
            }
            self.read_frame(&header, payload, receive)?;
            used = start + length;
        }
    }

    /// Whether such a frame may come now. It is judged by its header, before its payload takes memory.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<(), ProtocolError> {
        let extended = header.rsv1 || header.rsv2 || header.rsv3;
        let in_place = match header.opcode {
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => false,
            OpCode::Control(_) => header.is_final && length <= CONTROL_BYTES_MAX,
            OpCode::Data(Data::Continue) => self.parts.is_some(),
            OpCode::Data(_) => self.parts.is_none(),
        };
        if extended || !in_place {
            return Err(ProtocolError::NoFrame);
        }
        let before = self.parts.as_ref().map_or(0, |(parts, _)| parts.len());
        let fits = length <= (self.message_bytes_max - before) as u64;
        if fits || matches!(header.opcode, OpCode::Control(_)) {
            Ok(())
        } else {
            Err(ProtocolError::TooLong)
        }
    }

    fn read_frame<E: From<ProtocolError>>(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        receive: &mut impl FnMut(Incoming<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (data, text) = match header.opcode {
            OpCode::Control(Control::Ping) => return receive(Incoming::Ping(payload)),
            OpCode::Control(Control::Pong) => return receive(Incoming::Pong),
            OpCode::Control(_) => return receive(Incoming::Close),
            OpCode::Data(data) => (data, data == Data::Text),
        };
        if header.is_final && data != Data::Continue {
            return receive(message(payload, text)?);
        }
        let (parts, text) = self.parts.get_or_insert_with(|| (Vec::new(), text));
        parts.extend_from_slice(payload);
        if header.is_final {
            let text = *text;
            let whole = mem::take(parts);
            self.parts = None;
            return receive(message(&whole, text)?);
        }
        Ok(())
    }
}

fn message(payload: &[u8], text: bool) -> Result<Incoming<'_>, ProtocolError> {
    if text {
        str::from_utf8(payload).map(Incoming::Text).map_err(|_| ProtocolError::NotText)
    } else {
        Ok(Incoming::Binary)
    }
}

fn to_usize(length: u64) -> Result<usize, ProtocolError> {
    usize::try_from(length).map_err(|_| ProtocolError::TooLong)
}

#[cfg(test)]
#[path = "decoder/tests.rs"]
mod tests;
