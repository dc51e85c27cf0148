//! Reads sets of keys in JSON (RFC 7517, RFC 8037), as issuers publish them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    algorithm::Algorithm,
    keys::{BadKey, Key},
};

/// The most keys of a set. Large issuers have about ten.
pub(super) const KEYS_MAX: usize = 100;

/// The bytes of a coordinate of the curve P-256.
const COORDINATE_BYTES: usize = 32;

/// A set as it was read: keys that can be used, and why others cannot.
#[derive(Debug, Default)]
pub(super) struct ReadSet {
    /// The keys that can be used.
    pub(super) keys: Vec<Key>,
    /// The others, by their number in the set from 1 on.
    pub(super) unused: Vec<(usize, UnusedKey)>,
}

/// Why a set of keys is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSet {
    /// It is no JSON object with a list `keys`.
    #[error("it is no JSON Web Key Set: an object with a list \"keys\"")]
    NoSet,
    /// It has too many keys.
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
}

/// Why a key of a set is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusedKey {
    /// It is for something else, as many keys of issuers are.
    #[error("it is not for verifying RS256, ES256 or EdDSA")]
    Other,
    /// It is no object, or has a member twice.
    #[error("it is no JSON Web Key: no JSON object, or one with a member that occurs twice")]
    NoObject,
    /// It lacks something.
    #[error("{0} is missing or wrong")]
    Broken(&'static str),
    /// A member that must be a text is something else.
    #[error("{0} is no text: it must be in quotation marks")]
    NoText(&'static str),
    /// What it may be used for is no list.
    #[error("key_ops is no list of texts")]
    Operations,
    /// It is private.
    #[error("it is a private key, which only the issuer should have")]
    Private,
    /// It is a secret in a set that is public.
    #[error("it is a secret, which no public set may contain")]
    Secret,
    /// It is too weak, or no key.
    #[error("{0}")]
    Bad(BadKey),
}

impl UnusedKey {
    /// Whether somebody made a mistake. An issuer may well have keys for other purposes.
    pub(super) fn is_mistake(&self) -> bool {
        *self != Self::Other
    }
}

/// Whether a set is for everybody to read. A secret in it would be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publicity {
    /// It comes from an address.
    Public,
    /// It comes from a file.
    Private,
}

#[derive(Deserialize)]
struct JwkSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// A key with its members as they stand, so that a wrong one can be named.
#[derive(Deserialize)]
struct Jwk {
    kty: Option<Value>,
    kid: Option<Value>,
    alg: Option<Value>,
    #[serde(rename = "use")]
    usage: Option<Value>,
    key_ops: Option<Value>,
    crv: Option<Value>,
    n: Option<Value>,
    e: Option<Value>,
    x: Option<Value>,
    y: Option<Value>,
    k: Option<Value>,
    d: Option<Value>,
}

/// Reads a set.
///
/// # Errors
/// If it is no set at all. Single keys that cannot be used are in the result.
pub(super) fn read(json: &[u8], publicity: Publicity) -> Result<ReadSet, BadSet> {
    let JwkSet { keys } = serde_json::from_slice(json).map_err(|_| BadSet::NoSet)?;
    if keys.len() > KEYS_MAX {
        return Err(BadSet::TooMany);
    }
    let mut set = ReadSet::default();
    for (index, text) in keys.into_iter().enumerate() {
        match read_key(text.get(), publicity) {
            Ok(key) => set.keys.push(key),
            Err(why) => set.unused.push((index + 1, why)),
        }
    }
    Ok(set)
}

fn read_key(json: &str, publicity: Publicity) -> Result<Key, UnusedKey> {
    let jwk: Jwk = serde_json::from_str(json).map_err(|_| UnusedKey::NoObject)?;
    let Some(algorithm) = jwk.algorithm()? else { return Err(UnusedKey::Other) };
    if algorithm != Algorithm::Hs256 && jwk.d.is_some() {
        return Err(UnusedKey::Private);
    }
    let key = match algorithm {
        Algorithm::Rs256 => Key::rsa(&bytes(jwk.n.as_ref(), "n")?, &bytes(jwk.e.as_ref(), "e")?),
        Algorithm::Es256 => Key::p256(&jwk.point()?),
        Algorithm::EdDsa => Key::ed25519(&bytes(jwk.x.as_ref(), "x")?),
        Algorithm::Hs256 if publicity == Publicity::Public => return Err(UnusedKey::Secret),
        Algorithm::Hs256 => Key::secret(&bytes(jwk.k.as_ref(), "k")?),
    };
    let id = text(jwk.kid.as_ref(), "kid")?.map(str::to_owned);
    Ok(key.map_err(UnusedKey::Bad)?.with_id(id))
}

impl Jwk {
    /// The algorithm that the key is for; `None` if it is for another one, or not for verifying.
    fn algorithm(&self) -> Result<Option<Algorithm>, UnusedKey> {
        let kind = text(self.kty.as_ref(), "kty")?.ok_or(UnusedKey::Broken("kty"))?;
        let is_for_signatures =
            text(self.usage.as_ref(), "use")?.is_none_or(|usage| usage == "sig");
        if !is_for_signatures || !self.verifies()? {
            return Ok(None);
        }
        let by_kind = match (kind, text(self.crv.as_ref(), "crv")?) {
            ("RSA", _) => Algorithm::Rs256,
            ("EC", Some("P-256")) => Algorithm::Es256,
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            ("oct", _) => Algorithm::Hs256,
            _ => return Ok(None),
        };
        Ok(match text(self.alg.as_ref(), "alg")? {
            None => Some(by_kind),
            // RFC 9864 names the curve.
            Some("Ed25519") if by_kind == Algorithm::EdDsa => Some(by_kind),
            Some(name) => (name == by_kind.name()).then_some(by_kind),
        })
    }

    /// Whether the key may be used for verifying.
    fn verifies(&self) -> Result<bool, UnusedKey> {
        let Some(operations) = &self.key_ops else { return Ok(true) };
        let names = operations.as_array().ok_or(UnusedKey::Operations)?;
        if !names.iter().all(Value::is_string) {
            return Err(UnusedKey::Operations);
        }
        Ok(names.iter().any(|name| name == "verify"))
    }

    /// The point of an elliptic curve, uncompressed.
    fn point(&self) -> Result<Vec<u8>, UnusedKey> {
        let mut point = vec![4];
        for (coordinate, name) in [(&self.x, "x"), (&self.y, "y")] {
            let bytes = bytes(coordinate.as_ref(), name)?;
            if bytes.len() != COORDINATE_BYTES {
                return Err(UnusedKey::Broken(name));
            }
            point.extend(bytes);
        }
        Ok(point)
    }
}

/// A member that must be a text if it is there.
fn text<'a>(value: Option<&'a Value>, name: &'static str) -> Result<Option<&'a str>, UnusedKey> {
    value.map(|value| value.as_str().ok_or(UnusedKey::NoText(name))).transpose()
}

/// What base64url text stands for.
fn bytes(value: Option<&Value>, name: &'static str) -> Result<Vec<u8>, UnusedKey> {
    let decoded = text(value, name)?.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    decoded.ok_or(UnusedKey::Broken(name))
}
