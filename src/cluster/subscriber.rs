//! The task that subscribes to announcements and folds them into the view.
//!
//! It never reports. After it has subscribed, it asks the reporter for a report, whose reply closes the gap in which
//! announcements may have been missed. It detects a stalled subscription, which looks alive but delivers nothing, by
//! comparing what arrives with what replies say was published.
//!
//! All databases and keys share a channel, and anybody may publish there. So a message is accepted only if it names this
//! cluster's dataset. A message without a dataset is only a reason to ask the store. If the store has no count as new as that,
//! the message belonged to another cluster.

use std::{mem, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    core::{
        count::{Count, Revision},
        rooms::{Page, RoomLedger},
        view::View,
    },
    store::{self, Announcement, RoomsPage, Store, StoreError},
    telemetry::{log_limit::LogLimit, metrics::Metrics},
};

/// How long an announcement that a reply mentions may take to arrive. After that the subscription counts as stalled. Both come
/// from the same server, so a second is more than enough.
pub const STALLED_AFTER: Duration = Duration::from_secs(1);
/// The least time between two log lines about foreign messages on the channel. They arrive until an operator changes a
/// setting.
const FOREIGN_LOG_GAP: Duration = Duration::from_mins(1);
/// The shortest wait between two attempts to subscribe. It has jitter, and grows with every failure.
const RESUBSCRIBE_MIN: Duration = Duration::from_millis(50);
/// The longest wait between two attempts to subscribe. Replies carry the count meanwhile.
const RESUBSCRIBE_MAX: Duration = Duration::from_secs(1);

/// The state of the task.
#[derive(Debug)]
pub struct Subscriber {
    store: Arc<dyn Store>,
    view: Arc<watch::Sender<View>>,
    rooms: Arc<dyn RoomLedger>,
    resync: Arc<Notify>,
    metrics: Metrics,
    /// Limits log lines about foreign messages.
    foreign_log: LogLimit,
}

impl Subscriber {
    /// A subscriber to the store's announcements. [`Subscriber::run`] starts it.
    pub fn new(
        store: Arc<dyn Store>,
        view: Arc<watch::Sender<View>>,
        rooms: Arc<dyn RoomLedger>,
        resync: Arc<Notify>,
        metrics: Metrics,
    ) -> Self {
        Self { store, view, rooms, resync, metrics, foreign_log: LogLimit::new(FOREIGN_LOG_GAP) }
    }

