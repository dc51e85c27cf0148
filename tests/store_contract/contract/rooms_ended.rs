//! Rooms of instances whose reports are late, or that have ended: by a farewell, or with their lease.

use std::time::{Duration, Instant};

use headcount::{
    core::{
        count::{Sequence, WHOLE_MAX},
        report::{Outcome, Reply, Report, ReportKind},
    },
    store::Store,
};
use rstest::rstest;

use super::{SHORT, rooms::counts};
use crate::{
    entries::{asks, gone, here, members},
    setup::{Backend, Instance, SOON, Subject},
};

/// More rooms than one report takes away.
const MANY: usize = 4_000;

/// Goal: late and repeated reports change nothing in rooms, and are told nothing of them. Method: an instance says something, then
/// something newer; the old report and the new one come again.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn late_reports_change_no_room(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(1);
    a.rooms = vec![members("/x", 9), here("/y", &["ada", "bob"]), members("/z", 1)];
    let late = a.prepare();
    a.rooms = vec![members("/x", 2), here("/y", &["bob"]), gone("/w", &["ada"])];
    let newest = a.prepare();
    let applied = store.report(newest.clone()).await.unwrap();
    for report in [late.clone(), newest, late] {
        let reply = store.report(report).await.unwrap();
        assert_eq!((reply.outcome, reply.rooms), (Outcome::Stale, None));
        assert_eq!(reply.count, applied.count);
    }
    assert_eq!(counts(store, &["/x", "/y", "/z", "/w"]).await, [2, 1, 0, 0]);
}

/// Goal: a lost report does no harm, since the next one says all that was not acknowledged. Method: of three reports the second
/// one is lost, and the third one repeats it with newer values.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn lost_reports_do_no_harm(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(1);
    a.say(store, vec![members("/x", 1), here("/y", &["ada"])]).await;
    a.rooms = vec![members("/x", 5), gone("/y", &["ada"])];
    let lost = a.prepare();
    let reply = a.say(store, vec![members("/x", 6), gone("/y", &["ada"]), members("/z", 1)]).await;
    let rooms = reply.rooms.unwrap();
    assert_eq!((&*rooms.counts, rooms.rooms_held, rooms.users_held), (&[6, 0, 1][..], 2, 0));
    assert!(!reply.count.recovering);
    assert_eq!(store.report(lost).await.unwrap().outcome, Outcome::Stale);
    assert_eq!(counts(store, &["/x", "/y", "/z"]).await, [6, 0, 1]);
}

/// Goal: a farewell takes away the rooms of its instance, and no others. Method: two instances in the same rooms, with a user whom
/// both hold, also on the site; one leaves, and a late report of it comes.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_farewell_takes_its_rooms_along(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut b] = [4, 1].map(Instance::new);
    let both = || vec![here("/", &["ada"]), members("/x", 2), here("/y", &["ada", "bob"])];
    a.rooms = both();
    let late = a.prepare();
    a.say(store, [both(), vec![here("/y/z", &["eve"]), here("/z", &["eve"])]].concat()).await;
    b.say(store, both()).await;
    assert_eq!(counts(store, &["/", "/x", "/y", "/y/z", "/z"]).await, [6, 4, 2, 1, 1]);
    let left = a.leave(store).await;
    assert_eq!((left.count.users, left.instances, left.dead), (2, 1, 0));
    assert_eq!(counts(store, &["/", "/x", "/y", "/y/z", "/z"]).await, [2, 2, 2, 0, 0]);
    assert_eq!(store.report(late).await.unwrap().outcome, Outcome::Stale);
    let reply = b.hear(store, both()).await;
    assert_eq!((&*reply.counts, reply.rooms_held, reply.users_held), (&[2, 2, 2][..], 1, 3));
    assert_eq!(reply.elsewhere, [false; 3]);
    b.leave(store).await;
    assert_eq!(counts(store, &["/", "/x", "/y"]).await, [0; 3]);
}

