//! The task that listens to announcements and folds them into the view: store → view.
//!
//! It never reports. Whenever it subscribes, it asks the reporter for a report at once, whose reply closes
//! the gap in which announcements may have been missed. A subscription that looks alive but delivers
//! nothing is found out by comparing what arrives with what replies say was published.
//!
//! Channels ignore database numbers and keys, and anybody may publish there, so a message is believed only if it says
//! that it speaks of our own dataset. One that does not say is a reason to ask the store, and no more: if the store has
//! nothing as new, it was not ours either.

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
        view::View,
    },
    store::{self, Announcement, Store},
    telemetry::{log_limit::LogLimit, metrics::Metrics},
};

/// How long an announcement that a reply speaks of may take to arrive before the subscription counts as
/// deaf. Both travel from the same server, so a second is far more than the order of arrival needs.
pub const DEAF_AFTER: Duration = Duration::from_secs(1);
/// The least time between two lines of the log that tell of others on the channel: it goes on until an operator
/// changes a setting, and each of their messages is one.
const FOREIGN_LOG_GAP: Duration = Duration::from_mins(1);
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
    /// For lines that tell of others on the channel.
    foreign_log: LogLimit,
}

impl Listener {
    /// Sets it up; [`Listener::run`] does the work.
    pub fn new(
        store: Arc<dyn Store>,
        view: Arc<watch::Sender<View>>,
        resync: Arc<Notify>,
        metrics: Metrics,
    ) -> Self {
        Self { store, view, resync, metrics, foreign_log: LogLimit::new(FOREIGN_LOG_GAP) }
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
            let deaf_at = {
                let view = view.borrow_and_update();
                if hearing.is_contradicted(&view) {
                    self.tell_of_others(
                        "a message that says no key, of a revision that our store does not have",
                    );
                }
                hearing.compare(&view, Instant::now())
            };
            tokio::select! {
                announcement = announcements.next() => match announcement {
                    Some(Ok(announcement)) => self.receive(announcement, &mut hearing),
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

    fn receive(&self, announcement: Announcement, hearing: &mut Hearing) {
        match announcement {
            Announcement::Own(count) => {
                self.metrics.announcements.inc();
                hearing.heard(count.revision);
                self.view.send_if_modified(|view| {
                    let news = count.supersedes(&view.seen());
                    view.fold(count, Instant::now());
                    news
                });
            }
            Announcement::Unsigned(count) => {
                self.metrics.announcements.inc();
                if hearing.is_news(&count, &self.view.borrow(), Instant::now()) {
                    Notify::notify_one(&self.resync);
                }
            }
            Announcement::Foreign(dataset) => self.tell_of_others(&dataset.to_string()),
        }
    }

    /// Somebody else's messages arrive: none of them is believed, but each costs every instance of both clusters work.
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

/// Compares what one subscription delivers with what replies say was published. Pure.
#[derive(Debug)]
struct Hearing {
    subscribed_at: Instant,
    /// The highest revision heard; at first, what the first later reply says was published: no telling
    /// whether that was before or after subscribing.
    heard: Option<Revision>,
    /// A published revision that has not arrived, and when patience ends.
    awaited: Option<(Revision, Instant)>,
    /// The first message since the last look that said no dataset and was newer than the view, and when it came.
    claimed: Option<(Revision, Instant)>,
}

impl Hearing {
    fn new(subscribed_at: Instant) -> Self {
        Self { subscribed_at, heard: None, awaited: None, claimed: None }
    }

    fn heard(&mut self, revision: Revision) {
        self.heard = self.heard.max(Some(revision));
    }

    /// Takes in a message that does not say what it speaks of; whether it is worth asking the store. It shows in any
    /// case that the subscription delivers, as instances of a former version rely on.
    fn is_news(&mut self, count: &Count, view: &View, now: Instant) -> bool {
        self.heard = self.heard.map(|heard| heard.max(view.announced()));
        let news = count.supersedes(&view.seen());
        if news {
            self.claimed.get_or_insert((count.revision, now));
        }
        news
    }

    /// Whether the store, asked after such a message, had nothing as new.
    fn is_contradicted(&mut self, view: &View) -> bool {
        let Some((revision, claimed_at)) = self.claimed else { return false };
        if view.answered().is_none_or(|sent_at| sent_at <= claimed_at) {
            return false;
        }
        self.claimed = None;
        view.seen().revision < revision
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
#[path = "subscriber/tests.rs"]
mod tests;
