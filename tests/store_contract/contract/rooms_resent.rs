//! Instances that must send their rooms again, since the store does not have what it had acknowledged.

use std::time::Duration;

use headcount::core::{
    count::{Count, Revision, Sequence, Stamp, WHOLE_MAX},
    report::{Outcome, Report},
};
use rstest::rstest;

use super::{SHORT, rooms::counts, rooms_ended::crowd};
use crate::{
    entries::{asks, gone, here, members},
    setup::{Backend, Instance, LONG, Subject},
};

/// Goal: a report of an instance of which the store knows less than it has acknowledged is not applied. Method: a store that knows
/// nothing of the instance, which is no sign that it has lost data; and one with an older report, which is.
#[rstest]
#[case::embedded(Backend::Embedded, false)]
#[case::redis(Backend::Redis, false)]
#[case::embedded_behind(Backend::Embedded, true)]
#[case::redis_behind(Backend::Redis, true)]
#[tokio::test]
async fn a_store_that_misses_reports_says_so(#[case] backend: Backend, #[case] is_behind: bool) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut other, mut a] = [2, 3].map(Instance::new);
    other.say(store, vec![members("/x", 1)]).await;
    if is_behind {
        a.say(store, vec![members("/x", 5)]).await;
    }
    let before = other.report(store).await;
    a.rooms = vec![members("/x", 7), here("/y", &["ada"])];
    let report = Report { sequence: Sequence(10), acknowledged: Sequence(9), ..a.prepare() };
    let reply = store.report(report).await.unwrap();
    assert_eq!((reply.outcome, reply.rooms), (Outcome::Resend, None));
    assert_eq!(reply.stored_sequence, Sequence(is_behind.into()));
    assert_eq!((reply.count.users, reply.instances), (before.count.users, before.instances));
    assert_eq!(reply.count.recovering, is_behind);
    assert_eq!(reply.count.supersedes(&before.count), is_behind);
    let expected = if is_behind { 6 } else { 1 };
    assert_eq!(counts(store, &["/x", "/y"]).await, [expected, 0]);
}

/// Goal: an instance that sends all again is never counted twice or not at all, and its former incarnation can say nothing more.
/// Method: the new incarnation names the former one while it sends its rooms in two portions; the site's count stays, and
/// nobody is elsewhere because of the former incarnation. Late reports of that come with every sequence.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_former_incarnation_is_counted_out_in_the_same_step(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut other, mut former] = [2, 5].map(Instance::new);
    other.say(store, vec![here("/y", &["bob"])]).await;
    former.say(store, vec![members("/x", 3), here("/y", &["ada", "bob"]), members("/z", 1)]).await;
    former.rooms = vec![members("/x", 99)];
    let late = former.prepare();
    let mut a = former.renewed();
    a.resending = true;
    let first = a.say(store, vec![here("/y", &["ada", "bob"]), members("/x", 4)]).await;
    assert_eq!((first.count.users, first.instances), (7, 2));
    let rooms = first.rooms.unwrap();
    assert_eq!((rooms.rooms_held, rooms.users_held), (1, 2));
    assert_eq!(rooms.elsewhere, [false, true], "the former incarnation is not somebody else");
    a.resending = false;
    let second = a.say(store, vec![members("/w", 1), asks("/y"), asks("/x"), asks("/z")]).await;
    assert_eq!((second.count.users, second.dead), (7, 0));
    assert_eq!(second.rooms.unwrap().counts, [1, 2, 4, 0]);
    assert!(!second.count.recovering, "a resend is no sign of a loss");
    let last = Report { sequence: Sequence(WHOLE_MAX), ..late.clone() };
    for report in [late, last] {
        let reply = store.report(report).await.unwrap();
        assert_eq!((reply.outcome, reply.rooms), (Outcome::Stale, None));
        assert_eq!(reply.stored_sequence, Sequence(WHOLE_MAX));
    }
    assert_eq!(counts(store, &["/w", "/x", "/y", "/z"]).await, [1, 4, 2, 0]);
    assert_eq!(other.report(store).await.count.users, 7);
}

