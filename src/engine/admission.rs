//! Who may begin a session: pages of allowed origins, up to a limit, until the instance shuts down.

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
        permits::Places,
    },
    protocol::head::Head,
    telemetry::metrics::Metrics,
};

/// Lets sessions in, up to a limit and until the instance shuts down.
#[derive(Debug)]
pub struct Admission {
    /// One place for every session, from its handshake to its end.
    places: Arc<Places>,
    /// Set at the first signal to stop: no longer ready, still serving.
    leaving: AtomicBool,
    /// Cancelled when clients begin to be sent away: no handshakes any more.
    closing: CancellationToken,
    origins: Origins,
    refusal_log: RefusalLog,
    metrics: Metrics,
}

impl Admission {
    /// For at most `sessions_max` sessions at a time, from pages of these origins.
    pub fn new(sessions_max: usize, origins: Origins, metrics: Metrics) -> Self {
        Self {
            places: Arc::new(Places::new(sessions_max)),
            leaving: AtomicBool::new(false),
            closing: CancellationToken::new(),
            origins,
            refusal_log: RefusalLog::default(),
            metrics,
        }
    }

    /// This instance is shutting down: balancers should look elsewhere.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.metrics.draining.set(1);
    }

    /// Whether this instance is shutting down.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// From now on no session begins here; those that are open go on.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Cancelled by [`Admission::close`]: for whatever else should send its clients elsewhere then.
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// The places of sessions.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// For whatever else turns foreign pages away: the log tells of one of them.
    pub fn refusal_log(&self) -> RefusalLog {
        self.refusal_log.clone()
    }

    /// Counts a refusal in the metrics, if it is one of those that are counted.
    pub fn count(&self, refusal: Refusal) {
        if let Some(reason) = refusal.label() {
            self.metrics.refused.with_label_values(&[reason]).inc();
        }
    }

    /// Whether the page that sends this request may connect. One that may not is told nothing else.
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
        self.places.take().ok_or(Refusal::Full)
    }
}
