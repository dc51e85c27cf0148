//! Reads files of keys: a JSON Web Key Set, public keys in PEM, or a secret.

use super::{
    jwk::{self, BadSet, Publicity, UnusedKey},
    keys::{BadKey, Key, KeySet},
    pem::{self, BadPem},
    secret::{self, BadSecret},
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
    /// It is neither a set nor PEM, and no secret either.
    #[error("{0} (it is neither PEM nor a JSON Web Key Set)")]
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
        vec![Key::secret(without_line_break(contents)).map_err(BadKeyFile::Secret)?]
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

/// Why a file has no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSecretFile {
    /// It is too long.
    #[error("it has more than {KEY_FILE_BYTES_MAX} bytes")]
    TooLong,
    /// It is no secret.
    #[error("{0}")]
    Secret(BadSecret),
}

/// The secret in a file, by the same rules as one that verifies tokens.
///
/// # Errors
/// If it is none.
pub fn secret(contents: &[u8]) -> Result<&[u8], BadSecretFile> {
    if contents.len() > KEY_FILE_BYTES_MAX {
        return Err(BadSecretFile::TooLong);
    }
    let secret = without_line_break(contents);
    secret::check(secret).map_err(BadSecretFile::Secret).map(|()| secret)
}

/// The contents of a file without the line break at the end of a text. Programs that read the same secret from a variable do not
/// have it.
fn without_line_break(contents: &[u8]) -> &[u8] {
    if str::from_utf8(contents).is_err() {
        return contents;
    }
    let line = contents.strip_suffix(b"\n").unwrap_or(contents);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
#[path = "key_file/tests.rs"]
mod tests;
