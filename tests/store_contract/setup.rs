//! Stores for the tests, and an instance that reports to them.

use std::{
    future::Future,
    mem,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use headcount::{
    core::{
        about::About,
        count::{Count, Incarnation, Sequence},
        report::{Reply, Report, ReportKind, RoomReport, RoomsReply},
    },
    store::{
        Announcement, Announcements, Store, StoreError,
        embedded::EmbeddedStore,
        redis::{RedisSettings, RedisStore},
    },
};
use headcount_testkit::redis_server::RedisServer;

/// The time limit for what must happen on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A lease that does not end within a test.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// The kinds of store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    Embedded,
    Redis,
}

/// An empty store, and what it needs to live.
pub(crate) struct Subject {
    pub(crate) store: Arc<dyn Store>,
    /// The public key.
    pub(crate) key: String,
    /// Kept so that the shared server ends after the last test that uses it.
    pub(crate) server: Option<Arc<RedisServer>>,
}

impl Subject {
    pub(crate) fn new(backend: Backend) -> Self {
        match backend {
            Backend::Embedded => {
                Self { store: Arc::new(EmbeddedStore::new()), key: String::new(), server: None }
            }
            Backend::Redis => {
                let server = shared_server();
                let key = unique_name();
                let store = redis_store(&server.url(), &key, LONG);
                Self { store: Arc::new(store), key, server: Some(server) }
            }
        }
    }
}

/// A Redis store whose channel is named after its key.
pub(crate) fn redis_store(url: &str, key: &str, lease: Duration) -> RedisStore {
    let settings = RedisSettings {
        url: url.to_owned(),
        key: key.to_owned(),
        channel: format!("{key} changed"),
        lease,
    };
    RedisStore::new(settings).unwrap()
}

/// A key that no other test uses.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("users-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The server of all tests that do not disturb it. It starts for the first test and ends after the
/// last.
fn shared_server() -> Arc<RedisServer> {
    static SHARED: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(RedisServer::start(&[]));
    *shared = Arc::downgrade(&server);
    server
}

/// An instance: its users, and what it has seen.
pub(crate) struct Instance {
    pub(crate) incarnation: Incarnation,
    pub(crate) users: u64,
    pub(crate) lease: Duration,
    pub(crate) seen: Count,
    /// What its reports say of it.
    pub(crate) about: Option<Arc<About>>,
    /// The last sequence that it knows to be acknowledged.
    pub(crate) acknowledged: Sequence,
    pub(crate) former: Option<Incarnation>,
    pub(crate) resending: bool,
    /// What its next report says of rooms.
    pub(crate) rooms: Vec<RoomReport>,
    sequence: Sequence,
}

impl Instance {
    pub(crate) fn new(users: u64) -> Self {
        Self {
            incarnation: Incarnation::random(),
            users,
            lease: LONG,
            seen: Count::default(),
            about: None,
            acknowledged: Sequence(0),
            former: None,
            resending: false,
            rooms: Vec::new(),
            sequence: Sequence(0),
        }
    }

    /// The same instance as a new incarnation, which names this one.
    pub(crate) fn renewed(&self) -> Self {
        let fresh = Self::new(self.users);
        Self { lease: self.lease, seen: self.seen, former: Some(self.incarnation), ..fresh }
    }

    /// Its next report, which may be sent later, repeatedly, or never.
    pub(crate) fn prepare(&mut self) -> Report {
        self.sequence = self.sequence.next();
        Report {
            users: self.users,
            seen: self.seen,
            about: self.about.clone(),
            acknowledged: self.acknowledged,
            former: self.former,
            resending: self.resending,
            rooms: mem::take(&mut self.rooms),
            ..Report::new(self.incarnation, self.sequence, self.lease)
        }
    }

    pub(crate) async fn try_report(&mut self, store: &dyn Store) -> Result<Reply, StoreError> {
        let report = self.prepare();
        let reply = store.report(report).await?;
        if reply.count.supersedes(&self.seen) {
            self.seen = reply.count;
        }
        Ok(reply)
    }

    pub(crate) async fn report(&mut self, store: &dyn Store) -> Reply {
        self.try_report(store).await.unwrap()
    }

    /// Reports this of rooms, and remembers that it was acknowledged.
    pub(crate) async fn say(&mut self, store: &dyn Store, rooms: Vec<RoomReport>) -> Reply {
        self.rooms = rooms;
        let reply = self.report(store).await;
        assert!(reply.is_applied(), "{reply:?}");
        self.acknowledged = self.sequence;
        reply
    }

    /// Reports this of rooms. Returns what the store says of them.
    pub(crate) async fn hear(&mut self, store: &dyn Store, rooms: Vec<RoomReport>) -> RoomsReply {
        self.say(store, rooms).await.rooms.unwrap()
    }

    pub(crate) async fn leave(&mut self, store: &dyn Store) -> Reply {
        let report = Report { kind: ReportKind::Farewell, ..self.prepare() };
        store.report(report).await.unwrap()
    }

    /// Reports until the reply meets the condition.
    pub(crate) async fn report_until(
        &mut self,
        store: &dyn Store,
        wished: impl Fn(&Reply) -> bool,
    ) -> Reply {
        let deadline = Instant::now() + SOON;
        loop {
            let reply = self.report(store).await;
            if wished(&reply) {
                return reply;
            }
            assert!(Instant::now() < deadline, "it does not come to that: {reply:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reports until any report is answered.
    pub(crate) async fn report_until_answered(&mut self, store: &dyn Store) -> Reply {
        let deadline = Instant::now() + SOON;
        loop {
            match self.try_report(store).await {
                Ok(reply) => return reply,
                Err(error) => assert!(Instant::now() < deadline, "it stays away: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The next announcement, or `None` at the end of the stream.
pub(crate) async fn next(announcements: &mut Announcements) -> Option<Result<Count, StoreError>> {
    let next = within(futures_util::StreamExt::next(announcements)).await;
    next.map(|read| match read? {
        Announcement::Own(count) => Ok(count),
        other => panic!("somebody else's: {other:?}"),
    })
}

/// Waits for what must happen, up to the limit.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it happens soon")
}
