//! Decodes the body of a post: Engine.IO packets with separators between them.
//!
//! The body is read piece by piece. At most the unfinished packet is held in memory.

use super::decoder::ProtocolError;

/// The separator between two packets of a payload.
pub const SEPARATOR: u8 = 0x1e;
/// The first byte of a binary packet. Its bytes follow in Base64.
const BINARY: u8 = b'b';

/// A packet of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A text packet.
    Text(&'a str),
    /// A binary packet, whose bytes nothing needs.
    Binary,
}

/// Decodes one body.
#[derive(Debug)]
pub struct PayloadDecoder {
    /// The most bytes of a body.
    bytes_max: usize,
    bytes: usize,
    begun: Vec<u8>,
}

impl PayloadDecoder {
    /// A decoder for a body of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, begun: Vec::new() }
    }

    /// Decodes a piece of the body and calls `receive` for every packet that it completes.
    ///
    /// # Errors
    /// [`ProtocolError`] if the body is too long or not text, or the error of `receive`. The decoder must not be used after an
    /// error.
    pub fn read<E: From<ProtocolError>>(
        &mut self,
        mut piece: &[u8],
        mut receive: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.bytes > self.bytes_max {
            return Err(ProtocolError::TooLong.into());
        }
        while let Some(end) = piece.iter().position(|&byte| byte == SEPARATOR) {
            self.begun.extend_from_slice(&piece[..end]);
            receive(part(&self.begun)?)?;
            self.begun.clear();
            piece = &piece[end + 1..];
        }
        self.begun.extend_from_slice(piece);
        Ok(())
    }

    /// Ends the body, which completes its last packet. An empty body is one empty packet.
    ///
    /// # Errors
    /// The same as of [`PayloadDecoder::read`].
    pub fn finish<E: From<ProtocolError>>(
        self,
        mut receive: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        receive(part(&self.begun)?)
    }
}

fn part(packet: &[u8]) -> Result<Part<'_>, ProtocolError> {
    if packet.first() == Some(&BINARY) {
        return Ok(Part::Binary);
    }
    str::from_utf8(packet).map(Part::Text).map_err(|_| ProtocolError::NotText)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &[u8], pieces: &[usize], bytes_max: usize) -> Result<Vec<String>, ProtocolError> {
        let mut decoder = PayloadDecoder::new(bytes_max);
        let mut packets = Vec::new();
        let mut receive = |part: Part<'_>| {
            packets.push(match part {
                Part::Text(text) => text.to_owned(),
                Part::Binary => String::from("(binary)"),
            });
            Ok(())
        };
        let mut rest = body;
        for &piece in pieces {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            decoder.read(now, &mut receive)?;
            rest = later;
        }
        decoder.read(rest, &mut receive)?;
        decoder.finish(&mut receive)?;
        Ok(packets)
    }

    /// Goal: the packets of a body come out unchanged. Method: bodies as clients send them, and invalid ones.
    #[test]
    fn packets_are_separated() {
        assert_eq!(read(b"40", &[], 99).unwrap(), ["40"]);
        assert_eq!(read(b"3\x1e40{}\x1ebAQID", &[], 99).unwrap(), ["3", "40{}", "(binary)"]);
        assert_eq!(read(b"", &[], 99).unwrap(), [""]);
        assert_eq!(read(b"3\x1e", &[], 99).unwrap(), ["3", ""]);
        assert_eq!(read(b"42[\"\xff\"]", &[], 99).unwrap_err(), ProtocolError::NotText);
        assert_eq!(read(b"12345", &[], 5).unwrap(), ["12345"]);
        assert_eq!(read(b"123456", &[], 5).unwrap_err(), ProtocolError::TooLong);
    }

    proptest! {
        /// Goal: a body gives the same packets in whatever pieces it arrives. Method: random bodies, whole and in random
        /// pieces.
        #[test]
        fn pieces_do_not_matter(
            body in "[34ä\u{1e}b\\[\\]]{0,40}",
            pieces in proptest::collection::vec(0usize..9, 0..9),
        ) {
            prop_assert_eq!(read(body.as_bytes(), &pieces, 200), read(body.as_bytes(), &[], 200));
        }

        /// Goal: no bytes cause a panic, and the limit of the length holds. Method: random bytes.
        #[test]
        fn any_bytes_may_come(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let read = read(&body, &[7, 9], 40);
            prop_assert!(read.is_err() || body.len() <= 40);
            prop_assert!(read != Err(ProtocolError::TooLong) || body.len() > 40);
        }
    }
}
