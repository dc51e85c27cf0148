//! Tests of how a member begins, is watched, and ends.

use rstest::rstest;
use tokio::{
    task::yield_now,
    time::{Instant, advance},
};

use super::*;
use crate::{
    core::{
        count::Count,
        report::{Reply, Report, ReportKind, Roster},
        room::Person,
        tally::Presence,
    },
    store::{Announcements, StoreError, StoreFuture},
};

/// A store that takes reports down, and is away or in order.
#[derive(Debug)]
struct Recorded {
    store: EmbeddedStore,
    is_away: bool,
    kinds: Mutex<Vec<ReportKind>>,
}

impl Recorded {
    fn new(is_away: bool) -> Arc<Self> {
        Arc::new(Self { store: EmbeddedStore::new(), is_away, kinds: Mutex::default() })
    }

    fn farewells(&self) -> usize {
        let kinds = self.kinds.lock().unwrap();
        kinds.iter().filter(|kind| **kind == ReportKind::Farewell).count()
    }

    async fn users(&self) -> u64 {
        self.store.roster().await.unwrap().users
    }
}

impl Store for Recorded {
    fn report(&self, report: Report) -> StoreFuture<'_, Reply> {
        self.kinds.lock().unwrap().push(report.kind);
        if self.is_away {
            return Box::pin(async { Err(StoreError::Unreachable("it is away".into())) });
        }
        self.store.report(report)
    }

    fn subscribe(&self) -> StoreFuture<'_, Announcements> {
        self.store.subscribe()
    }

    fn roster(&self) -> StoreFuture<'_, Roster> {
        self.store.roster()
    }

    fn kind(&self) -> &'static str {
        "recorded"
    }
}

fn member_on(store: &Arc<Recorded>) -> Member {
    member_with(store, &MemberSettings::default())
}

fn member_with(store: &Arc<Recorded>, settings: &MemberSettings) -> Member {
    let settings = settings.check().unwrap();
    let metrics = Metrics::new(store.kind()).unwrap();
    let store: Arc<dyn Store> = Arc::<Recorded>::clone(store);
    Member::begin(&settings, &store, metrics)
}

/// A member with one user whom the store knows of.
async fn with_a_user(store: &Arc<Recorded>) -> (Member, Presence<()>) {
    let member = member_on(store);
    let tally = member.tally().expect("nobody counts yet");
    let presence = tally.join((), Instant::now());
    while store.users().await != 1 {
        yield_now().await;
    }
    (member, presence)
}

/// Goal: a member that leaves sends one farewell, and its user is out of the count when `leave` resolves. Method: two
/// clones that leave at the same time, and again later.
#[tokio::test]
async fn leaving_says_farewell() {
    let store = Recorded::new(false);
    let (member, _presence) = with_a_user(&store).await;
    let clone = member.clone();
    tokio::join!(member.leave(), clone.leave());
    assert_eq!(store.users().await, 0);
    member.leave().await;
    assert_eq!(store.farewells(), 1);
    assert!(!member.count().exact, "it knows nothing more");
}

/// Goal: a member that leaves keeps a user who was here a moment ago in the count for the rest of the grace, and for two seconds at
/// most, so that he can be elsewhere by then; a member without such users leaves at once. Method: members of every grace, whose user
/// has just left, is still connected, or has no identity, under a paused clock.
#[rstest]
#[case::a_moment_ago(Duration::from_secs(1), true, false, 1000)]
#[case::still_connected(Duration::from_secs(1), true, true, 1000)]
#[case::too_long(Duration::from_secs(50), true, false, 2000)]
#[case::no_grace(Duration::ZERO, true, true, 0)]
#[case::nobody_with_an_identity(Duration::from_secs(50), false, true, 0)]
#[tokio::test(start_paused = true)]
async fn users_are_handed_over(
    #[case] grace: Duration,
    #[case] has_identity: bool,
    #[case] is_connected: bool,
    #[case] millis: u64,
) {
    let store = Recorded::new(false);
    let member = member_with(&store, &MemberSettings { grace, ..MemberSettings::default() });
    let tally = member.tally().expect("nobody counts yet");
    let person = has_identity.then(|| Person::named("ada").expect("it is a name"));
    let presence = Some(tally.join_as(person, (), Instant::now()));
    let mut view = member.view();
    view.wait_for(|view| view.shown(Instant::now()).users == 1).await.unwrap();
    let _presence = presence.filter(|_| is_connected);
    let start = Instant::now();
    member.leave().await;
    let (took, wanted) = (start.elapsed(), Duration::from_millis(millis));
    assert!(took >= wanted && took <= wanted + Duration::from_millis(100), "{took:?}");
    assert_eq!((store.users().await, store.farewells()), (0, 1));
}

