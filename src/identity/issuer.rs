//! The keys of one issuer, which a task fetches again and again. The last good set stands until there is a newer one.
//!
//! ```text
//!           ┌────────── 10 min, or a token's key is not known ──────────┐
//!           ▼                                                           │
//!  start ─▶ fetch ── a set with usable keys: replaces the last one ─────┤
//!             └───── anything else: the last one stands; 1 s … 30 s ────┘
//! ```

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    fetch::{FetchError, fetch},
    jwk::ReadSet,
    keys::KeySet,
    sources::JwksUrl,
};
use crate::telemetry::{labels::JwksResult, metrics::TokenMetrics};

/// The time between two requests for the keys of an issuer that answers. A key that was withdrawn is trusted no longer than
/// this.
pub const REFRESH: Duration = Duration::from_mins(10);
/// The least time between the end of a request and another one that a token's unknown key causes. Anybody can make up key ids.
pub const UNKNOWN_KEY_GAP: Duration = Duration::from_secs(30);
/// The first and the longest wait after a failed request. It doubles with every failure.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// An issuer, and the keys that are known of it.
#[derive(Debug)]
pub(super) struct Issuer {
    url: JwksUrl,
    state: Mutex<IssuerState>,
    /// Counts the requests that have ended.
    ended: watch::Sender<u64>,
    /// Notified when a token's key is not known.
    asked: Notify,
}

#[derive(Debug)]
struct IssuerState {
    keys: Arc<KeySet>,
    /// When the keys were fetched, or the issuer was first known.
    fetched_at: Instant,
    /// When the last request ended; `None` while one is under way or due.
    idle_since: Option<Instant>,
    /// Requests that have failed since the last success.
    failures: u32,
}

impl Issuer {
    pub(super) fn new(url: JwksUrl) -> Self {
        let state = IssuerState {
            keys: Arc::default(),
            fetched_at: Instant::now(),
            idle_since: None,
            failures: 0,
        };
        Self { url, state: Mutex::new(state), ended: watch::Sender::new(0), asked: Notify::new() }
    }

    /// The newest good set.
    pub(super) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.state().keys)
    }

    /// How long ago the newest good set was fetched.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.state().fetched_at)
    }

    /// Asks for newer keys, unless the last request ended a short time ago. Returns what changes when the request has ended.
    pub(super) fn ask(&self, now: Instant) -> Option<watch::Receiver<u64>> {
        let mut state = self.state();
        // Before the state is unlocked, so that no end is missed.
        let ended = self.ended.subscribe();
        if let Some(since) = state.idle_since {
            if now.saturating_duration_since(since) < UNKNOWN_KEY_GAP {
                return None;
            }
            state.idle_since = None;
            self.asked.notify_one();
        }
        Some(ended)
    }

    /// Fetches the keys until it is told to stop.
    pub(super) async fn run(self: Arc<Self>, metrics: TokenMetrics, stop: CancellationToken) {
        loop {
            // Nothing is lost if it is cut off.
            let fetched = tokio::select! {
                () = stop.cancelled() => return,
                fetched = fetch(&self.url) => fetched,
            };
            let pause = self.record(fetched, &metrics, Instant::now());
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => self.state().idle_since = None,
                () = self.is_asked() => {}
            }
        }
    }

    /// Resolves when a request is due because of a token.
    async fn is_asked(&self) {
        // A notification may be left over from a request that the clock had begun already.
        while self.state().idle_since.is_some() {
            self.asked.notified().await;
        }
    }

    /// Takes the outcome of a request. Returns how long to wait before the next.
    fn record(
        &self,
        fetched: Result<ReadSet, FetchError>,
        metrics: &TokenMetrics,
        now: Instant,
    ) -> Duration {
        let result = fetched.as_ref().map_or_else(FetchError::result, |_| JwksResult::Ok);
        metrics.jwks_fetches.with_label_values(&[result.label()]).inc();
        let pause = match fetched {
            Ok(set) => {
                self.take(set, now);
                REFRESH
            }
            Err(error) => self.fail(&error),
        };
        self.state().idle_since = Some(now);
        self.ended.send_modify(|ended| *ended += 1);
        pause
    }

    fn take(&self, set: ReadSet, now: Instant) {
        for (number, why) in set.unused.iter().filter(|(_, why)| why.is_mistake()) {
            tracing::warn!(url = %self.url, number, %why, "a key of an issuer is not used");
        }
        let keys = set.keys.len();
        let mut state = self.state();
        let (is_first, failures) = (state.keys.keys().is_empty(), state.failures);
        state.keys = Arc::new(KeySet::new(set.keys));
        state.fetched_at = now;
        state.failures = 0;
        drop(state);
        if failures > 0 {
            tracing::info!(url = %self.url, keys, failures, "the keys of an issuer can be fetched again");
        } else if is_first {
            tracing::info!(url = %self.url, keys, "fetched the keys of an issuer");
        }
    }

    fn fail(&self, error: &FetchError) -> Duration {
        let mut state = self.state();
        let (keys, failures) = (state.keys.keys().len(), state.failures);
        state.failures = failures.saturating_add(1);
        drop(state);
        if failures == 0 {
            tracing::warn!(
                url = %self.url,
                %error,
                keys,
                "failed to fetch the keys of an issuer: the last ones stand, and tokens with newer ones are refused"
            );
        } else {
            tracing::debug!(url = %self.url, %error, failures, "failed to fetch the keys of an issuer again");
        }
        let [first, longest] = RETRY;
        first.saturating_mul(1 << failures.min(8)).min(longest)
    }

    fn state(&self) -> MutexGuard<'_, IssuerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "issuer/tests.rs"]
mod tests;
