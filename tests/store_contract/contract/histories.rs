//! Random histories of reports: both stores must give the same replies, and those of a simple model.

mod model;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use headcount::{
    core::{
        count::{Count, Incarnation, Revision, Sequence, Stamp},
        report::{LEASE_MAX, Reply, Report, ReportKind, RoomReport, UserPresence, UserReport},
        room::{RoomName, UserId},
    },
    store::{
        Announcement, Announcements, RoomsQuery, Store, embedded::EmbeddedStore,
        people::PeopleQuery,
    },
};
use proptest::{
    collection::{btree_map, vec},
    option::weighted,
    prelude::*,
    test_runner::TestRunner,
};

use self::model::Model;
use crate::{
    entries::room,
    roster::about,
    setup::{Backend, Instance, Subject, within},
};

/// The instances of a history.
const INSTANCES: usize = 6;
/// The site, and rooms. Names of both kinds are in order.
const ROOMS: [&str; 4] = ["/", "/a", "/a/b", "/c"];
const USERS: [&str; 3] = ["t:ada", "t:bob", "v:eve"];
/// A lease under a time that only the test moves.
const LEASE: Duration = Duration::from_secs(2);

/// What a report says of a room: connections, and users who are here or gone.
type Said = (Option<u64>, BTreeMap<usize, u8>);

/// One step of a history.
#[derive(Clone, Debug)]
struct Step {
    /// The time since the step before, in milliseconds.
    pause: u64,
    who: usize,
    sequence: u64,
    users: u64,
    seen: Seen,
    kind: u8,
    host: Option<u8>,
    acknowledged: Option<u64>,
    former: Option<usize>,
    resending: bool,
    rooms: BTreeMap<usize, Said>,
}

/// The count that a report says it has seen.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Nothing,
    /// That of the reply before.
    Newest,
    /// That of the reply before, with another stamp.
    Restamped,
    /// Some revision and count, without a stamp.
    Other(u64, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seen = prop_oneof![
        8 => Just(Seen::Nothing),
        8 => Just(Seen::Newest),
        1 => Just(Seen::Restamped),
        2 => (0_u64..25, 0_u64..9).prop_map(|(revision, users)| Seen::Other(revision, users)),
    ];
    let said = (weighted(0.7, 0_u64..4), btree_map(0..USERS.len(), 0_u8..6, 0..3));
    let plain = (0_u64..1200, 0..INSTANCES, 1_u64..16, 0_u64..5, 0_u8..9, weighted(0.3, 0_u8..3));
    let lives = (weighted(0.1, 0_u64..9), weighted(0.06, 0..INSTANCES), prop::bool::weighted(0.1));
    let rooms = btree_map(0..ROOMS.len(), said, 0..4);
    let step = (plain, seen, lives, rooms).prop_map(|(plain, seen, lives, rooms)| {
        let (pause, who, sequence, users, kind, host) = plain;
        let (acknowledged, former, resending) = lives;
        let former = former.filter(|former| *former != who);
        Step {
            pause,
            who,
            sequence,
            users,
            seen,
            kind,
            host,
            acknowledged,
            former,
            resending,
            rooms,
        }
    });
    vec(step, 1..40)
}

impl Step {
    fn report(&self, instances: &[Incarnation], newest: Count, lease: Duration) -> Report {
        let kind = match self.kind {
            0 => ReportKind::Farewell,
            1 => ReportKind::Audit,
            _ => ReportKind::Plain,
        };
        let incarnation = instances[self.who];
        let seen = match self.seen {
            Seen::Nothing => Count::default(),
            Seen::Newest => newest,
            Seen::Restamped => Count { stamp: Stamp::new(incarnation, Duration::MAX), ..newest },
            Seen::Other(revision, users) => {
                Count { users, revision: Revision(revision), ..Count::default() }
            }
        };
        Report {
            users: self.users,
            seen,
            kind,
            about: self.host.map(|host| about(&format!("web-{host}"))),
            acknowledged: Sequence(self.acknowledged.unwrap_or(0).min(self.sequence - 1)),
            former: self.former.map(|former| instances[former]),
            resending: self.resending,
            rooms: self.rooms.iter().map(|(place, said)| entry(ROOMS[*place], said)).collect(),
            ..Report::new(incarnation, Sequence(self.sequence), lease)
        }
    }
}

