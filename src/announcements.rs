//! The task that listens to announcements and folds them into the view: store → view.
//!
//! It never reports. Whenever it subscribes, it asks the reporter for a report at once, whose reply closes
//! the gap in which announcements may have been missed. A subscription that looks alive but delivers
//! nothing is found out by comparing what arrives with what replies say was published.

use std::{mem, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    count::Revision,
    metrics::Metrics,
    store::{self, Store},
    view::View,
};

/// How long an announcement that a reply speaks of may take to arrive before the subscription counts as
/// deaf. Both travel from the same server, so a second is far more than the order of arrival needs.
pub const DEAF_AFTER: Duration = Duration::from_secs(1);
/// Waits between attempts to subscribe: jittered, from this…
const RESUBSCRIBE_MIN: Duration = Duration::from_millis(50);
/// …to this. Replies carry the count meanwhile, so there is no hurry beyond it.
const RESUBSCRIBE_MAX: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub struct Listener {
    store: Arc<dyn Store>,
    view: Arc<watch::Sender<View>>,
    resync: Arc<Notify>,
    metrics: Metrics,
}

impl Listener {
    /// Sets it up; [`Listener::run`] does the work.
    pub fn new(
        store: Arc<dyn Store>,
        view: Arc<watch::Sender<View>>,
        resync: Arc<Notify>,
        metrics: Metrics,
    ) -> Self {
        Self { store, view, resync, metrics }
    }

    /// Listens until `stop`. Nothing is lost by stopping anywhere: a subscription changes nothing.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.listen_for_ever()).await;
    }

    async fn listen_for_ever(&self) {
        let mut delays = resubscribe_delays();
        let mut subscriptions = 0u64;
        let mut refused = false;
        loop {
            let started = Instant::now();
            match self.store.subscribe().await {
                Ok(announcements) => {
                    subscriptions += 1;
                    self.metrics.resubscribes.inc_by(u64::from(subscriptions > 1));
                    let reason = self.listen(announcements).await;
                    tracing::warn!(reason, "subscription lost: subscribing anew");
                    refused = false;
                }
                // What keeps reports from being answered is told by the reporter; this may be another reason.
                Err(error) if !mem::replace(&mut refused, true) => {
                    tracing::warn!(%error, "failed to subscribe to announcements: trying on");
                }
                Err(error) => tracing::debug!(%error, "failed again to subscribe"),
            }
            if started.elapsed() > RESUBSCRIBE_MAX {
                delays = resubscribe_delays();
            }
            sleep(delays.next().unwrap_or(RESUBSCRIBE_MAX)).await;
        }
    }

    /// Folds in what arrives; returns why it ended.
    async fn listen(&self, mut announcements: store::Announcements) -> &'static str {
        let mut hearing = Hearing::new(Instant::now());
        let mut view = self.view.subscribe();
        self.resync.notify_one();
        loop {
            let deaf_at = hearing.compare(&view.borrow_and_update(), Instant::now());
            tokio::select! {
                announcement = announcements.next() => match announcement {
                    Some(Ok(count)) => {
                        self.metrics.announcements.inc();
                        hearing.heard(count.revision);
                        self.view.send_if_modified(|view| {
                            let news = count.supersedes(&view.seen());
                            view.fold(count, Instant::now());
                            news
                        });
                    }
                    Some(Err(error)) => tracing::debug!(%error, "failed to read an announcement"),
                    None => return "the connection ended",
                },
                Ok(()) = view.changed() => {}
                () = sleep_until(deaf_at.unwrap_or_else(Instant::now)), if deaf_at.is_some() => {
                    return "it is deaf: a published announcement did not arrive";
                }
            }
        }
    }
}

fn resubscribe_delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(RESUBSCRIBE_MIN)
        .with_max_delay(RESUBSCRIBE_MAX)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Compares what one subscription delivers with what replies say was published. Pure.
#[derive(Debug)]
struct Hearing {
    subscribed_at: Instant,
    /// The highest revision heard; at first, what the first later reply says was published: no telling
    /// whether that was before or after subscribing.
    heard: Option<Revision>,
    /// A published revision that has not arrived, and when patience ends.
    awaited: Option<(Revision, Instant)>,
}

impl Hearing {
    fn new(subscribed_at: Instant) -> Self {
        Self { subscribed_at, heard: None, awaited: None }
    }

    fn heard(&mut self, revision: Revision) {
        self.heard = self.heard.max(Some(revision));
    }

    /// When the subscription counts as deaf, if what is awaited does not arrive by then.
    fn compare(&mut self, view: &View, now: Instant) -> Option<Instant> {
        if view.answered().is_none_or(|sent_at| sent_at <= self.subscribed_at) {
            return None;
        }
        let heard = *self.heard.get_or_insert(view.announced());
        if self.awaited.is_some_and(|(revision, _)| revision <= heard) {
            self.awaited = None;
        }
        if self.awaited.is_none() && view.announced() > heard {
            self.awaited = Some((view.announced(), now + DEAF_AFTER));
        }
        self.awaited.map(|(_, deaf_at)| deaf_at)
    }
}

#[cfg(test)]
#[path = "announcements/tests.rs"]
mod tests;
