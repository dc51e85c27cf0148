//! Users of the site with an identity, from the tally to the store.

use super::*;
use crate::{
    core::room::{IdentityKind, Person, UserId},
    core::rooms::RoomsSettings,
    store::embedded::EmbeddedStore,
};

const GRACE: Duration = Duration::from_secs(2);
/// So long that no report is made by chance at the time that matters.
const LONG_HEARTBEAT: Duration = Duration::from_secs(20);
const LONG_LEASE: Duration = Duration::from_secs(100);

/// An instance on an embedded store.
struct Home {
    store: Arc<EmbeddedStore>,
    tally: Arc<Tally<()>>,
    view: Arc<watch::Sender<View>>,
    metrics: Metrics,
}

impl Home {
    fn new() -> Self {
        let start = Instant::now();
        let store = Arc::new(EmbeddedStore::with_clock(move || start.elapsed()));
        let settings = RoomsSettings { grace: GRACE, lingering_max: 9, ..RoomsSettings::default() };
        let rooms = Rooms::<()>::with_settings(settings);
        let tally = Tally::with_users(Arc::<Rooms<()>>::clone(&rooms));
        let view = Arc::new(watch::Sender::new(View::default()));
        let about = About::new("kitchen-2".to_owned(), SystemTime::UNIX_EPOCH);
        let settings = ReporterSettings {
            incarnation: Incarnation::random(),
            lease: LONG_LEASE,
            heartbeat: LONG_HEARTBEAT,
            about: watch::Sender::new(Arc::new(about)).subscribe(),
        };
        let metrics = Metrics::new("embedded").unwrap();
        let ledger: Arc<dyn RoomLedger> = rooms;
        let reporter = Reporter::new(
            &settings,
            Arc::<EmbeddedStore>::clone(&store),
            tally.subscribe(),
            Arc::clone(&view),
            Arc::clone(&ledger),
            Arc::new(Notify::new()),
            metrics.clone(),
        );
        let observer = Observer::new(tally.subscribe(), ledger, Arc::clone(&view));
        tokio::task::spawn(observer.run(CancellationToken::new()));
        tokio::task::spawn(reporter.run(CancellationToken::new()));
        Self { store, tally, view, metrics }
    }

    fn join(&self, id: &str) -> Presence<()> {
        let user = UserId::parse(id).unwrap();
        let person = Person { user, kind: IdentityKind::Token, info: None };
        self.tally.join_as(Some(person), (), Instant::now())
    }

    /// The store's count, and what the instance shows, once everything has had the time to be reported.
    async fn users(&self) -> (u64, u64) {
        sleep(Duration::from_millis(100)).await;
        let stored = self.store.roster().await.unwrap().users;
        (stored, self.view.borrow().shown(Instant::now()).users)
    }

    fn reports(&self) -> u64 {
        let applied = ReportResult::Applied.label();
        self.metrics.reports.with_label_values(&[applied]).get()
    }
}

/// Goal: a user is counted once and at once, a reload sends no report, and the end of the grace is reported when it is there, not with
/// the next heartbeat. Method: two tabs, a reload, and a leave, with a heartbeat longer than all of that.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_grace_is_reported_in_time() {
    let home = Home::new();
    let tabs = (home.join("t:ada"), home.join("t:ada"));
    let guest = home.tally.join((), Instant::now());
    assert_eq!(home.users().await, (2, 2));
    let before = home.reports();
    drop(tabs);
    sleep(GRACE / 2).await;
    let again = home.join("t:ada");
    sleep(GRACE).await;
    assert_eq!((home.users().await, home.reports()), ((2, 2), before));
    drop(again);
    let left = Instant::now();
    sleep(GRACE.checked_sub(Duration::from_millis(200)).unwrap()).await;
    assert_eq!(home.users().await, (2, 2));
    sleep(Duration::from_millis(50)).await;
    assert_eq!(home.users().await, (1, 1));
    assert!(left.elapsed() < GRACE + Duration::from_millis(300));
    drop(guest);
    assert_eq!(home.users().await, (0, 0));
}
