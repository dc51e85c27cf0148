//! Valid input made invalid, for the tests of everything that reads what comes from outside. It knows no format.

use proptest::{collection::vec, prelude::*, sample::Index};

/// The most that happens to one input: more would leave little of it.
const MUTATIONS_MAX: usize = 4;

/// What readers stumble over: ends and separators of all formats, and numbers beyond every range.
const PIECES: &[&[u8]] = &[
    b"\0",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\"",
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b";",
    b"=",
    b"&",
    b"?",
    b"#",
    b"/",
    b"//",
    b"\\",
    b"@",
    b"%",
    b"%00",
    b"%2",
    b"+",
    b"-",
    b".",
    b"e9",
    b"0",
    b"1",
    b"NaN",
    b"null",
    b"\x1e",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc3\xa9",
    b"\xef\xbf\xbf",
    b"4294967296",
    b"9007199254740991",
    b"18446744073709551616",
];

/// One change.
#[derive(Clone, Debug)]
enum Mutation {
    Flip { at: Index, bit: u8 },
    Insert { at: Index, piece: Vec<u8> },
    Remove { at: Index, length: usize },
    Repeat { at: Index, length: usize },
    Cut { at: Index },
}

/// The input as it is, or with up to four changes.
pub fn mutated(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (valid, vec(mutation(), 0..=MUTATIONS_MAX)).prop_map(|(bytes, mutations)| {
        mutations.iter().fold(bytes, |bytes, mutation| mutation.apply(bytes))
    })
}

/// The same for text: what is no text any more becomes question marks.
pub fn mutated_text(valid: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    mutated(valid.prop_map(String::into_bytes))
        .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let piece = prop_oneof![
        3 => proptest::sample::select(PIECES).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 1..5),
    ];
    prop_oneof![
        (at(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        (at(), piece).prop_map(|(at, piece)| Mutation::Insert { at, piece }),
        (at(), 1_usize..9).prop_map(|(at, length)| Mutation::Remove { at, length }),
        (at(), 1_usize..30).prop_map(|(at, length)| Mutation::Repeat { at, length }),
        at().prop_map(|at| Mutation::Cut { at }),
    ]
}

impl Mutation {
    fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Insert { at, piece } => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, piece.iter().copied());
            }
            _ if bytes.is_empty() => {}
            Self::Flip { at, bit } => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Remove { at, length } => {
                let at = at.index(bytes.len());
                bytes.drain(at..bytes.len().min(at + length));
            }
            Self::Repeat { at, length } => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + length);
                let again = bytes[at..end].to_vec();
                bytes.splice(end..end, again);
            }
            Self::Cut { at } => bytes.truncate(at.index(bytes.len())),
        }
        bytes
    }
}
