//! Reads public keys as `openssl` writes them: PEM with `SubjectPublicKeyInfo` inside.

use rustls::pki_types::pem::{PemObject, SectionKind};
use spki::{
    ObjectIdentifier, SubjectPublicKeyInfoRef,
    der::{self, Decode, Reader, SliceReader, asn1::UintRef},
};

use super::keys::{BadKey, Key};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Why a PEM file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPem {
    /// It cannot be read.
    #[error("it is no PEM")]
    Broken,
    /// It contains no public key.
    #[error(
        "it has no section BEGIN PUBLIC KEY (openssl pkey -pubout makes one of a private key, openssl x509 -pubkey -noout of \
        a certificate)"
    )]
    NoPublicKey,
    /// It contains a private key.
    #[error(
        "it holds a private key, which only the issuer should have; openssl pkey -pubout gives its public key"
    )]
    Private,
    /// A key has another form.
    #[error("public key {0} is none that is understood: RSA, P-256 (prime256v1) or Ed25519")]
    Kind(usize),
    /// A key is refused.
    #[error("public key {0}: {1}")]
    Key(usize, BadKey),
}

/// The public keys of a PEM file.
///
/// # Errors
/// If it has none, or one of them cannot be used.
pub(super) fn read(pem: &[u8]) -> Result<Vec<Key>, BadPem> {
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|_| BadPem::Broken)?;
        match kind {
            SectionKind::PublicKey => {
                let number = keys.len() + 1;
                let key = public_key(&der).unwrap_or(Err(None));
                keys.push(key.map_err(|bad| match bad {
                    Some(bad) => BadPem::Key(number, bad),
                    None => BadPem::Kind(number),
                })?);
            }
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err(BadPem::Private);
            }
            _ => {}
        }
    }
    if keys.is_empty() { Err(BadPem::NoPublicKey) } else { Ok(keys) }
}

/// The key; `Err(None)` if it is of another kind.
fn public_key(bytes: &[u8]) -> der::Result<Result<Key, Option<BadKey>>> {
    let info = SubjectPublicKeyInfoRef::from_der(bytes)?;
    let Some(key) = info.subject_public_key.as_bytes() else { return Ok(Err(None)) };
    let made = match info.algorithm.oid {
        RSA => {
            let (modulus, exponent) = rsa_numbers(key)?;
            Key::rsa(modulus, exponent)
        }
        ELLIPTIC if info.algorithm.parameters_oid() == Ok(P256) => Key::p256(key),
        ED25519 => Key::ed25519(key),
        _ => return Ok(Err(None)),
    };
    Ok(made.map_err(Some))
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017, appendix A.1.1).
fn rsa_numbers(bytes: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(bytes)?;
    let numbers = reader.sequence(|inside| {
        let modulus = UintRef::decode(inside)?;
        let exponent = UintRef::decode(inside)?;
        der::Result::Ok((modulus.as_bytes(), exponent.as_bytes()))
    })?;
    reader.finish()?;
    Ok(numbers)
}
