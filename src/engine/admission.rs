//! Admission control: sessions begin from pages of allowed origins, up to a limit, until the instance shuts down.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::reason::Refusal;
use crate::{
    access::{
        origin::{Origins, RefusalLog},
        permits::Permits,
    },
    protocol::head::Head,
    telemetry::metrics::Metrics,
};

/// Lets sessions in, up to a limit and until the instance shuts down.
#[derive(Debug)]
pub struct Admission {
    /// One permit for every session, from its handshake to its end.
    permits: Arc<Permits>,
    /// Set at the first signal to stop: no longer ready, still serving.
    leaving: AtomicBool,
    /// Cancelled when the drain begins to end sessions: from then on no session may begin.
    closing: CancellationToken,
    origins: Origins,
    refusal_log: RefusalLog,
    metrics: Metrics,
}

impl Admission {
    /// Admits at most `sessions_max` sessions at a time, from pages of `origins`.
    pub fn new(sessions_max: usize, origins: Origins, metrics: Metrics) -> Self {
        Self {
            permits: Arc::new(Permits::new(sessions_max)),
            leaving: AtomicBool::new(false),
            closing: CancellationToken::new(),
            origins,
            refusal_log: RefusalLog::default(),
            metrics,
        }
    }

    /// Begins the shutdown: the instance is not ready any more, so balancers choose another one.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.metrics.draining.set(1);
    }

    /// Whether this instance is shutting down.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Refuses new sessions from now on. Open sessions continue.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// A token that [`Admission::close`] cancels, for other services that must end their connections then.
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// The permits of sessions.
    pub fn permits(&self) -> &Arc<Permits> {
        &self.permits
    }

    /// The log of refused pages, for other services that refuse pages: together they log at most one line a minute.
    pub fn refusal_log(&self) -> RefusalLog {
        self.refusal_log.clone()
    }

    /// Counts a refusal in the metrics, if it is one of those that are counted.
    pub fn count(&self, refusal: Refusal) {
        if let Some(reason) = refusal.counted_as() {
            self.metrics.refuse(reason);
        }
    }

    /// Checks that the page that sends this request may connect.
    pub(super) fn allow_page(&self, head: &Head<'_>) -> Result<(), Refusal> {
        if self.origins.allow_page(head.origin, head.host, head.fetch_site) {
            return Ok(());
        }
        self.refusal_log.refused(head.origin.map(str::as_bytes), head.host.map(str::as_bytes));
        Err(Refusal::Origin)
    }

    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        if self.closing.is_cancelled() {
            return Err(Refusal::Draining);
        }
        let permit = self.permits.take();
        // Who closes the instance now waits for the permit if this does not see it.
        if self.closing.is_cancelled() {
            return Err(Refusal::Draining);
        }
        permit.ok_or(Refusal::Full)
    }
}