    /// Task: folds announcements into the view until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_subscribed()).await;
    }

    async fn keep_subscribed(&self) {
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
                    tracing::warn!(reason, "subscription lost: subscribing again");
                    refused = false;
                }
                // The reporter logs why reports fail. Subscribing may fail for another reason.
                Err(error) if !mem::replace(&mut refused, true) => {
                    tracing::warn!(%error, "failed to subscribe to announcements: trying again");
                }
                Err(error) => tracing::debug!(%error, "failed to subscribe again"),
            }
            if started.elapsed() > RESUBSCRIBE_MAX {
                delays = resubscribe_delays();
            }
            sleep(delays.next().unwrap_or(RESUBSCRIBE_MAX)).await;
        }
    }

    /// Folds in the announcements of one subscription. Returns why the subscription ended.
    async fn listen(&self, mut announcements: store::Announcements) -> &'static str {
        let mut delivery = DeliveryCheck::new(Instant::now());
        let mut view = self.view.subscribe();
        self.rooms.subscribed();
        self.resync.notify_one();
        loop {
            let stalled_at = {
                let view = view.borrow_and_update();
                if delivery.is_contradicted(&view) {
                    self.tell_of_others(
                        "a message that names no key, with a revision that our store does not have",
                    );
                }
                delivery.compare(&view, Instant::now())
            };
            tokio::select! {
                announcement = announcements.next() => match announcement {
                    Some(Ok(announcement)) => self.receive(announcement, &mut delivery),
                    Some(Err(StoreError::Denied(details))) => tracing::warn!(
                        %details,
                        "announcements of rooms cannot be received: asking for the counts of rooms, which come later"
                    ),
                    Some(Err(error)) => tracing::debug!(%error, "failed to read an announcement"),
                    None => return "the connection ended",
                },
                Ok(()) = view.changed() => {}
                () = sleep_until(stalled_at.unwrap_or_else(Instant::now)), if stalled_at.is_some() => {
                    return "it is stalled: a published announcement did not arrive";
                }
            }
        }
    }

    fn receive(&self, announcement: Announcement, delivery: &mut DeliveryCheck) {
        match announcement {
            Announcement::Own(count) => {
                self.metrics.announcements.inc();
                delivery.received(count.revision);
                self.view.send_if_modified(|view| {
                    let news = count.supersedes(&view.newest());
                    view.fold(count, Instant::now());
                    news
                });
                self.rooms.fold_count(count);
            }
            Announcement::Rooms(page) => self.receive_rooms(&page),
            Announcement::Unsigned(count) => {
                self.metrics.announcements.inc();
                if delivery.is_news(&count, &self.view.borrow(), Instant::now()) {
                    Notify::notify_one(&self.resync);
                }
            }
            Announcement::Foreign(dataset) => self.tell_of_others(&dataset.to_string()),
        }
    }

    /// Folds in counts of rooms. The view of the site is not news by that.
    fn receive_rooms(&self, page: &RoomsPage) {
        self.metrics.announcements.inc();
        self.view.send_if_modified(|view| {
            view.see_page(page.revision, page.stamp);
            false
        });
        let view = *self.view.borrow();
        let RoomsPage { revision, since, ref counts, .. } = *page;
        self.rooms.fold_page(Page { revision, since, counts }, &view, Instant::now());
    }

    /// Logs that foreign messages arrive. They are ignored, but cost all instances of both clusters work.
    fn tell_of_others(&self, what: &str) {
        self.metrics.foreign_announcements.inc();
        let Some(held_back) = self.foreign_log.admit(Instant::now()) else { return };
        tracing::warn!(
            what,
            held_back,
            "somebody else announces on our channel, and is not believed: give each cluster a \
            HEADCOUNT_CHANNEL of its own"
        );
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

/// Compares what a subscription delivers with what replies say was published.
#[derive(Debug)]
struct DeliveryCheck {
    subscribed_at: Instant,
    /// The highest revision that was received. It starts with the published revision of the first reply after
    /// subscribing, because that announcement may have been sent before the subscription.
    received: Option<Revision>,
    /// A published revision that has not arrived, and the time at which the subscription counts as stalled.
    awaited: Option<(Revision, Instant)>,
    /// The first message without a dataset that was newer than the view, and when it arrived.
    claimed: Option<(Revision, Instant)>,
}

impl DeliveryCheck {
    fn new(subscribed_at: Instant) -> Self {
        Self { subscribed_at, received: None, awaited: None, claimed: None }
    }

    /// Records an announcement.
    fn received(&mut self, revision: Revision) {
        self.received = self.received.max(Some(revision));
    }

    /// Records a message without a dataset. Returns whether it is a reason to ask the store. In any case it shows that the
    /// subscription delivers, which matters beside instances of an older version.
    fn is_news(&mut self, count: &Count, view: &View, now: Instant) -> bool {
        self.received = self.received.map(|received| received.max(view.announced()));
        let news = count.supersedes(&view.seen());
        if news {
            self.claimed.get_or_insert((count.revision, now));
        }
        news
    }

    /// Whether the store, asked because of such a message, had no count as new as that.
    fn is_contradicted(&mut self, view: &View) -> bool {
        let Some((revision, claimed_at)) = self.claimed else { return false };
        if view.answered().is_none_or(|sent_at| sent_at <= claimed_at) {
            return false;
        }
        self.claimed = None;
        view.seen().revision < revision
    }

    /// When the subscription counts as stalled if the missing announcement does not arrive.
    fn compare(&mut self, view: &View, now: Instant) -> Option<Instant> {
        if view.answered().is_none_or(|sent_at| sent_at <= self.subscribed_at) {
            return None;
        }
        let received = *self.received.get_or_insert(view.announced());
        if self.awaited.is_some_and(|(revision, _)| revision <= received) {
            self.awaited = None;
        }
        if self.awaited.is_none() && view.announced() > received {
            self.awaited = Some((view.announced(), now + STALLED_AFTER));
        }
        self.awaited.map(|(_, stalled_at)| stalled_at)
    }
}

#[cfg(test)]
#[path = "subscriber/tests.rs"]
mod tests;
