//! By what right a request reads a count. What clients may not join or watch without a token, programs may not read without one
//! either: private rooms, and everything where sign-in is required. A request for anything else needs no token, and one that it
//! has all the same is not looked at: a proxy may have added it for somebody else.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderValue, header};

use super::{room_query::Refusal, site::Site};
use crate::{
    core::report::Room,
    identity::{
        sign_in::SignInMode,
        token::{Identity, TokenError},
    },
    telemetry::labels::RefusedReason,
};

/// The scheme of the header `Authorization` (RFC 6750, section 2.1).
const SCHEME: &str = "bearer";

/// By what right a request reads.
#[derive(Debug)]
pub(super) enum Access {
    /// Everybody may read it.
    Everyone,
    /// The bearer of a token may.
    Bearer(Box<Identity>),
}

impl Access {
    /// Adds the headers for caches: an answer for the bearer of a token is for nobody else.
    pub(super) fn limit_caching(&self, headers: &mut HeaderMap) {
        match self {
            Self::Everyone => {
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            }
            Self::Bearer(_) => Self::limit_caching_of_bearers(headers),
        }
    }

    /// Adds the headers for caches to an answer that depends on the token of its request.
    pub(super) fn limit_caching_of_bearers(headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("authorization"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }

    /// How long the right lasts; `None` if it does not end.
    pub(super) fn time_left(&self) -> Option<Duration> {
        match self {
            Self::Everyone => None,
            Self::Bearer(identity) => identity.time_left(SystemTime::now()),
        }
    }
}

impl Site {
    /// Checks that a request may read these rooms; the site if there are none.
    ///
    /// # Errors
    /// What is wrong with its token. The metrics have counted it.
    pub(super) async fn authorize(
        &self,
        request: &HeaderMap,
        rooms: &[Room],
    ) -> Result<Access, Refusal> {
        if !self.needs_token(rooms) {
            return Ok(Access::Everyone);
        }
        let identity = self.bearer_in(request, rooms).await?;
        Ok(Access::Bearer(Box::new(identity)))
    }

    /// Whether these rooms are read only with a token; the site if there are none.
    pub(super) fn needs_token(&self, rooms: &[Room]) -> bool {
        match self.sign_in.mode() {
            SignInMode::Off => false,
            SignInMode::Optional => rooms.iter().any(|room| self.rooms.is_private(room)),
            SignInMode::Required => true,
        }
    }

    /// Whose token a request has, if he may join these rooms.
    ///
    /// # Errors
    /// What is wrong with the token. The metrics have counted it.
    pub(super) async fn bearer_in(
        &self,
        request: &HeaderMap,
        rooms: &[Room],
    ) -> Result<Identity, Refusal> {
        let identity = self.bearer(request).await.and_then(|identity| {
            match rooms.iter().find(|room| !identity.may_join(room)) {
                Some(room) => Err(Refusal::Forbidden { room: room.as_str().to_owned() }),
                None => Ok(identity),
            }
        });
        identity.inspect_err(|_| self.metrics.refuse(RefusedReason::Token))
    }

    /// Whose token a request has.
    ///
    /// # Errors
    /// If it has none, or it is not valid.
    async fn bearer(&self, request: &HeaderMap) -> Result<Identity, Refusal> {
        let token = token(request)?;
        let verify = || self.sign_in.verify(token, SystemTime::now());
        let verified = match verify() {
            Err(TokenError::UnknownKey) => {
                self.sign_in.refreshed().await;
                verify()
            }
            verified => verified,
        };
        verified.map_err(|error| {
            self.metrics.tokens.refused.with_label_values(&[error.label()]).inc();
            tracing::debug!(reason = error.label(), "refused the token of a request");
            match error {
                TokenError::Expired => Refusal::TokenExpired,
                TokenError::Invalid(_) | TokenError::UnknownKey => Refusal::TokenInvalid,
            }
        })
    }
}

/// Whether a request shows a token, good or bad.
pub(super) fn shows_token(request: &HeaderMap) -> bool {
    token(request) != Err(Refusal::TokenMissing)
}

/// The token of a request. Other schemes than `Bearer` are somebody else's.
fn token(request: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = request.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::TokenMissing)?;
    if values.next().is_some() {
        return Err(Refusal::TokenInvalid);
    }
    let value = value.to_str().map_err(|_| Refusal::TokenInvalid)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => Ok(token.trim_ascii()),
        _ => Err(Refusal::TokenMissing),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Goal: a token is found in every form that HTTP allows, and nothing else is one. Method: headers on both sides of each rule.
    #[rstest]
    #[case(&["Bearer a.b.c"], Ok("a.b.c"))]
    #[case(&["bearer a.b.c"], Ok("a.b.c"))]
    #[case(&["BEARER   a.b.c "], Ok("a.b.c"))]
    #[case(&["Bearer \t a.b.c \t"], Ok("a.b.c"))]
    #[case(&["Bearer "], Ok(""))]
    #[case(&[], Err(Refusal::TokenMissing))]
    #[case(&["Bearer"], Err(Refusal::TokenMissing))]
    #[case(&["Basic YTpi"], Err(Refusal::TokenMissing))]
    #[case(&["a.b.c"], Err(Refusal::TokenMissing))]
    #[case(&["Bearer a.b.c", "Bearer a.b.c"], Err(Refusal::TokenInvalid))]
    #[case(&["Basic YTpi", "Bearer a.b.c"], Err(Refusal::TokenInvalid))]
    #[case(&["Bearer \u{e4}"], Err(Refusal::TokenInvalid))]
    fn tokens_of_requests(#[case] headers: &[&str], #[case] found: Result<&str, Refusal>) {
        let mut request = HeaderMap::new();
        for value in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.append(header::AUTHORIZATION, value);
        }
        assert_eq!(token(&request), found, "{headers:?}");
    }
}
