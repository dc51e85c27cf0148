//! The signature algorithms of tokens.

use std::fmt;

use jsonwebtoken as jwt;

/// A signature algorithm that tokens may have. Every key belongs to exactly one, so a token cannot have a key used for another
/// purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: issuer and Headcount share a secret.
    Hs256,
    /// RSA with SHA-256 (PKCS #1 v1.5).
    Rs256,
    /// ECDSA on the curve P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 4] = [Self::Hs256, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The algorithms with a public key.
    pub const PUBLIC: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The name of the algorithm, as the header of a token has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The library's name of it.
    pub(super) const fn in_library(self) -> jwt::Algorithm {
        match self {
            Self::Hs256 => jwt::Algorithm::HS256,
            Self::Rs256 => jwt::Algorithm::RS256,
            Self::Es256 => jwt::Algorithm::ES256,
            Self::EdDsa => jwt::Algorithm::EdDSA,
        }
    }

    /// The algorithm that the library means.
    pub(super) fn of_library(algorithm: jwt::Algorithm) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.in_library() == algorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
