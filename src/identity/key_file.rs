//! Reads files of keys: a JSON Web Key Set, public keys in PEM, or a secret.

use super::{
    jwk::{self, BadSet, Publicity, UnusedKey},
    keys::{BadKey, Key, KeySet},
    pem::{self, BadPem},
};

/// The longest file of keys, in bytes. The sets of large issuers have about 20 kB.
pub const KEY_FILE_BYTES_MAX: usize = 256 * 1024;

/// Why a file of keys is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeyFile {
    /// It is too long.
    #[error("it has more than {KEY_FILE_BYTES_MAX} bytes")]
    TooLong,
    /// It looks like JSON, and is no set of keys.
    #[error("{0}")]
    Set(BadSet),
    /// A key of a set is refused.
    #[error("key {0} of the set: {1}")]
    Key(usize, UnusedKey),
    /// A set has no key for verifying.
    #[error("it has no key that verifies RS256, ES256, EdDSA or HS256")]
    NoKey,
    /// It looks like PEM, and is refused.
    #[error("{0}")]
    Pem(BadPem),
    /// It is taken for a secret, and is none.
    #[error("{0}, and it is neither PEM nor a JSON Web Key Set")]
    Secret(BadKey),
}

/// The keys of a file: a set if it begins with `{`, PEM if it has a line `-----BEGIN`, and a secret otherwise.
///
/// # Errors
/// If a key in it cannot be used.
pub fn read(contents: &[u8]) -> Result<KeySet, BadKeyFile> {
    if contents.len() > KEY_FILE_BYTES_MAX {
        return Err(BadKeyFile::TooLong);
    }
    let text = contents.trim_ascii_start();
    let keys = if text.starts_with(b"{") {
        set(text)?
    } else if contents.windows(11).any(|bytes| bytes == b"-----BEGIN ") {
        pem::read(contents).map_err(BadKeyFile::Pem)?
    } else {
        vec![Key::secret(secret(contents)).map_err(BadKeyFile::Secret)?]
    };
    Ok(KeySet::new(keys))
}

fn set(json: &[u8]) -> Result<Vec<Key>, BadKeyFile> {
    let set = jwk::read(json, Publicity::Private).map_err(BadKeyFile::Set)?;
    if let Some((number, why)) = set.unused.into_iter().find(|(_, why)| why.is_mistake()) {
        return Err(BadKeyFile::Key(number, why));
    }
    if set.keys.is_empty() { Err(BadKeyFile::NoKey) } else { Ok(set.keys) }
}

/// The secret in a file. The line break at the end of a text is not part of it: programs that read the same secret from a
/// variable do not have it.
pub fn secret(contents: &[u8]) -> &[u8] {
    if str::from_utf8(contents).is_err() {
        return contents;
    }
    let line = contents.strip_suffix(b"\n").unwrap_or(contents);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
#[path = "key_file/tests.rs"]
mod tests;
