//! Signing in: from the text of a token to an identity, with the keys of files and of issuers.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    issuer::Issuer,
    keys::{Key, KeySet, TRIED_MAX},
    sources::JwksUrl,
    token::{Identity, TokenError, TokenRules, Verifier},
};
use crate::telemetry::{
    labels::TokenFault,
    metrics::{TokenMetrics, signed},
};

/// The longest wait for newer keys, so that no handshake takes longer.
pub const REFRESHED_MAX: Duration = Duration::from_secs(1);

/// Who needs a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignInMode {
    /// Nobody: tokens are not looked at.
    #[default]
    Off,
    /// Nobody, but a token that is there must be valid.
    Optional,
    /// Everybody who connects.
    Required,
}

/// The settings of signing in.
#[derive(Clone, Debug)]
pub struct SignInSettings {
    /// Who needs a token.
    pub mode: SignInMode,
    /// What a token must be like.
    pub rules: TokenRules,
    /// Keys from files.
    pub keys: KeySet,
    /// Where issuers publish their keys.
    pub issuers: Vec<JwksUrl>,
}

/// The most keys that one line of the log names.
const NAMED_MAX: usize = 20;

impl SignInSettings {
    /// Says in the log which keys verify tokens.
    pub fn tell(&self) {
        if self.mode != SignInMode::Off {
            let (mode, keys) = (self.mode, self.named_keys());
            tracing::info!(?mode, %keys, "tokens are verified with these keys");
        }
    }

    /// The keys that verify tokens, for the log: algorithm, id and file of each key, and the addresses from which others are
    /// fetched. No key is in it.
    fn named_keys(&self) -> String {
        let of_files = self.keys.keys().iter().map(|key| {
            let id = key.id().map(|id| format!(" kid={id:?}")).unwrap_or_default();
            let file = key.file().map(|file| format!(" of {file:?}")).unwrap_or_default();
            format!("{}{id}{file}", key.algorithm())
        });
        let fetched = self.issuers.iter().map(|url| format!("those of {url}"));
        let mut named: Vec<_> = of_files.chain(fetched).collect();
        let more = named.len().saturating_sub(NAMED_MAX);
        named.truncate(NAMED_MAX);
        if more > 0 {
            named.push(format!("{more} more"));
        }
        named.join(", ")
    }
}

/// Verifies tokens. A clone is cheap, and shares the keys.
#[derive(Clone, Debug)]
pub struct SignIn(Arc<SignInParts>);

#[derive(Debug)]
struct SignInParts {
    mode: SignInMode,
    verifier: Verifier,
    keys: KeySet,
    issuers: Vec<Arc<Issuer>>,
}

impl Default for SignInSettings {
    fn default() -> Self {
        let rules = TokenRules {
            issuers: Vec::new(),
            audiences: Vec::new(),
            algorithms: Vec::new(),
            user_claim: "sub".to_owned(),
        };
        Self { mode: SignInMode::Off, rules, keys: KeySet::default(), issuers: Vec::new() }
    }
}

/// Nobody signs in.
impl Default for SignIn {
    fn default() -> Self {
        Self::new(SignInSettings::default())
    }
}

impl SignIn {
    /// Verifies by these settings. Keys of issuers are known only while the [tasks](Self::tasks) run.
    pub fn new(settings: SignInSettings) -> Self {
        let issuers = if settings.mode == SignInMode::Off { Vec::new() } else { settings.issuers };
        Self(Arc::new(SignInParts {
            mode: settings.mode,
            verifier: Verifier::new(&settings.rules),
            keys: settings.keys,
            issuers: issuers.into_iter().map(|url| Arc::new(Issuer::new(url))).collect(),
        }))
    }

    /// Who needs a token.
    pub fn mode(&self) -> SignInMode {
        self.0.mode
    }

    /// Verifies a token. It neither waits nor asks anybody.
    ///
    /// # Errors
    /// If the token is not accepted. After [`TokenError::UnknownKey`], the same token may be accepted once
    /// [`SignIn::refreshed`] is over; if it is still unknown then, it is refused for its [key](TokenFault::Key).
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Identity, TokenError> {
        let parts = &*self.0;
        let header = parts.verifier.header(token)?;
        let of_issuers: Vec<_> = parts.issuers.iter().map(|issuer| issuer.keys()).collect();
        let sets = || [&parts.keys].into_iter().chain(of_issuers.iter().map(AsRef::as_ref));
        let keys = sets().flat_map(KeySet::keys);
        let key_id = header.key_id.as_deref();
        let is_known = key_id.is_some() && keys.clone().any(|key| key.id() == key_id);
        let candidates = keys.filter(|key| key.algorithm() == header.algorithm);
        let candidates: Vec<_> = match key_id {
            Some(_) if is_known => candidates.filter(|key| key.id() == key_id).collect(),
            Some(_) => candidates.filter(|key| key.id().is_none()).collect(),
            None => candidates.collect(),
        };
        if is_known && candidates.is_empty() {
            return Err(TokenFault::Algorithm.into());
        }
        let fault = match parts.verify_with(token, &candidates, now) {
            Err(TokenError::Invalid(fault @ (TokenFault::Key | TokenFault::Signature))) => fault,
            decided => return decided,
        };
        let may_be_new = !is_known && !parts.issuers.is_empty();
        Err(if may_be_new { TokenError::UnknownKey } else { fault.into() })
    }

    /// Waits until newer keys of the issuers are known, if any are due: at most a second, and not at all if the issuers were
    /// asked in the last 30 s.
    pub async fn refreshed(&self) {
        let now = Instant::now();
        // All are asked before the first is waited for.
        let asked: Vec<_> = self.0.issuers.iter().filter_map(|issuer| issuer.ask(now)).collect();
        for mut ended in asked {
            let _ = timeout_at(now + REFRESHED_MAX, ended.changed()).await;
        }
    }

    /// The long-lived tasks that fetch the keys of issuers.
    pub fn tasks(
        &self,
        metrics: &TokenMetrics,
        stop: &CancellationToken,
    ) -> Vec<impl Future<Output = ()> + Send + 'static> {
        let tasks = self.0.issuers.iter();
        tasks.map(|issuer| Arc::clone(issuer).run(metrics.clone(), stop.clone())).collect()
    }

    /// Sets the metrics of issuers' keys.
    pub fn record(&self, metrics: &TokenMetrics, now: Instant) {
        let issuers = &self.0.issuers;
        let keys: usize = issuers.iter().map(|issuer| issuer.keys().keys().len()).sum();
        metrics.jwks_keys.set(signed(keys as u64));
        metrics.jwks_age_seconds.set(self.keys_age(now).as_secs_f64());
    }

    /// The age of the oldest set of keys; 0 if no issuer is asked for keys.
    pub fn keys_age(&self, now: Instant) -> Duration {
        self.0.issuers.iter().map(|issuer| issuer.age(now)).max().unwrap_or_default()
    }
}

impl SignInParts {
    /// Verifies with the key among these that has signed the token.
    fn verify_with(
        &self,
        token: &str,
        keys: &[&Key],
        now: SystemTime,
    ) -> Result<Identity, TokenError> {
        if keys.len() > TRIED_MAX {
            return Err(TokenFault::Key.into());
        }
        let mut fault = TokenFault::Key;
        for key in keys {
            match self.verifier.verify(token, key, now) {
                Err(TokenError::Invalid(TokenFault::Signature)) => fault = TokenFault::Signature,
                decided => return decided,
            }
        }
        Err(fault.into())
    }
}

#[cfg(test)]
#[path = "sign_in/tests.rs"]
mod tests;
