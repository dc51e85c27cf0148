//! The task that keeps the peaks of the site: it shows [`PeakWatch`] the counts of the view, calls the store when that says so,
//! and publishes what is known. It never reports, and no count depends on it.

use std::{mem, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::reporter::ReporterSettings;
use crate::{
    core::{peak_watch::PeakWatch, peaks::ShownPeaks, view::View},
    store::{Store, StoreError},
    telemetry::{
        log_limit::LogLimit,
        metrics::{Metrics, signed},
    },
};

/// The least time between two warnings that the peaks cannot be kept. A store that fails and recovers all the time must not fill
/// the log.
const LOG_GAP: Duration = Duration::from_secs(10);

/// The state of the task.
#[derive(Debug)]
pub struct PeakKeeper {
    store: Arc<dyn Store>,
    view: Arc<watch::Sender<View>>,
    watch: PeakWatch,
    shown: watch::Sender<ShownPeaks>,
    metrics: Metrics,
    was_recovering: bool,
    warnings: LogLimit,
    /// Whether the last outcome that was logged is a failure.
    is_troubled: bool,
}

impl PeakKeeper {
    /// A keeper of the peaks of the counts in the view. [`PeakKeeper::run`] starts it.
    pub fn new(
        settings: &ReporterSettings,
        store: Arc<dyn Store>,
        view: Arc<watch::Sender<View>>,
        metrics: Metrics,
    ) -> Self {
        let keeper = Self {
            store,
            view,
            watch: PeakWatch::new(settings.lease, settings.heartbeat),
            shown: watch::Sender::default(),
            metrics,
            was_recovering: false,
            warnings: LogLimit::new(LOG_GAP),
            is_troubled: false,
        };
        keeper.record(ShownPeaks::default());
        keeper
    }

    /// The peaks, as they change.
    pub fn subscribe(&self) -> watch::Receiver<ShownPeaks> {
        self.shown.subscribe()
    }

    /// Task: keeps the peaks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.view.subscribe();
        while !stop.is_cancelled() {
            let view = *changes.borrow_and_update();
            let now = Instant::now();
            self.look(&view, now);
            self.publish(now);
            // While the store is away, the reporter finds out when it is back.
            let due = view.is_reachable(now).then(|| self.watch.due(now));
            if due.is_some_and(|at| at <= now) {
                self.call(now).await;
                continue;
            }
            let wake = [due, self.watch.midnight(now)].into_iter().flatten().min();
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = changes.changed() => {}
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    /// Looks at the count that is shown, and at the highest one since the last look.
    fn look(&mut self, view: &View, now: Instant) {
        let mut highest = None;
        self.view.send_if_modified(|view| {
            highest = view.take_highest();
            false
        });
        let sights = highest.into_iter().chain(view.exact(now));
        sights.for_each(|sight| self.watch.see(sight));
        self.watch.count_instances(view.instances());
        let is_recovering = view.seen().recovering;
        if is_recovering && !mem::replace(&mut self.was_recovering, is_recovering) {
            self.watch.store_forgot();
        }
        self.was_recovering = is_recovering;
    }

    /// Calls the store, and waits for the answer: the view remembers meanwhile what was the highest.
    async fn call(&mut self, now: Instant) {
        let known = self.watch.call(now);
        match self.store.peaks(Some(known)).await {
            Ok(answer) => {
                self.watch.answered(answer, now);
                if mem::take(&mut self.is_troubled) {
                    tracing::info!("the store keeps the peaks again");
                }
            }
            Err(error) => {
                self.watch.failed();
                self.tell(&error, now);
            }
        }
    }

    /// Logs a failure, once. The reporter logs those that say that the store is away.
    fn tell(&mut self, error: &StoreError, now: Instant) {
        let is_own = matches!(
            error,
            StoreError::Denied(_) | StoreError::WrongType(_) | StoreError::Protocol(_)
        );
        if is_own && !self.is_troubled && self.warnings.admit(now).is_some() {
            self.is_troubled = true;
            tracing::warn!(%error, "failed to keep the peaks in the store: counting goes on");
        } else {
            tracing::debug!(%error, "failed to keep the peaks in the store");
        }
    }

    fn publish(&self, now: Instant) {
        let shown = self.watch.shown(now);
        let is_new = self.shown.send_if_modified(|before| mem::replace(before, shown) != shown);
        if is_new {
            self.record(shown);
        }
    }

    fn record(&self, shown: ShownPeaks) {
        for (period, peak) in [("today", shown.today), ("ever", shown.ever)] {
            let users = peak.map_or(0, |peak| signed(peak.users));
            self.metrics.peak_users.with_label_values(&[period]).set(users);
        }
    }
}
