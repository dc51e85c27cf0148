//! What can be a secret: bytes that nobody can guess and that are nothing else. A file with a public key must never be taken for
//! one, since everybody who has the public key could then sign tokens.

use std::{borrow::Cow, ops::RangeInclusive};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::IgnoredAny;
use spki::der::{self, Decode, Reader, Tag, Tagged, asn1::AnyRef};

use super::point;

/// The length of a secret, in bytes. The shortest is as long as the hash (RFC 7518, section 3.2). Longer ones than 64 bytes add
/// nothing (RFC 2104, section 3); the bound leaves room for those of generators that make very long ones.
pub const SECRET_BYTES: RangeInclusive<usize> = 32..=4096;
/// The least number of different bytes in a secret. One of 32 random digits, the poorest in use, has fewer once in a billion times.
const DIFFERENT_BYTES_MIN: usize = 5;

/// The least share of printable ASCII, in percent, from which on bytes are looked at as text, whatever else is between them: a page
/// in Latin-1, for example. Of 32 random bytes 38 percent are printable, and 90 percent once in ten billion times.
const PRINTABLE_PERCENT_MIN: usize = 90;

/// What a file that begins with a mark holds. Of random bytes one in millions begins so.
const MARKS: [(&[u8], &str); 5] = [
    (b"\xef\xbb\xbf", "a text with a byte order mark (save it as UTF-8 without one)"),
    (b"\x1f\x8b\x08", "a compressed file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\xfe\xed\xfe\xed", "a keystore of Java"),
    (b"openssh-key-v1", "a private key of OpenSSH"),
];
/// What a text holds that begins so.
const BEGINNINGS: [(char, &str); 3] = [
    ('{', "JSON"),
    ('[', "a list in JSON (a JSON Web Key Set is an object with a list \"keys\")"),
    ('<', "HTML or XML"),
];
/// What a text holds that contains one of these.
const SIGNS: [(&str, &str); 5] = [
    ("-----BEGIN", "a key or a certificate in PEM, and damaged"),
    ("-----END", "a key or a certificate in PEM, and damaged"),
    ("---- BEGIN", "a key in the format of SSH"),
    ("PuTTY-User-Key-File", "a key in the format of PuTTY"),
    ("://", "an address (addresses of keys belong into HEADCOUNT_JWT_KEYS itself)"),
];
/// The kinds of keys that OpenSSH knows begin so, after their length.
const SSH_KINDS: [&[u8]; 4] = [b"ssh-", b"ecdsa-sha2-", b"sk-ssh-", b"sk-ecdsa-"];

/// What OpenSSH calls a public key.
const SSH: &str =
    "a key of OpenSSH (ssh-keygen -e -m PKCS8 -f FILE makes PEM of an RSA or P-256 one)";
/// A key or a certificate in DER.
const DER: &str =
    "a key or a certificate in DER (openssl pkey -pubin -inform DER makes PEM of a public key)";
/// A point of an elliptic curve.
const POINT: &str = "a public key on the curve P-256";
/// Keys in JSON, wherever in the text they are.
const JWK: &str = "a JSON Web Key in another form than a JSON Web Key Set";
/// A token.
const TOKEN: &str = "a token (JWT), and not the key that verifies it";
/// Something with many zeros between its bytes.
const WIDE: &str = "a text in UTF-16 or UTF-32 (save it as UTF-8)";

/// Decodes base64 in both alphabets, with padding or without.
const BASE64: [GeneralPurpose; 2] = {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    [
        GeneralPurpose::new(&alphabet::STANDARD, config),
        GeneralPurpose::new(&alphabet::URL_SAFE, config),
    ]
};

/// Why bytes are no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// It is too short.
    #[error("the secret has {0} bytes; at least {min} are needed", min = SECRET_BYTES.start())]
    Short(usize),
    /// It is too long.
    #[error("the secret has {0} bytes; at most {max} are allowed", max = SECRET_BYTES.end())]
    Long(usize),
    /// Somebody could guess it.
    #[error(
        "the secret has hardly any different bytes, so that it can be guessed; `openssl rand -base64 48` makes one"
    )]
    Uniform,
    /// It has several lines, which are not base64.
    #[error("it is a text of several lines, and so no secret; `openssl rand -base64 48` makes one")]
    Lines,
    /// It is something else.
    #[error("it looks like {0}, and so it is no secret; `openssl rand -base64 48` makes one")]
    Other(&'static str),
}

/// Checks that bytes can be a secret: 32 to 4096 bytes, some of them different, that are nothing else.
///
/// # Errors
/// What is wrong with them, or what they look like.
pub fn check(bytes: &[u8]) -> Result<(), BadSecret> {
    let is_long_enough = bytes.len() >= *SECRET_BYTES.start();
    if is_long_enough && has_few_different(bytes) {
        return Err(BadSecret::Uniform);
    }
    if let Some(other) = other(bytes) {
        return Err(BadSecret::Other(other));
    }
    if !is_long_enough {
        return Err(BadSecret::Short(bytes.len()));
    }
    if bytes.len() > *SECRET_BYTES.end() {
        return Err(BadSecret::Long(bytes.len()));
    }
    if text(bytes).is_some_and(|text| has_lines(&text)) { Err(BadSecret::Lines) } else { Ok(()) }
}

