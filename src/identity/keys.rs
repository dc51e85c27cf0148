//! Keys that verify tokens, each checked and bound to one algorithm.

use std::{fmt, sync::Arc};

use jsonwebtoken::DecodingKey;

use super::{
    algorithm::Algorithm,
    point,
    secret::{self, BadSecret},
};

/// The shortest modulus of an RSA key, in bits: NIST SP 800-131A allows no shorter one.
pub const RSA_BITS_MIN: usize = 2048;
/// The longest modulus of an RSA key, in bits. Verifying with it takes some ten times as long as with the shortest.
pub const RSA_BITS_MAX: usize = 8192;
/// The most keys of one algorithm that are tried on a token without a usable key id. Each costs the time of a signature, and
/// a rotation needs two.
pub const TRIED_MAX: usize = 4;

/// The least public exponent of an RSA key. Every even one and 1 are no exponents.
const RSA_EXPONENT_MIN: u64 = 3;
/// The bytes of the public exponent of an RSA key, at most. ring accepts up to 33 bits.
const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// A key that verifies tokens. Its `Debug` output does not contain it.
#[derive(Clone)]
pub struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    /// The file that it comes from, as the settings name it.
    file: Option<Arc<str>>,
    decoding: DecodingKey,
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Its modulus is too short or too long.
    #[error("the RSA key has {0} bits; allowed are {RSA_BITS_MIN} to {RSA_BITS_MAX}")]
    RsaBits(usize),
    /// Its modulus or exponent is no such number.
    #[error("the RSA key's modulus or exponent is wrong")]
    RsaNumbers,
    /// It is no point of the curve.
    #[error("the key is no point of the curve P-256")]
    Point,
    /// It has the wrong length.
    #[error("an Ed25519 key has 32 bytes")]
    Ed25519,
    /// It is no secret.
    #[error("{0}")]
    Secret(BadSecret),
}

impl Key {
    /// An RSA public key: modulus and exponent, as bytes with the highest first.
    ///
    /// # Errors
    /// If it is too weak, or no key.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, BadKey> {
        let [modulus, exponent] = [modulus, exponent].map(without_leading_zeros);
        let first = modulus.first().copied().unwrap_or(0);
        let bits = (modulus.len() * 8).saturating_sub(first.leading_zeros() as usize % 8);
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(BadKey::RsaBits(bits));
        }
        let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
        let value = exponent.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte));
        let fits = exponent.len() <= RSA_EXPONENT_BYTES_MAX && value >= RSA_EXPONENT_MIN;
        if !fits || !is_odd(modulus) || !is_odd(exponent) {
            return Err(BadKey::RsaNumbers);
        }
        let key = DecodingKey::from_rsa_raw_components(modulus, exponent);
        Ok(Self::new(Algorithm::Rs256, key))
    }

    /// A public key on the curve P-256: an uncompressed point of 65 bytes.
    ///
    /// # Errors
    /// If it is no point of the curve.
    pub(super) fn p256(point: &[u8]) -> Result<Self, BadKey> {
        if !point::is_p256(point) {
            return Err(BadKey::Point);
        }
        let key = DecodingKey::from_ec_der(point);
        Ok(Self::new(Algorithm::Es256, key))
    }

    /// An Ed25519 public key.
    ///
    /// # Errors
    /// If it has the wrong length.
    pub(super) fn ed25519(point: &[u8]) -> Result<Self, BadKey> {
        if point.len() != 32 {
            return Err(BadKey::Ed25519);
        }
        let key = DecodingKey::from_ed_der(point);
        Ok(Self::new(Algorithm::EdDsa, key))
    }

    /// A secret that the issuer shares.
    ///
    /// # Errors
    /// If it is too short, or something else than a secret.
    pub(super) fn secret(secret: &[u8]) -> Result<Self, BadKey> {
        secret::check(secret).map_err(BadKey::Secret)?;
        Ok(Self::new(Algorithm::Hs256, DecodingKey::from_secret(secret)))
    }

    fn new(algorithm: Algorithm, decoding: DecodingKey) -> Self {
        Self { id: None, algorithm, file: None, decoding }
    }

    /// The same key with an id, by which tokens name it.
    pub(super) fn with_id(self, id: Option<String>) -> Self {
        Self { id: id.map(String::into_boxed_str), ..self }
    }

    /// The same key, read from a file.
    pub(crate) fn of_file(self, file: &Arc<str>) -> Self {
        Self { file: Some(Arc::clone(file)), ..self }
    }

    /// The file that it comes from, as the settings name it.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The id by which tokens name it.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The only algorithm that it is used with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// Keys from one source.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// A set of these keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// All keys.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }
}
