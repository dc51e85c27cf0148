//! One instance without sockets: the product's tasks from tally to view. In the place of the broadcaster a
//! task notes when news arrived; it never emits.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use headcount::{
    cluster::{reporter::ReporterSettings, tasks::ClusterTasks},
    core::{
        about::About,
        count::{Incarnation, Revision},
        rooms::Rooms,
        tally::{Change, Presence, Tally},
        view::View,
    },
    store::{
        Store,
        redis::{RedisSettings, RedisStore},
    },
    telemetry::metrics::Metrics,
};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// How long a report is valid: the product's default.
pub const LEASE: Duration = Duration::from_secs(2);
/// Longest time between two reports: the product's default.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// One instance of the product, without its sockets.
#[derive(Debug)]
pub struct Instance {
    /// Its local count.
    pub tally: Arc<Tally<()>>,
    /// The count as this instance knows it.
    pub view: Arc<watch::Sender<View>>,
    /// Its notes.
    notes: Arc<Mutex<Notes>>,
    /// The visitors that are here.
    present: Vec<Presence<()>>,
}

/// The notes of one instance.
#[derive(Debug, Default)]
pub struct Notes {
    /// Every revision that was new to it, and when it arrived.
    pub revisions: Vec<(Revision, Instant)>,
    /// Every new visitor that the store acknowledged: when it joined, when the store acknowledged it, and the
    /// highest revision known then. That is not below the revision that includes the visitor.
    pub acknowledged: Vec<(Instant, Instant, Revision)>,
}

impl Notes {
    /// When a revision that is not below this one arrived; `None` if none has.
    pub fn known_since(&self, revision: Revision) -> Option<Instant> {
        let after = self.revisions.partition_point(|(known, _)| *known < revision);
        self.revisions.get(after).map(|(_, since)| *since)
    }
}

impl Instance {
    /// Starts its tasks.
    ///
    /// # Errors
    /// If the URL cannot be parsed.
    pub fn start(redis_url: &str, tasks: &mut JoinSet<()>) -> Result<Self> {
        let store: Arc<dyn Store> = Arc::new(RedisStore::new(RedisSettings {
            url: redis_url.to_owned(),
            key: "currentUsers".to_owned(),
            channel: "user count".to_owned(),
            lease: LEASE,
        })?);
        let metrics = Metrics::new(store.kind()).context("failed to set up metrics")?;
        let tally = Tally::new();
        let about = Arc::new(About::new("bench".to_owned(), SystemTime::now()));
        let settings = ReporterSettings {
            incarnation: Incarnation::random(),
            lease: LEASE,
            heartbeat: HEARTBEAT,
            about: watch::Sender::new(about).subscribe(),
        };
        let ClusterTasks { view, reporter, subscriber, observer, .. } =
            ClusterTasks::new(&settings, &store, Rooms::<()>::new(0), tally.subscribe(), &metrics);
        let notes = Arc::new(Mutex::default());
        tasks.spawn(observer.run(CancellationToken::new()));
        tasks.spawn(reporter.run(CancellationToken::new()));
        tasks.spawn(subscriber.run(CancellationToken::new()));
        tasks.spawn(take_notes(Arc::clone(&tally), view.subscribe(), Arc::clone(&notes)));
        Ok(Self { tally, view, notes, present: Vec::new() })
    }

    /// A visitor joins.
    pub fn join(&mut self) {
        self.present.push(self.tally.join((), Instant::now()));
    }

    /// A visitor joins or leaves, as the coin decides, unless that leads too far away from `present`. So the
    /// count changes at random, which it would not if every join were paired with a leave.
    pub fn wander(&mut self, heads: bool, present: usize) {
        let few = self.present.len() <= present / 2;
        let many = self.present.len() >= present * 2;
        if few || (heads && !many) {
            self.join();
        } else {
            self.present.swap_remove(0);
        }
    }

    /// Its notes.
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take_notes(
    tally: Arc<Tally<()>>,
    mut view: watch::Receiver<View>,
    notes: Arc<Mutex<Notes>>,
) {
    while view.changed().await.is_ok() {
        let seen = *view.borrow_and_update();
        let (now, revision) = (Instant::now(), seen.seen().revision);
        // No visitor gets the estimate here: the time of the store's answer is what is measured.
        let newcomers = tally.take_newcomers(seen.covered(), Change::default(), now);
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.revisions.last().is_none_or(|(last, _)| revision > *last) {
            notes.revisions.push((revision, now));
        }
        let acknowledged = newcomers.iter().map(|newcomer| (newcomer.joined_at, now, revision));
        notes.acknowledged.extend(acknowledged);
    }
}
