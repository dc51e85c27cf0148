//! The id of a session: where the session is listed, and a secret, so that nobody can guess the id of another client.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// Bytes that cannot be guessed: 88 bits, of the system's random numbers.
const SECRET_BYTES: usize = 11;
const KEY_BYTES: usize = size_of::<u32>();
/// Base64 without padding wants a multiple of three.
const BYTES: usize = SECRET_BYTES + KEY_BYTES;
const _: () = assert!(BYTES.is_multiple_of(3));

/// Names one session of this process. Its text is 20 letters, digits, `-` and `_`, as long as the reference server's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SessionId([u8; BYTES]);

impl SessionId {
    /// A new one, for the session that is listed under `key`.
    pub fn new(key: u32) -> Self {
        let mut bytes = [0; BYTES];
        bytes[..KEY_BYTES].copy_from_slice(&key.to_be_bytes());
        getrandom::fill(&mut bytes[KEY_BYTES..]).expect("the system has random numbers");
        Self(bytes)
    }

    /// Reads the text of one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        let length = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == BYTES).then_some(Self(bytes))
    }

    /// Where the session is listed.
    pub fn key(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// Whoever knows an id may speak for its client, so no log shows one.
impl fmt::Debug for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SessionId({}…)", self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an id is parsed from its own text, and no other text is accepted. Method: ids with several keys, and invalid
    /// texts.
    #[test]
    fn ids_are_read_as_written() {
        for key in [0, 1, 77, u32::MAX] {
            let id = SessionId::new(key);
            let text = id.to_string();
            assert_eq!((text.len(), SessionId::parse(&text), id.key()), (20, Some(id), key));
            assert_ne!(SessionId::new(key), id);
            assert!(!format!("{id:?}").contains(&text));
            for wrong in
                [&text[1..], &format!("{text}AA"), "", "äääääääääääääääääääå", &"*".repeat(20)]
            {
                assert_eq!(SessionId::parse(wrong), None, "{wrong}");
            }
        }
    }
}