/// Goal: dropping all clones is like a crash: no farewell, no further report, and the lease expires. Method: drop one
/// clone, then the last one.
#[tokio::test(start_paused = true)]
async fn dropping_is_a_crash() {
    let store = Recorded::new(false);
    let (member, presence) = with_a_user(&store).await;
    drop(member.clone());
    let reports = || store.kinds.lock().unwrap().len();
    let before = reports();
    advance(Duration::from_secs(1)).await;
    for _ in 0..10 {
        yield_now().await;
    }
    assert!(reports() > before, "one clone is enough");
    let mut counts = member.subscribe();
    drop(member);
    yield_now().await;
    let after = reports();
    advance(Duration::from_secs(10)).await;
    for _ in 0..10 {
        yield_now().await;
    }
    assert_eq!(reports(), after);
    assert_eq!(store.farewells(), 0);
    assert_eq!(store.users().await, 1, "only time ends it");
    assert_eq!(counts.next().await, None);
    drop(presence);
}

/// Goal: a task that returns or panics by itself is reported as a failure, and the member's count is no longer exact;
/// leaving in order is no failure. Method: an additional task of each kind.
#[rstest]
#[tokio::test]
async fn a_task_that_ends_by_itself_is_told(#[values(false, true)] panics: bool) {
    let store = Recorded::new(false);
    let (member, _presence) = with_a_user(&store).await;
    let mut counts = member.subscribe();
    assert!(counts.next().await.is_some());
    assert!(member.count().exact);
    member.run("short one", async move {
        assert!(!panics, "as it was told to");
    });
    let failure = timeout(Duration::from_secs(20), member.failure()).await;
    assert_eq!(failure, Ok(MemberFailure { task: "short one" }));
    assert!(!member.count().exact);
    while counts.next().await.is_some() {}

    let orderly = member_on(&store);
    orderly.leave().await;
    let failure = timeout(Duration::from_millis(50), orderly.failure()).await;
    assert!(failure.is_err(), "{failure:?}");
}

/// Goal: joining waits for the first answer of the store, so that the count is exact at once, but not for an unreachable
/// store. Method: the embedded store, and an address of Redis where nothing listens.
#[rstest]
#[case(None, true)]
#[case(Some("redis://127.0.0.1:1"), false)]
#[tokio::test]
async fn joining_waits_for_an_answer(#[case] url: Option<&str>, #[case] exact: bool) {
    let settings =
        MemberSettings { redis_url: url.map(str::to_owned), ..MemberSettings::default() };
    let member = Member::join(settings).await.unwrap();
    assert_eq!(member.count(), UserCount { users: 0, exact });
    let metrics = member.metrics().unwrap();
    assert!(metrics.contains(&format!("headcount_view_exact {}\n", i64::from(exact))), "{metrics}");
}

/// Goal: a stream of counts returns every state once, skips outdated ones, and ends with the member. Method: two users who
/// join and leave while nothing reads the stream.
#[tokio::test]
async fn a_stream_skips_to_the_newest() {
    let store = Recorded::new(false);
    let (member, presence) = with_a_user(&store).await;
    let mut counts = member.subscribe();
    let mut view = member.view();
    view.wait_for(|view| view.shown(Instant::now()).users == 1).await.unwrap();
    assert_eq!(counts.next().await, Some(UserCount { users: 1, exact: true }));
    drop(presence);
    view.wait_for(|view| view.shown(Instant::now()).users == 0).await.unwrap();
    assert_eq!(counts.next().await, Some(UserCount { users: 0, exact: true }));
    let none = timeout(Duration::from_millis(50), counts.next()).await;
    assert!(none.is_err(), "nothing has changed: {none:?}");
    member.inner.view.send_modify(|view| {
        view.fold(
            Count {
                users: 7,
                revision: crate::core::count::Revision(1000),
                recovering: false,
                ..Count::default()
            },
            Instant::now(),
        );
    });
    member.leave().await;
    assert_eq!(counts.next().await, None, "what it holds is not said any more");
}

/// Goal: a member has only one tally. Method: ask for it twice.
#[tokio::test]
async fn only_one_counts() {
    let member = member_on(&Recorded::new(true));
    assert!(member.tally::<()>().is_some());
    assert!(member.clone().tally::<()>().is_none());
}