/// Goal: a former incarnation that the store does not know is refused from then on, too. Method: its only report is late.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn an_unknown_former_incarnation_is_refused(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut former = Instance::new(5);
    former.rooms = vec![members("/x", 3)];
    let late = former.prepare();
    let mut a = former.renewed();
    a.say(store, vec![members("/x", 2)]).await;
    assert_eq!(store.report(late).await.unwrap().outcome, Outcome::Stale);
    let reply = a.say(store, vec![asks("/x")]).await;
    assert_eq!((reply.count.users, reply.instances), (5, 1));
    assert_eq!(reply.rooms.unwrap().counts, [2]);
}

/// Goal: the end of a former incarnation is no crash. Method: its tombstone ends while the new incarnation reports.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_former_incarnation_is_no_crash(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut former = Instance::new(5);
    former.lease = SHORT;
    former.say(store, vec![members("/x", 3)]).await;
    let mut a = former.renewed();
    let first = a.say(store, vec![members("/x", 3)]).await;
    assert_eq!((first.count.users, first.reaped), (5, 0));
    a.former = None;
    let reply = a.report_until(store, |reply| reply.reaped > 0).await;
    assert_eq!((reply.reaped, reply.crashed, reply.count.users), (1, 0, 5));
}

/// Goal: a store that has lost data is recovering as long as instances send their rooms again. Method: a reporter that has seen a
/// higher revision, and sends for longer than a lease, beside one that does not; then it is done.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_recovery_waits_for_what_is_resent(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut other] = [3, 1].map(Instance::new);
    (a.lease, other.lease) = (SHORT, SHORT);
    a.resending = true;
    a.seen = Count { revision: Revision(40), ..Count::default() };
    let start = std::time::Instant::now();
    let mut number = 0;
    while start.elapsed() < 3 * SHORT {
        number += 1;
        let reply = a.say(store, vec![members(&format!("/{number}"), number)]).await;
        assert!(reply.count.recovering, "{reply:?}");
        assert_eq!(reply.rooms.unwrap().counts, [number], "replies have counts all the same");
        let reply = other.report(store).await;
        assert!(reply.count.recovering, "somebody else resends: {reply:?}");
        tokio::time::sleep(SHORT / 30).await;
    }
    a.resending = false;
    let done = a.report_until(store, |reply| !reply.count.recovering).await;
    assert_eq!(done.paged, done.count.revision, "the end counts as a page");
    assert_eq!(a.hear(store, vec![asks("/1"), asks("/2")]).await.counts, [1, 2]);
}

/// Goal: nobody is elsewhere because of a former incarnation whose rooms are still being taken away. Method: the former one was in many
/// rooms, with a user in each; the first report of the new one names some of them.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_former_incarnation_is_not_elsewhere(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let former = crowd(store, LONG).await;
    let names: Vec<_> = (0..100).map(|number| format!("/crowd/{}", 10 * number)).collect();
    let mut a = former.renewed();
    let reply = a.say(store, names.iter().map(|name| here(name, &["ada"])).collect()).await;
    assert_eq!((reply.dead, reply.count.users), (1, 1));
    let rooms = reply.rooms.unwrap();
    assert_eq!((rooms.users_held, rooms.elsewhere), (100, vec![false; 100]));
}

/// Goal: a resend alone marks nothing. Method: an instance resends to a healthy store for some reports.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_resend_to_a_healthy_store_marks_nothing(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(3);
    for number in 1..9 {
        a.resending = number < 8;
        let reply = a.say(store, vec![members("/x", number)]).await;
        assert!(!reply.count.recovering, "{reply:?}");
    }
}

/// Goal: a revision that another report has made is a sign of a loss, and the same one is not. Method: reporters that have seen the
/// store's revision: with its stamp but another count of the site, as a page of rooms tells it; without a stamp; and with another
/// stamp.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn stamps_tell_revisions_apart(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(3);
    a.report(store).await;
    let held = a.say(store, vec![members("/x", 1)]).await.count;
    let mut b = Instance::new(0);
    b.seen = Count { users: 9, ..held };
    assert!(
        !b.report(store).await.count.recovering,
        "a page of rooms does not tell the site's count"
    );
    let unstamped = Count { stamp: Stamp::default(), ..held };
    b.seen = unstamped;
    assert!(!b.report(store).await.count.recovering, "a count without a stamp is not suspicious");
    let other = Stamp::new(b.incarnation, Duration::from_micros(77));
    b.seen = Count { stamp: other, ..held };
    let reply = b.say(store, vec![gone("/x", &["ada"])]).await;
    assert!(reply.count.recovering && reply.count.supersedes(&held), "{reply:?}");
}