fn entry(name: &str, (connections, users): &Said) -> RoomReport {
    let users = users.iter().map(|(user, presence)| UserReport {
        user: UserId::parse(USERS[*user]).unwrap(),
        presence: match presence {
            0 | 1 => UserPresence::Gone,
            2 => UserPresence::Here(Some(r#"{"name":"Ada"}"#.into())),
            3 => UserPresence::Still(r#"{"name":"A."}"#.into()),
            _ => UserPresence::Here(None),
        },
    });
    let connections = connections.filter(|_| name != "/");
    RoomReport { room: room(name), connections, users: users.collect() }
}

/// What a reply says that does not depend on the clock of the store, by which it announces and stamps.
fn timeless(reply: Reply) -> Reply {
    let count = Count { stamp: Stamp::default(), ..reply.count };
    Reply { count, announced: Revision(0), unannounced: false, paged: Revision(0), ..reply }
}

/// Runs a check with random histories.
async fn with_histories<F>(cases: u32, check: impl Fn(Vec<Step>) -> F + Send + 'static)
where
    F: Future<Output = Result<(), TestCaseError>>,
{
    let runtime = tokio::runtime::Handle::current();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    tokio::task::spawn_blocking(move || {
        let outcome =
            TestRunner::new(config).run(&steps(), |history| runtime.block_on(check(history)));
        assert!(outcome.is_ok(), "{outcome:?}");
    })
    .await
    .unwrap();
}

/// Goal: both stores give the same replies, and the right ones. Method: send the same random histories to both: reports that are
/// late, repeated, forgetful or final, that have acknowledged what the store does not have, that name former incarnations, and
/// say and ask something of rooms. Every reply must be that of a simple model. At the end, the announcements must have told the
/// counts of the rooms, and both stores must list the same users.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn both_stores_give_the_same_replies() {
    // Keeps the server for all histories.
    let _server = Subject::new(Backend::Redis);
    with_histories(96, replies_are_the_same).await;
}

async fn replies_are_the_same(history: Vec<Step>) -> Result<(), TestCaseError> {
    let subjects = [Backend::Embedded, Backend::Redis].map(Subject::new);
    let [embedded, redis] = subjects.each_ref().map(|subject| &*subject.store);
    let mut subscribers = [Subscriber::new(embedded).await, Subscriber::new(redis).await];
    let instances: Vec<_> = (0..INSTANCES).map(|_| Instance::new(0).incarnation).collect();
    let (mut model, mut newest) = (Model::default(), [Count::default(); 2]);
    for step in history {
        let [report, of_redis] = newest.map(|newest| step.report(&instances, newest, LEASE_MAX));
        let one = embedded.report(report.clone()).await.unwrap();
        let other = redis.report(of_redis).await.unwrap();
        model.check(&report, &one, Duration::ZERO)?;
        newest = [one.count, other.count];
        prop_assert_eq!(timeless(one), timeless(other));
        subscribers.iter_mut().for_each(Subscriber::hear_present);
    }
    for (store, subscriber) in [embedded, redis].into_iter().zip(subscribers) {
        ends_like(&model, store, subscriber, newest[0].recovering).await?;
    }
    let abouts = async |store: &dyn Store| {
        let instances = store.roster().await.unwrap().instances;
        instances.into_iter().map(|one| (one.incarnation, one.about)).collect::<Vec<_>>()
    };
    prop_assert_eq!(abouts(embedded).await, abouts(redis).await);
    for name in &ROOMS[1..] {
        let (own, room) = (Some(instances[0]), RoomName::parse(name).unwrap());
        let query = PeopleQuery { room, own, listed: Vec::new() };
        let mut people = redis.people(query.clone()).await.unwrap();
        people.users.sort_by(|one, other| one.user.cmp(&other.user));
        prop_assert_eq!(embedded.people(query).await.unwrap(), people);
    }
    Ok(())
}

/// What the announcements have told.
struct Subscriber {
    announcements: Announcements,
    announced: Revision,
    paged: Revision,
    rooms: BTreeMap<RoomName, u64>,
}

impl Subscriber {
    async fn new(store: &dyn Store) -> Self {
        let announcements = store.subscribe().await.unwrap();
        let (announced, paged) = Default::default();
        Self { announcements, announced, paged, rooms: BTreeMap::new() }
    }

    /// Reads what has arrived.
    fn hear_present(&mut self) {
        while self.hear().now_or_never().is_some() {}
    }

    async fn hear(&mut self) {
        match within(self.announcements.next()).await.unwrap().unwrap() {
            Announcement::Own(count) => self.announced = count.revision,
            Announcement::Rooms(page) => {
                assert_eq!(page.since, self.paged, "a page is missing");
                self.paged = page.revision;
                self.rooms.extend(page.counts);
            }
            other => panic!("somebody else's: {other:?}"),
        }
    }
}

/// Checks what a store shows and has announced at the end of a history.
async fn ends_like(
    model: &Model,
    store: &dyn Store,
    mut subscriber: Subscriber,
    is_recovering: bool,
) -> Result<(), TestCaseError> {
    let mut reader = Instance::new(0);
    let last = reader.report_until(store, |reply| !reply.unannounced).await;
    reader.leave(store).await;
    let expected = model.rooms();
    let query = RoomsQuery { prefix: String::new(), most: 99 };
    let listed: BTreeMap<_, _> = store.rooms(query).await.unwrap().into_iter().collect();
    prop_assert_eq!(&listed, &expected);
    if is_recovering {
        return Ok(());
    }
    while (subscriber.paged, subscriber.announced) != (last.paged, last.announced) {
        subscriber.hear().await;
    }
    let mut told = subscriber.rooms;
    told.retain(|_, count| *count > 0);
    prop_assert_eq!(told, expected);
    Ok(())
}

/// Goal: the counts are right after any history with deaths, too. Method: random histories under a time that only the test moves,
/// with pauses of up to half a lease and more; every reply of the embedded store must be that of the model.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn counts_are_right_after_any_history() {
    with_histories(512, replies_are_right).await;
}

async fn replies_are_right(history: Vec<Step>) -> Result<(), TestCaseError> {
    let now = Arc::new(Mutex::new(Duration::ZERO));
    let clock = Arc::clone(&now);
    let store = EmbeddedStore::with_clock(move || *clock.lock().unwrap());
    let instances: Vec<_> = (0..INSTANCES).map(|_| Instance::new(0).incarnation).collect();
    let (mut model, mut newest) = (Model::default(), Count::default());
    for step in history {
        let time = {
            let mut now = now.lock().unwrap();
            *now += Duration::from_millis(step.pause);
            *now
        };
        let report = step.report(&instances, newest, LEASE);
        let reply = store.report(report.clone()).await.unwrap();
        model.check(&report, &reply, time)?;
        newest = reply.count;
        let query = RoomsQuery { prefix: String::new(), most: 99 };
        let listed: BTreeMap<_, _> = store.rooms(query).await.unwrap().into_iter().collect();
        prop_assert_eq!(listed, model.rooms());
    }
    Ok(())
}