/// Goal: the rooms of an instance that died are counted until its lease ends, and no longer. Method: one of two instances stops
/// reporting; both hold one user. Then the dead one returns: it is told to send all its rooms again, and nothing of its report
/// is applied.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn rooms_of_the_dead_end_with_the_lease(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut alive, mut dead] = [1, 4].map(Instance::new);
    (alive.lease, dead.lease) = (SHORT, SHORT);
    let died = Instant::now();
    dead.say(store, vec![members("/x", 3), here("/y", &["ada", "bob"]), here("/", &["eve"])]).await;
    let entries = vec![members("/x", 1), here("/y", &["ada"])];
    let first = alive.hear(store, entries).await;
    assert_eq!((&*first.counts, &*first.elsewhere), (&[4, 2][..], &[true][..]));
    alive.report_until(store, |reply| reply.count.users == 1 && reply.dead == 0).await;
    assert!(died.elapsed() >= SHORT, "after {:?}", died.elapsed());
    let last = alive.hear(store, vec![asks("/x"), here("/y", &["ada"])]).await;
    assert_eq!((&*last.counts, &*last.elsewhere), (&[1, 1][..], &[false][..]));
    dead.rooms = vec![members("/x", 7)];
    let reply = dead.report(store).await;
    assert_eq!((reply.outcome, reply.rooms), (Outcome::Resend, None));
    assert_eq!((reply.count.users, reply.instances, reply.count.recovering), (1, 1, false));
    assert_eq!(counts(store, &["/x", "/y"]).await, [1, 1]);
}

/// An instance in many rooms, and with a user in each.
pub(super) async fn crowd(store: &dyn Store, lease: Duration) -> Instance {
    let mut instance = Instance::new(1);
    instance.lease = lease;
    let names: Vec<_> = (0..MANY / 2).map(|number| format!("/crowd/{number}")).collect();
    for names in names.chunks(100) {
        let entries = names.iter().map(|name| {
            let mut entry = here(name, &["ada"]);
            entry.connections = Some(1);
            entry
        });
        instance.say(store, entries.collect()).await;
    }
    instance
}

/// Follows how many rooms of the crowd are left, until no dead are left.
async fn until_taken_away(store: &dyn Store, mut report: impl AsyncFnMut() -> Reply) {
    let rooms: Vec<_> = (0..100).map(|number| format!("/crowd/{}", number * MANY / 200)).collect();
    let rooms: Vec<&str> = rooms.iter().map(|room| &**room).collect();
    let (mut before, mut reports) = (200, 0);
    let deadline = Instant::now() + SOON;
    loop {
        assert!(Instant::now() < deadline, "{before} are left");
        let reply = report().await;
        reports += 1;
        let left: u64 = counts(store, &rooms).await.iter().sum();
        assert!(left <= before, "{left} after {before}");
        before = left;
        if reply.dead == 0 {
            break;
        }
        assert_eq!(reply.dead, 1);
    }
    assert_eq!(before, 0);
    assert!(reports > 1, "all was taken away at once");
}

/// Goal: taking away many rooms does not block the store, and comes to an end. Method: an instance in many rooms says farewell, again
/// and again until nothing of it is left; counts only fall.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn many_rooms_are_taken_away_in_portions(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut left = crowd(store, SHORT * 100).await;
    until_taken_away(store, async || left.leave(store).await).await;
}

/// Goal: the same for an instance that died, with the reports of others; and its late first report gives it no new life meanwhile.
/// Method: its first report comes again when its lease has ended, twice; then the others report until nothing of it is left.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn the_dead_stay_dead(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    // Long enough for all its reports on a busy machine.
    let dead = crowd(store, Duration::from_secs(2)).await;
    let first = Report {
        users: 9,
        rooms: vec![members("/crowd/0", 9)],
        sequence: dead.acknowledged.next(),
        ..Report::new(dead.incarnation, dead.acknowledged, dead.lease)
    };
    let mut alive = Instance::new(1);
    alive.lease = Duration::from_secs(2);
    let reply = alive.report_until(store, |reply| reply.reaped > 0).await;
    assert_eq!((reply.count.users, reply.dead), (1, 1));
    for _ in 0..2 {
        let late = store.report(first.clone()).await.unwrap();
        assert_eq!((late.outcome, late.rooms), (Outcome::Stale, None));
        assert_eq!(late.stored_sequence, Sequence(WHOLE_MAX));
        assert_eq!(alive.report(store).await.dead, 1);
    }
    until_taken_away(store, async || alive.report(store).await).await;
}

/// Goal: what a farewell says of rooms is ignored. Method: a farewell that says that somebody is there.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_farewell_says_nothing_of_rooms(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(1);
    a.say(store, vec![members("/x", 1)]).await;
    a.rooms = vec![members("/x", 5), here("/y", &["ada"])];
    let farewell = Report { kind: ReportKind::Farewell, ..a.prepare() };
    let reply = store.report(farewell).await.unwrap();
    assert_eq!((reply.outcome, reply.dead, reply.rooms), (Outcome::Applied, 0, None));
    assert_eq!(counts(store, &["/x", "/y"]).await, [0, 0]);
}
