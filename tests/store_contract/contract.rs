//! What an instance may expect of every store.

mod histories;
mod people;
mod rooms;
mod rooms_announced;
mod rooms_ended;
mod rooms_limited;
mod rooms_resent;
mod site_users;

use std::time::{Duration, Instant};

use headcount::{
    core::{
        about::ABOUT_BYTES_MAX,
        count::{Count, Revision, Sequence, Stamp, WHOLE_MAX},
        report::{LEASE_MAX, LEASE_MIN, LOCAL_MAX, REAPED_MAX, Report},
    },
    store::StoreError,
};
use rstest::rstest;

use crate::roster::about;
use crate::setup::{Backend, Instance, SOON, Subject, next};

/// A lease that ends within a test, and is still long enough for a busy machine.
const SHORT: Duration = Duration::from_millis(300);

/// Goal: the reply contains all that a reporter needs. Method: the first report of the first instance.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn first_report_is_acknowledged(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let mut a = Instance::new(5);
    let reply = a.report(&*subject.store).await;
    assert!(reply.is_applied() && !reply.count.recovering);
    assert_eq!((reply.count.users, reply.count.revision), (5, Revision(1)));
    assert_eq!(reply.announced, Revision(1));
    assert_eq!((reply.instances, reply.stored_sequence), (1, Sequence(0)));
    assert_eq!((reply.reaped, reply.repaired), (0, 0));
}

/// Goal: the count is the sum of the newest reports. Method: two instances report larger and smaller counts.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn count_is_the_sum(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let (mut a, mut b) = (Instance::new(5), Instance::new(0));
    assert_eq!(a.report(&*subject.store).await.count.users, 5);
    let idle = b.report(&*subject.store).await;
    assert_eq!((idle.count.users, idle.instances), (5, 2), "an idle instance is alive");
    b.users = 7;
    assert_eq!(b.report(&*subject.store).await.count.users, 12);
    a.users = 1;
    let reply = a.report(&*subject.store).await;
    assert_eq!((reply.count.users, reply.stored_sequence), (8, Sequence(1)));
}

/// Goal: the revision grows with every change of the count, and never otherwise. Method: report the same
/// count twice, then another.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn revisions_grow_with_changes_alone(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let mut a = Instance::new(5);
    let first = a.report(&*subject.store).await.count;
    assert_eq!(a.report(&*subject.store).await.count, first);
    a.users = 6;
    assert_eq!(a.report(&*subject.store).await.count.revision, Revision(first.revision.0 + 1));
}

/// Goal: a report that is late or repeated changes nothing. Method: send one after a newer one, twice.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn late_and_repeated_reports_are_fenced(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let mut a = Instance::new(9);
    let late = a.prepare();
    a.users = 2;
    let newest = a.prepare();
    let sequence = newest.sequence;
    let expected = subject.store.report(newest.clone()).await.unwrap();
    for report in [late.clone(), newest, late] {
        let reply = subject.store.report(report).await.unwrap();
        assert!(!reply.is_applied());
        assert_eq!((reply.count, reply.stored_sequence), (expected.count, sequence));
    }
}

/// Goal: an instance that sends a farewell leaves the count at once, and stays out. Method: a farewell, then
/// a late report.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn farewell_is_final(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let (mut a, mut b) = (Instance::new(9), Instance::new(1));
    b.report(&*subject.store).await;
    let late = a.prepare();
    a.report(&*subject.store).await;
    let left = a.leave(&*subject.store).await;
    assert_eq!((left.count.users, left.instances), (1, 1));
    assert!(!subject.store.report(late).await.unwrap().is_applied());
    assert_eq!(b.report(&*subject.store).await.count.users, 1);
}

/// Goal: a dead instance is counted until its lease ends, and no longer. Method: one of two instances stops
/// reporting.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn the_dead_leave_with_their_lease(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let [mut alive, mut dead] = [1, 4].map(Instance::new);
    (alive.lease, dead.lease) = (SHORT, SHORT);
    let died = Instant::now();
    dead.report(&*subject.store).await;
    let reply = alive.report_until(&*subject.store, |reply| reply.count.users == 1).await;
    assert!(died.elapsed() >= SHORT, "after {:?}", died.elapsed());
    assert_eq!((reply.instances, reply.reaped, reply.crashed), (1, 1, 1));
}

/// Goal: the end of a farewell's tombstone is not taken for a crash. Method: an instance leaves while another reports on, until
/// the tombstone is gone.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_farewell_is_no_crash(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let [mut alive, mut leaving] = [1, 4].map(Instance::new);
    (alive.lease, leaving.lease) = (SHORT, SHORT);
    leaving.report(&*subject.store).await;
    leaving.leave(&*subject.store).await;
    let reply = alive.report_until(&*subject.store, |reply| reply.reaped > 0).await;
    assert_eq!((reply.reaped, reply.crashed), (1, 0));
}

