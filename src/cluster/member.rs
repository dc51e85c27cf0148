//! A member of a cluster: it runs the tasks between a local count and the view. It knows nothing of
//! sockets: the owner of the connections counts them in the member's tally, and tells them what its view shows.

mod task_guard;

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
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    counts::{Counts, UserCount},
    reporter::ReporterSettings,
    tasks::ClusterTasks,
    view_metrics::record_view,
};
use crate::{
    config::{
        member::{CheckedMember, MemberSettings},
        serve::CONNECTIONS_MAX,
        setting::ConfigError,
    },
    core::{
        about::About,
        count::Incarnation,
        pace::ANSWER_OVERDUE,
        rooms::{Rooms, RoomsSettings},
        tally::{SiteLedger, Tally},
        view::View,
    },
    store::{
        Store,
        embedded::EmbeddedStore,
        redis::{InvalidRedisUrl, RedisSettings, RedisStore},
    },
    telemetry::metrics::{Metrics, signed},
};
use task_guard::TaskGuard;

/// The most users of a member who are counted after their last connection: as many as an instance has sessions at most.
const LINGERING_MAX: usize = CONNECTIONS_MAX;
/// How long a member that leaves may wait for its users to be elsewhere: as long as an instance that shuts down waits for them.
const HANDOVER_MAX: Duration = Duration::from_secs(2);

/// An application's membership in a cluster. It reports how many connections the application has, and knows how many there are
/// in the cluster.
///
/// Other members and `headcount serve` instances on the same Redis, with the same key, channel and lease, count together.
/// A member gives the guarantees of an instance: after a crash its connections leave the count within a lease and a heartbeat
/// (2.5 s by default), and while Redis is unreachable the count is an estimate and says so.
///
/// All clones are the same member. It ends in one of three ways:
/// - [`Member::leave`] counts its connections out. Call it on shutdown.
/// - Dropping all clones is like a crash: the background tasks end, the lease expires, and sockets that
///   [`crate::socketioxide::count`] counts are told nothing more.
/// - A background task that ends by itself is a bug. The process continues without a correct count. [`Member::failure`]
///   resolves then, and the application should end.
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
    /// The users of the site. An application has no rooms.
    rooms: Arc<Rooms<()>>,
    /// Whether a tally exists already. There can be only one, because it numbers the changes.
    is_counting: AtomicBool,
    view: Arc<watch::Sender<View>>,
    metrics: Metrics,
    emit_interval: Duration,
    grace: Duration,
    /// Cancelled to end the tasks in order.
    stop: CancellationToken,
    /// Cancelled when tasks may end: the member has left, or all clones were dropped.
    is_over: CancellationToken,
    /// The name of the first task that ended by itself.
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

/// A background task of a member ended by itself, which is a bug. The log has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {task} of a cluster member ended by itself")]
pub struct MemberFailure {
    /// The name of the task.
    pub task: &'static str,
}

