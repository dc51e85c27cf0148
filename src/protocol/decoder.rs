//! Decodes the bytes of a websocket into messages. It knows nothing of what the messages mean.
//!
//! Between messages it holds no memory, so a client that only listens costs none.

use std::{io::Cursor, mem};

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// A message or control frame of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A complete text message.
    Text(&'a str),
    /// A complete binary message, whose bytes nothing needs.
    Binary,
    /// A ping frame, to be answered with the same bytes.
    Ping(&'a [u8]),
    /// A pong frame.
    Pong,
    /// A close frame, which is the last one.
    Close,
}

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The bytes are not valid frames of a websocket client.
    NoFrame,
    /// A text message is not UTF-8.
    NotText,
    /// A message is longer than allowed.
    TooLong,
}

impl ProtocolError {
    /// The status code of the close frame (RFC 6455, section 7.4.1).
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

/// Decodes the bytes of one websocket.
#[derive(Debug)]
pub struct FrameDecoder {
    /// The most bytes of a message.
    message_bytes_max: usize,
    /// The bytes of a frame that is not complete yet.
    begun: Vec<u8>,
    /// The payload so far of a message in several frames, and what its first frame said it is: text or binary.
    parts: Option<(Vec<u8>, Data)>,
}

impl FrameDecoder {
    /// A decoder for messages of at most `message_bytes_max` bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self { message_bytes_max, begun: Vec::new(), parts: None }
    }

    /// Decodes bytes and calls `receive` for every message that they complete. The bytes are unmasked in place.
    ///
    /// # Errors
    /// [`ProtocolError`] if the bytes are not valid, or the error of `receive`. The decoder must not be used after an error.
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

    /// Decodes the complete frames; returns the number of their bytes.
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

    /// Checks a frame by its header, before its payload takes memory.
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
        let data = match header.opcode {
            OpCode::Control(Control::Ping) => return receive(Incoming::Ping(payload)),
            OpCode::Control(Control::Pong) => return receive(Incoming::Pong),
            OpCode::Control(_) => return receive(Incoming::Close),
            OpCode::Data(data) => data,
        };
        if header.is_final && data != Data::Continue {
            return receive(message(payload, data)?);
        }
        let (parts, begun_as) = self.parts.get_or_insert_with(|| (Vec::new(), data));
        parts.extend_from_slice(payload);
        if header.is_final {
            let (whole, begun_as) = (mem::take(parts), *begun_as);
            self.parts = None;
            return receive(message(&whole, begun_as)?);
        }
        Ok(())
    }
}

fn message(payload: &[u8], data: Data) -> Result<Incoming<'_>, ProtocolError> {
    if data == Data::Text {
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
