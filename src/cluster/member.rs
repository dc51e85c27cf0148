//! One member of a cluster: a local count that is reported, and the view that comes back.
//!
//! It owns the reporter, the announcements task and their end, and knows nothing of sockets: whoever has connections
//! counts them in the member's tally and tells them what its view shows.

use std::{
    fmt,
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    counts::{Counts, UserCount},
    observer::Observer,
    reporter::{Reporter, ReporterSettings},
    subscriber::Subscriber,
    view_metrics::record_view,
};
use crate::{
    config::{
        member::{CheckedMember, MemberSettings},
        setting::ConfigError,
    },
    core::{
        about::About,
        count::Incarnation,
        pace::ANSWER_OVERDUE,
        tally::{Local, Tally},
        view::View,
    },
    store::{
        Store,
        embedded::EmbeddedStore,
        redis::{InvalidRedisUrl, RedisSettings, RedisStore},
    },
    telemetry::metrics::{Metrics, signed},
};

/// An application's membership in a cluster: it reports how many connections the application has, and knows how many
/// there are in all.
///
/// Other members and `headcount serve` instances on the same Redis, with the same key, channel and lease, count together.
/// What an instance promises of its connections holds for a member's: a crash takes them out of the count within a lease
/// and a heartbeat (2.5 s by default), and while Redis is away the count is an estimate that says so.
///
/// All clones are one member. How it ends:
/// - [`Member::leave`] takes its connections out of everybody's count at once. Call it on shutdown.
/// - Dropping all clones without that is like a crash: the background tasks end where they are, the lease runs out, and
///   what was handed to [`crate::socketioxide::count`] is told nothing more.
/// - A background task that ends by itself is a bug. The process goes on, but the count does not: [`Member::failure`] says
///   so, and an application should end when it does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), headcount::JoinError> {
/// let member = headcount::Member::join(headcount::MemberSettings::default()).await?;
/// assert_eq!(member.count().to_string(), "0");
/// member.leave().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Member {
    inner: Arc<Inner>,
}

struct Inner {
    local: watch::Sender<Local>,
    /// Whether somebody counts already: changes are numbered by one tally.
    is_counting: AtomicBool,
    view: Arc<watch::Sender<View>>,
    metrics: Metrics,
    emit_interval: Duration,
    /// Tells the tasks to end in order.
    stop: CancellationToken,
    /// Whether tasks may end: since somebody left, or nobody holds the member any more.
    is_over: CancellationToken,
    /// The name of the first task that ended before it was told to.
    failed: watch::Sender<Option<&'static str>>,
    runtime: Handle,
    tasks: TaskTracker,
    aborts: Mutex<Vec<AbortHandle>>,
}

