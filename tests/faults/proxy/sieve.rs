//! Takes single messages out of what Redis sends to a subscriber.
//!
//! Bytes are held back until they are a complete value of the protocol.

/// The bytes of one subscription that are not complete yet.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    unread: Vec<u8>,
}

/// How many bytes at the beginning of a message contain its kind and its channel.
const HEAD_BYTES: usize = 64;

impl Sieve {
    /// The complete values in `bytes` and what was held back before, but those that `drops` chooses.
    pub(super) fn pass(&mut self, bytes: &[u8], mut drops: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
        self.unread.extend_from_slice(bytes);
        let (mut passed, mut read) = (Vec::new(), 0);
        while let Some(length) = value_length(&self.unread[read..]) {
            let value = &self.unread[read..read + length];
            if !drops(value) {
                passed.extend_from_slice(value);
            }
            read += length;
        }
        self.unread.drain(..read);
        passed
    }
}

/// Whether a value is a message of the channel of rooms.
pub(super) fn is_of_rooms(value: &[u8]) -> bool {
    let head = &value[..value.len().min(HEAD_BYTES)];
    super::contains(head, b"message") && super::contains(head, b"user count:rooms")
}

/// The length of the value at the beginning, or `None` while it is incomplete.
fn value_length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' => {
            let rest = number().map_or(0, |length| if length < 0 { 0 } else { length + 2 });
            let end = line + usize::try_from(rest).expect("it is not negative");
            (bytes.len() >= end).then_some(end)
        }
        kind @ (b'*' | b'>' | b'%') => {
            let values = number().unwrap_or(0).max(0) * if kind == b'%' { 2 } else { 1 };
            (0..values).try_fold(line, |end, _| Some(end + value_length(&bytes[end..])?))
        }
        _ => Some(line),
    }
}