/// Goal: many deaths at once do not block a store. Method: more instances die than one call may remove. The
/// count is checked after every call.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn reaping_is_bounded(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let mut reaped = 0;
    for _ in 0..REAPED_MAX + 40 {
        let mut dead = Instance::new(1);
        dead.lease = Duration::from_secs(1);
        reaped += dead.report(&*subject.store).await.reaped;
    }
    let mut alive = Instance::new(1);
    let deadline = Instant::now() + SOON;
    while reaped < REAPED_MAX + 40 {
        assert!(Instant::now() < deadline, "{reaped} were reaped");
        let reply = alive.report(&*subject.store).await;
        assert!(reply.reaped <= REAPED_MAX);
        reaped += reply.reaped;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let last = alive.report(&*subject.store).await;
    assert_eq!((last.count.users, last.reaped, reaped), (1, 0, REAPED_MAX + 40));
}

/// Goal: a store that knows less than a reporter is recovering for one lease, and continues with higher
/// revisions than were seen. Method: a reporter that has seen revision 40.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_store_that_forgot_recovers(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let mut a = Instance::new(3);
    a.lease = SHORT;
    a.seen = Count { users: 8, revision: Revision(40), recovering: false, ..Count::default() };
    let reply = a.report(&*subject.store).await;
    assert_eq!((reply.count.users, reply.count.revision), (3, Revision(41)));
    assert!(reply.count.recovering);
    let reply = a.report_until(&*subject.store, |reply| !reply.count.recovering).await;
    assert_eq!((reply.count.users, reply.count.revision), (3, Revision(42)));
}

/// Goal: a revision with another count than the reporter has seen is not trusted. Method: a report with such
/// a revision, from a message without a stamp.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_reused_revision_is_noticed(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let held = Instance::new(3).report(&*subject.store).await.count;
    let mut b = Instance::new(0);
    b.seen = Count { users: 4, stamp: Stamp::default(), ..held };
    let reply = b.report(&*subject.store).await;
    assert!(reply.count.recovering && reply.count.supersedes(&held), "{reply:?}");
}

/// Goal: announcements arrive in order, the last one is the newest for every subscriber, and they are marked
/// like replies. Method: two subscribers, some changes, then a recovery.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn announcements_follow_the_count(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let mut subscribers =
        [subject.store.subscribe().await.unwrap(), subject.store.subscribe().await.unwrap()];
    let mut a = Instance::new(0);
    for users in 1..20 {
        a.users = users;
        a.report(&*subject.store).await;
    }
    a.seen.revision = Revision(a.seen.revision.0 + 100);
    let marked =
        a.report_until(&*subject.store, |reply| reply.announced == reply.count.revision).await;
    assert!(marked.count.recovering);
    for announcements in &mut subscribers {
        let mut held = Count::default();
        while held != marked.count {
            let count = next(announcements).await.unwrap().unwrap();
            assert!(count.supersedes(&held), "{count:?} after {held:?}");
            held = count;
        }
    }
}

/// Goal: a change that is not announced now is announced later, with the report of any instance. Method: a
/// hundred instances, which allow an announcement every 25 ms, change at once. Then one continues to report
/// without a change.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn announcements_are_paced_and_none_is_lost(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let mut announcements = subject.store.subscribe().await.unwrap();
    let mut instances: Vec<_> = (0..100).map(|_| Instance::new(0)).collect();
    for instance in &mut instances {
        instance.report(&*subject.store).await;
    }
    let start = Instant::now();
    let mut announced = instances[0].report(&*subject.store).await.announced;
    let mut messages = 0;
    for instance in &mut instances {
        instance.users = 1;
        let reply = instance.report(&*subject.store).await;
        messages += u32::from(reply.announced != announced);
        announced = reply.announced;
    }
    let gaps = gaps_in(start.elapsed(), 25);
    assert!(u128::from(messages) <= gaps + 1, "{messages} messages in {gaps} gaps");
    let last =
        instances[0].report_until(&*subject.store, |reply| reply.announced == reply.count.revision);
    let last = last.await.count;
    assert_eq!(last.users, 100);
    while next(&mut announcements).await.unwrap().unwrap() != last {}
}

/// How many gaps of so many milliseconds there can be in a time. Stores count whole milliseconds, which may begin just before the time
/// and end just after it.
pub(crate) fn gaps_in(time: Duration, gap_millis: u128) -> u128 {
    (time.as_millis() + 2) / gap_millis
}

/// Goal: a report out of range is refused and changes nothing. Method: one report for each bound.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn reports_out_of_range_are_refused(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let mut a = Instance::new(1);
    let good = a.prepare();
    let beyond = Count { users: WHOLE_MAX + 1, ..Count::default() };
    let too_new = Count { revision: Revision(WHOLE_MAX + 1), ..Count::default() };
    let bad = [
        Report { users: LOCAL_MAX + 1, ..good.clone() },
        Report { sequence: Sequence(WHOLE_MAX + 1), ..good.clone() },
        Report { seen: beyond, ..good.clone() },
        Report { seen: too_new, ..good.clone() },
        Report { lease: LEASE_MIN / 2, ..good.clone() },
        Report { lease: LEASE_MAX + Duration::from_millis(1), ..good.clone() },
        Report { about: Some(about(&"w".repeat(ABOUT_BYTES_MAX))), ..good.clone() },
    ];
    for report in bad {
        let outcome = subject.store.report(report.clone()).await;
        assert!(matches!(outcome, Err(StoreError::Protocol(_))), "{report:?}: {outcome:?}");
    }
    let great = Report { users: LOCAL_MAX, lease: LEASE_MAX, ..good };
    assert_eq!(subject.store.report(great).await.unwrap().count.users, LOCAL_MAX);
}