/// Why [`Member::join`] failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A setting is not allowed.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The address of Redis is allowed but cannot be used: a private certificate authority that cannot be read, for
    /// example.
    #[error("failed to set up the connection to Redis")]
    Store(#[from] InvalidRedisUrl),
    /// The metrics of this process cannot be read.
    #[error("failed to set up metrics")]
    Metrics(#[from] prometheus::Error),
}

/// A background task of a member ended by itself, which is a bug: the log holds what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {task} of a cluster member ended by itself")]
pub struct MemberFailure {
    /// Its name.
    pub task: &'static str,
}

impl Member {
    /// Joins a cluster, or counts alone if no Redis is set. Resolves with the first answer of the store, or after 750 ms
    /// without one: whether Redis is there shows in [`UserCount::exact`], and the member goes on trying.
    ///
    /// It must be called on a Tokio runtime, on which its background tasks live. For `rediss://` it installs rustls' `ring`
    /// provider, unless the application has installed another.
    ///
    /// # Errors
    /// If a setting is not allowed. Never because of a Redis that is away.
    pub async fn join(settings: MemberSettings) -> Result<Self, JoinError> {
        let settings = settings.check()?;
        let store = store(&settings)?;
        let metrics = Metrics::new(store.kind())?.named(&settings.instance_name);
        let member = Self::begin(&settings, &store, metrics);
        let mut view = member.view();
        // Whoever has no answer yet shows the estimate, which is all that a store that is away leaves.
        let _ =
            timeout(ANSWER_OVERDUE, view.wait_for(|view| view.is_reachable(Instant::now()))).await;
        Ok(member)
    }

    fn begin(settings: &CheckedMember, store: &Arc<dyn Store>, metrics: Metrics) -> Self {
        let about = About::new(settings.instance_name.clone(), SystemTime::now());
        let reporter_settings = ReporterSettings {
            incarnation: Incarnation::random(),
            lease: settings.lease,
            heartbeat: settings.heartbeat,
            about: watch::Sender::new(Arc::new(about)).subscribe(),
        };
        let local = watch::Sender::new(Local::default());
        let Upkeep { view, reporter, announcements, observer } =
            Upkeep::new(&reporter_settings, store, local.subscribe(), &metrics);
        let member = Self {
            inner: Arc::new(Inner {
                local,
                is_counting: AtomicBool::new(false),
                view,
                metrics,
                emit_interval: settings.emit_interval,
                stop: CancellationToken::new(),
                is_over: CancellationToken::new(),
                failed: watch::Sender::new(None),
                runtime: Handle::current(),
                tasks: TaskTracker::new(),
                aborts: Mutex::default(),
            }),
        };
        let stop = member.stop();
        member.run("reporter", reporter.run(stop.clone()));
        member.run("announcements", announcements.run(stop.clone()));
        member.run("observer", observer.run(stop));
        member
    }

    /// How many users there are in the cluster now.
    pub fn count(&self) -> UserCount {
        self.inner.count(&self.inner.view.borrow())
    }

    /// The count as it changes.
    pub fn subscribe(&self) -> Counts {
        Counts::new(self.view(), self.inner.is_over.clone(), self.inner.failed.subscribe())
    }

    /// Ends the membership: this member's connections leave everybody's count at once. Resolves when the store has
    /// answered to that, or has not for a lease. Nothing is counted or told from here on, whoever holds a clone.
    pub async fn leave(&self) {
        self.inner.is_over.cancel();
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Resolves if a background task ends by itself, and never otherwise: not when the member leaves either. An application
    /// waits for this beside its server, and ends when it comes: from then on its users are not in the count.
    ///
    /// ```no_run
    /// # async fn example(member: headcount::Member, server: impl Future<Output = ()>) -> Result<(), headcount::MemberFailure> {
    /// tokio::select! {
    ///     () = server => Ok(()),
    ///     failure = member.failure() => Err(failure),
    /// }
    /// # }
    /// ```
    pub async fn failure(&self) -> MemberFailure {
        let mut failed = self.inner.failed.subscribe();
        let task = match failed.wait_for(Option::is_some).await {
            Ok(task) => *task,
            Err(_) => None,
        };
        match task {
            Some(task) => MemberFailure { task },
            None => pending().await,
        }
    }

    /// The metrics of this member and of the process, in the text format of Prometheus. Those that concern an instance's
    /// own listeners stay at 0.
    ///
    /// # Errors
    /// If a metric cannot be encoded, which is a bug.
    pub fn metrics(&self) -> Result<String, prometheus::Error> {
        let view = *self.inner.view.borrow();
        let metrics = &self.inner.metrics;
        let now = Instant::now();
        record_view(metrics, &view, now);
        metrics.view_exact.set(i64::from(self.inner.count(&view).exact));
        let here = self.inner.local.borrow().users;
        metrics.drift_users.set(signed(view.acknowledged_users(now)) - signed(here));
        metrics.draining.set(i64::from(self.inner.is_over.is_cancelled()));
        metrics.render()
    }

    /// The local count that is reported, for whoever counts connections in it. `None` from the second time on: changes are
    /// numbered by one tally.
    pub(crate) fn tally<V>(&self) -> Option<Arc<Tally<V>>> {
        let is_taken = self.inner.is_counting.swap(true, Ordering::Relaxed);
        (!is_taken).then(|| Tally::publishing_to(self.inner.local.clone()))
    }

    /// What there is to show.
    pub(crate) fn view(&self) -> watch::Receiver<View> {
        self.inner.view.subscribe()
    }

    /// The metrics that this member's page shows.
    pub(crate) fn own_metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Least time between two emissions.
    pub(crate) fn emit_interval(&self) -> Duration {
        self.inner.emit_interval
    }

    /// Cancelled when the tasks are to end in order.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// Cancelled when nothing is counted any more: the member left, or nobody holds it.
    pub(crate) fn is_over(&self) -> CancellationToken {
        self.inner.is_over.clone()
    }

    /// Runs a background task until [`Member::stop`]. It must not hold the member, or dropping that would end nothing.
    pub(crate) fn run(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let guard = TaskGuard {
            name,
            is_over: self.inner.is_over.clone(),
            failed: self.inner.failed.clone(),
        };
        let guarded = async move {
            let _guard = guard;
            task.await;
        };
        let running = self.inner.tasks.spawn_on(guarded, &self.inner.runtime);
        let mut aborts = self.inner.aborts.lock().unwrap_or_else(PoisonError::into_inner);
        aborts.push(running.abort_handle());
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Inner {
    fn count(&self, view: &View) -> UserCount {
        let is_working = !self.is_over.is_cancelled() && self.failed.borrow().is_none();
        UserCount::of(view, is_working)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.is_over.is_cancelled() {
            tracing::warn!("a cluster member is dropped without leaving: its lease will run out");
        }
        self.is_over.cancel();
        let aborts = self.aborts.get_mut().unwrap_or_else(PoisonError::into_inner);
        aborts.iter().for_each(AbortHandle::abort);
    }
}

/// Says that a task ended, however it did, unless it was time.
struct TaskGuard {
    name: &'static str,
    is_over: CancellationToken,
    failed: watch::Sender<Option<&'static str>>,
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if self.is_over.is_cancelled() {
            return;
        }
        tracing::error!(task = self.name, "a task of a cluster member ended by itself");
        self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert(self.name);
            is_first
        });
    }
}

/// The tasks between a local count and the view, and that view. Nothing runs before it is spawned.
#[derive(Debug)]
pub(crate) struct Upkeep {
    /// What the tasks keep up to date.
    pub(crate) view: Arc<watch::Sender<View>>,
    /// Local count to store, and answers to view.
    pub(crate) reporter: Reporter,
    /// Announcements to view.
    pub(crate) announcements: Subscriber,
    /// Local count to view, whether or not anybody reports.
    pub(crate) observer: Observer,
}

impl Upkeep {
    /// Sets them up, for a local count that somebody else keeps.
    pub(crate) fn new(
        settings: &ReporterSettings,
        store: &Arc<dyn Store>,
        local: watch::Receiver<Local>,
        metrics: &Metrics,
    ) -> Self {
        let view = Arc::new(watch::Sender::new(View::default()));
        let resync = Arc::new(Notify::new());
        let (store, metrics) = (Arc::clone(store), metrics.clone());
        let observer = Observer::new(local.clone(), Arc::clone(&view));
        let reporter = Reporter::new(
            settings,
            Arc::clone(&store),
            local,
            Arc::clone(&view),
            Arc::clone(&resync),
            metrics.clone(),
        );
        let announcements = Subscriber::new(store, Arc::clone(&view), resync, metrics);
        Self { view, reporter, announcements, observer }
    }
}

fn store(settings: &CheckedMember) -> Result<Arc<dyn Store>, InvalidRedisUrl> {
    let Some(redis) = settings.redis.clone() else {
        return Ok(Arc::new(EmbeddedStore::new()));
    };
    if redis.url.starts_with("rediss") {
        // An error says that there is a provider, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let (url, key, channel) = (redis.url, redis.key, redis.channel);
    let settings = RedisSettings { url, key, channel, lease: settings.lease };
    Ok(Arc::new(RedisStore::new(settings)?))
}

#[cfg(test)]
#[path = "member/tests.rs"]
mod tests;