fn has_few_different(bytes: &[u8]) -> bool {
    let mut is_there = [false; 256];
    for byte in bytes {
        is_there[usize::from(*byte)] = true;
    }
    is_there.iter().filter(|there| **there).count() < DIFFERENT_BYTES_MIN
}

/// What bytes are, if they are clearly no secret.
fn other(bytes: &[u8]) -> Option<&'static str> {
    plain(bytes).or_else(|| {
        let text = text(bytes)?;
        // Base64 may be broken into lines.
        let whole: String = text.split_whitespace().collect();
        text.split_whitespace().chain([&*whole]).find_map(encoded)
    })
}

/// What bytes are as they stand.
fn plain(bytes: &[u8]) -> Option<&'static str> {
    if let Some((_, what)) = MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Some(what);
    }
    if let Some(text) = text(bytes) {
        let begins = |mark: char| text.trim_start().starts_with(mark);
        let beginning = BEGINNINGS.iter().find(|(mark, _)| begins(*mark));
        let sign = || SIGNS.iter().find(|(sign, _)| text.contains(sign)).map(|(_, what)| *what);
        let key = || names_a_kind(&text).then_some(JWK);
        return key().or_else(|| beginning.map(|(_, what)| *what)).or_else(sign);
    }
    let zeros = bytes.split(|byte| *byte == 0).count() - 1;
    if zeros * 4 >= bytes.len() {
        return Some(WIDE);
    }
    if is_der(bytes).is_ok() {
        return Some(DER);
    }
    let kind = bytes.get(4..).filter(|_| bytes[..3] == [0; 3]);
    if kind.is_some_and(|kind| SSH_KINDS.iter().any(|known| kind.starts_with(known))) {
        return Some(SSH);
    }
    point::is_p256(bytes).then_some(POINT)
}

/// What a word stands for.
fn encoded(word: &str) -> Option<&'static str> {
    let word = word.trim_matches(['"', '\'', ',', ';', '`']);
    if is_token(word) {
        return Some(TOKEN);
    }
    let decoded = BASE64.iter().filter_map(|base64| base64.decode(word).ok());
    // Short words stand for bytes that look like anything.
    let is_long = |bytes: &Vec<u8>| bytes.len() >= *SECRET_BYTES.start();
    decoded.chain(hex(word)).filter(is_long).find_map(|bytes| plain(&bytes))
}

/// Whether a word has the parts of a token, the first of which is an object.
fn is_token(word: &str) -> bool {
    let parts = word.split('.').count();
    let header = word.split('.').next().and_then(|header| BASE64[1].decode(header).ok());
    let is_object = |header: Vec<u8>| {
        header.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(&header).is_ok()
    };
    matches!(parts, 3 | 5) && header.is_some_and(is_object)
}

/// The bytes that hexadecimal digits stand for, with colons between or without.
fn hex(word: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = word
        .chars()
        .filter(|digit| *digit != ':')
        .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    });
    pairs.collect()
}

/// Whether this is one sequence of ASN.1, as keys and certificates are. Of random bytes one in some millions is.
fn is_der(bytes: &[u8]) -> der::Result<()> {
    // A text editor or `echo` may have added a line break.
    let sequence = AnyRef::from_der(bytes).or_else(|_| AnyRef::from_der(bytes.trim_ascii_end()))?;
    sequence.sequence(|inside| {
        let first = AnyRef::decode(inside)?;
        let begins_a_key =
            matches!(first.tag(), Tag::Sequence | Tag::Integer | Tag::ObjectIdentifier);
        while !inside.is_finished() {
            AnyRef::decode(inside)?;
        }
        if begins_a_key { Ok(()) } else { Err(first.tag().value_error().into()) }
    })
}

/// Bytes as text, if they are text, or nearly.
fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let is_text = |character: char| !character.is_control() || character.is_ascii_whitespace();
    if let Ok(text) = str::from_utf8(bytes)
        && text.chars().all(is_text)
    {
        return Some(Cow::Borrowed(text));
    }
    let is_printable = |byte: &&u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    let printable = bytes.iter().filter(is_printable).count();
    let is_mostly_text = printable * 100 >= bytes.len() * PRINTABLE_PERCENT_MIN;
    is_mostly_text.then(|| String::from_utf8_lossy(bytes))
}

/// Whether a text has a member `kty`, as every JSON Web Key has, also in YAML and in scripts.
fn names_a_kind(text: &str) -> bool {
    text.match_indices("kty").any(|(at, name)| {
        let rest = text[at + name.len()..].trim_start_matches(['"', '\'', '\\', ' ']);
        rest.starts_with(':')
    })
}

/// Whether a text has several lines that are more than broken base64, as `openssl rand -base64 64` writes it.
fn has_lines(text: &str) -> bool {
    let is_base64 = |line: &str| {
        let of_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
        !line.is_empty() && line.bytes().all(of_base64)
    };
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    text.contains(['\n', '\r']) && !lines.all(is_base64)
}

#[cfg(test)]
#[path = "secret/tests.rs"]
mod tests;