impl Member {
    /// Joins a cluster, or counts alone if no Redis is set. It resolves with the first answer of the store, or after 750 ms.
    /// Without an answer the member keeps trying, and [`UserCount::exact`] is false.
    ///
    /// It must be called on a Tokio runtime, on which the background tasks run. For `rediss://` it installs rustls' `ring`
    /// provider, unless the application has installed another one.
    ///
    /// # Errors
    /// If a setting is not allowed. An unreachable Redis is no error.
    pub async fn join(settings: MemberSettings) -> Result<Self, JoinError> {
        let settings = settings.check()?;
        let store = store(&settings)?;
        let mut metrics = Metrics::new(store.kind())?;
        metrics.build_info.set_host(&settings.instance_name);
        let member = Self::begin(&settings, &store, metrics);
        let mut view = member.view();
        // An error means that there was no answer in time. The view is an estimate then.
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
        let rooms = Rooms::with_settings(RoomsSettings {
            grace: settings.grace,
            lingering_max: LINGERING_MAX,
            ..RoomsSettings::default()
        });
        let (ledger, local) = (Arc::<Rooms<()>>::clone(&rooms), rooms.local().subscribe());
        let ClusterTasks { view, reporter, subscriber, observer, peaks } =
            ClusterTasks::new(&reporter_settings, store, ledger, local, &metrics);
        let member = Self {
            inner: Arc::new(Inner {
                rooms,
                is_counting: AtomicBool::new(false),
                view,
                metrics,
                emit_interval: settings.emit_interval,
                grace: settings.grace,
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
        member.run("announcements", subscriber.run(stop.clone()));
        member.run("observer", observer.run(stop.clone()));
        member.run("peaks", peaks.run(stop));
        member
    }

    /// The count of the cluster now.
    pub fn count(&self) -> UserCount {
        self.inner.count(&self.inner.view.borrow())
    }

    /// The changes of the count.
    pub fn subscribe(&self) -> Counts {
        Counts::new(self.view(), self.inner.is_over.clone(), self.inner.failed.subscribe())
    }

    /// Ends the membership: this member's connections leave the count. It resolves when the store has answered, or after a lease.
    /// From the call on, no clone counts anybody in, and [`Member::subscribe`] ends.
    ///
    /// A user of [`of_users`](crate::socketioxide::Counter::of_users) who is here, or was here a moment ago, is counted for the
    /// grace before, but for two seconds at most. So close the transports of your clients first: their users are on other members
    /// by then, and nobody sees them leave. A member without such users leaves at once.
    pub async fn leave(&self) {
        self.inner.is_over.cancel();
        let patience = self.inner.grace.min(HANDOVER_MAX);
        if timeout(patience, self.until_users_have_moved()).await.is_err() {
            tracing::info!("some users were counted here until the end: the member has left");
        }
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Resolves when nobody with an identity is counted here any more.
    async fn until_users_have_moved(&self) {
        let mut local = self.inner.rooms.local().subscribe();
        let users_here = || SiteLedger::site_users_here(&*self.inner.rooms).total();
        // The change of the local count advances when a user goes.
        while users_here() > 0 && local.changed().await.is_ok() {}
    }

    /// Resolves if a background task ends by itself, and never otherwise, not even when the member leaves. An application should
    /// wait for this beside its server, and end then: its users are no longer in the count.
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

    /// The metrics of this member and of the process, in the text format of Prometheus. Metrics of an instance's own listeners
    /// stay at 0.
    ///
    /// # Errors
    /// If a metric cannot be encoded, which is a bug.
    pub fn metrics(&self) -> Result<String, prometheus::Error> {
        let view = *self.inner.view.borrow();
        let metrics = &self.inner.metrics;
        let now = Instant::now();
        record_view(metrics, &view, now);
        metrics.view_exact.set(i64::from(self.inner.count(&view).exact));
        let here = self.inner.rooms.local().borrow().anonymous;
        metrics.drift_users.set(signed(view.acknowledged_anonymous(now)) - signed(here));
        metrics.draining.set(i64::from(self.inner.is_over.is_cancelled()));
        metrics.render()
    }

    /// The tally whose count is reported. It can be taken once; later calls return `None`.
    pub(crate) fn tally<V>(&self) -> Option<Arc<Tally<V>>> {
        let is_taken = self.inner.is_counting.swap(true, Ordering::Relaxed);
        (!is_taken).then(|| Tally::with_users(Arc::<Rooms<()>>::clone(&self.inner.rooms)))
    }

    /// The view of the cluster.
    pub(crate) fn view(&self) -> watch::Receiver<View> {
        self.inner.view.subscribe()
    }

    /// The metrics of this member.
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

    /// Cancelled when nothing is counted any more: the member has left, or all clones were dropped.
    pub(crate) fn is_over(&self) -> CancellationToken {
        self.inner.is_over.clone()
    }

    /// Runs a background task until [`Member::stop`]. The task must not hold a clone of the member, which would keep the member
    /// from being dropped.
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
        let count = UserCount::of(view);
        UserCount { exact: count.exact && is_working, ..count }
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

fn store(settings: &CheckedMember) -> Result<Arc<dyn Store>, InvalidRedisUrl> {
    let Some(redis) = settings.redis.clone() else {
        return Ok(Arc::new(EmbeddedStore::new()));
    };
    if redis.url.starts_with("rediss") {
        // An error means that the application has installed a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let (url, key, channel) = (redis.url, redis.key, redis.channel);
    let settings = RedisSettings { url, key, channel, lease: settings.lease };
    Ok(Arc::new(RedisStore::new(settings)?))
}

#[cfg(test)]
#[path = "member/tests.rs"]
mod tests;
