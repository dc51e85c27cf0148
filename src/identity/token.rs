//! Verifies a token with a key. It is pure: the time is passed in, and nobody is asked.
//!
//! `jsonwebtoken` takes the token apart and checks signature, issuer and audience. What it does not check, or checks by the
//! clock of the machine, is checked here: length, `crit`, times, and everything that Headcount makes of the claims.

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{algorithm::Algorithm, claims::Claims, keys::Key, ring_provider};
use crate::{
    access::rooms::RoomPatterns,
    core::room::Person,
    telemetry::{labels::TokenFault, metrics::EXPIRED},
};

/// The longest token, in bytes. Those of usual issuers have 0.3 to 4 kB, and a CONNECT has 16 KiB at most.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How much the clocks of issuer and instance may differ.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// What a token must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// Issuers whose tokens are accepted; all if there are none.
    pub issuers: Vec<String>,
    /// Audiences of which a token must name one; none needs to be named if there are none.
    pub audiences: Vec<String>,
    /// The accepted algorithms.
    pub algorithms: Vec<Algorithm>,
    /// The claim that says whose the token is.
    pub user_claim: String,
}

/// Who a client is, by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub person: Person,
    /// The rooms that he may join, of those that exist; `None` for all.
    pub rooms: Option<RoomPatterns>,
    /// When he has to sign in again.
    pub expires_at: Option<SystemTime>,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not valid.
    #[error("the token is refused: {}", .0.label())]
    Invalid(TokenFault),
    /// It was valid.
    #[error("the token has expired")]
    Expired,
    /// No key has the id that it names, and an issuer may have a new one: see
    /// [`SignIn::refreshed`](super::sign_in::SignIn::refreshed).
    #[error("the token's key is not known")]
    UnknownKey,
}

impl TokenError {
    /// The reason under which `headcount_tokens_refused_total` counts it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Invalid(fault) => fault.label(),
            Self::Expired => EXPIRED,
            Self::UnknownKey => TokenFault::Key.label(),
        }
    }
}

impl From<TokenFault> for TokenError {
    fn from(fault: TokenFault) -> Self {
        Self::Invalid(fault)
    }
}

/// What a token says about its key.
#[derive(Debug)]
pub(super) struct TokenHeader {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
}

/// Verifies tokens by rules.
#[derive(Debug)]
pub(super) struct Verifier {
    /// What the library checks, for each accepted algorithm.
    validations: Vec<(Algorithm, Validation)>,
    user_claim: String,
}

impl Verifier {
    pub(super) fn new(rules: &TokenRules) -> Self {
        ring_provider::install();
        let validation = |algorithm: Algorithm| {
            let mut validation = Validation::new(algorithm.in_library());
            validation.required_spec_claims.clear();
            // Times are checked here, by the time that is passed in.
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation.validate_aud = !rules.audiences.is_empty();
            if !rules.audiences.is_empty() {
                validation.set_audience(&rules.audiences);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            if !rules.issuers.is_empty() {
                validation.set_issuer(&rules.issuers);
                validation.required_spec_claims.insert("iss".to_owned());
            }
            (algorithm, validation)
        };
        let validations = rules.algorithms.iter().map(|algorithm| validation(*algorithm)).collect();
        Self { validations, user_claim: rules.user_claim.clone() }
    }

    /// Reads the header. Keys and addresses of keys in it are ignored.
    pub(super) fn header(&self, token: &str) -> Result<TokenHeader, TokenFault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenFault::TooLong);
        }
        let header = decode_header(token).map_err(|_| fault_of_header(token))?;
        // It lists extensions that must be understood, of which none is.
        if header.crit.is_some() {
            return Err(TokenFault::Malformed);
        }
        let algorithm = Algorithm::of_library(header.alg).ok_or(TokenFault::Algorithm)?;
        self.validation(algorithm)?;
        Ok(TokenHeader { algorithm, key_id: header.kid })
    }

    /// Verifies a token, whose header was read, with a key.
    pub(super) fn verify(
        &self,
        token: &str,
        key: &Key,
        now: SystemTime,
    ) -> Result<Identity, TokenError> {
        let validation = self.validation(key.algorithm())?;
        let decoded = decode::<Box<RawValue>>(token, key.decoding(), validation);
        let decoded = decoded.map_err(|error| fault(&error))?;
        let claims = Claims::read(decoded.claims.get(), &self.user_claim)?;
        // The library takes a list of issuers too.
        if validation.iss.is_some() && !claims.has_one_issuer() {
            return Err(TokenFault::Issuer.into());
        }
        let expires_at = claims.expires_at()?;
        if now >= expires_at + LEEWAY {
            return Err(TokenError::Expired);
        }
        if claims.valid_from()?.is_some_and(|from| now + LEEWAY < from) {
            return Err(TokenFault::NotYetValid.into());
        }
        let (person, rooms) = (claims.person()?, claims.rooms()?);
        Ok(Identity { person, rooms, expires_at: Some(expires_at) })
    }

    fn validation(&self, algorithm: Algorithm) -> Result<&Validation, TokenFault> {
        let mut accepted = self.validations.iter();
        let found = accepted.find(|(accepted, _)| *accepted == algorithm);
        found.map(|(_, validation)| validation).ok_or(TokenFault::Algorithm)
    }
}

/// What is wrong with a header that the library does not read. It knows no `none`, for example.
fn fault_of_header(token: &str) -> TokenFault {
    #[derive(Deserialize)]
    struct Alg {
        alg: String,
    }
    let header = token.split_once('.').map(|(header, _)| URL_SAFE_NO_PAD.decode(header));
    let Some(Ok(header)) = header else { return TokenFault::Malformed };
    match serde_json::from_slice(&header) {
        Ok(Alg { alg }) if Algorithm::of_name(&alg).is_none() => TokenFault::Algorithm,
        _ => TokenFault::Malformed,
    }
}

/// What is wrong with a token that the library refuses.
fn fault(error: &Error) -> TokenFault {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenFault::Signature,
        ErrorKind::InvalidAlgorithm => TokenFault::Algorithm,
        ErrorKind::InvalidIssuer => TokenFault::Issuer,
        ErrorKind::InvalidAudience => TokenFault::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenFault::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenFault::Audience,
        ErrorKind::Json(_) => TokenFault::Claims,
        _ => TokenFault::Malformed,
    }
}

#[cfg(test)]
#[path = "token/tests.rs"]
mod tests;
