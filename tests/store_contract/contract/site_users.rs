//! Users of the site with an identity, who are part of the site's count.

use headcount::core::{count::Revision, report::Outcome};
use rstest::rstest;

use super::SHORT;
use crate::{
    entries::{asks, gone, here, members},
    setup::{Backend, Instance, Subject, next},
};

/// Goal: a user of the site changes its count, which is announced like any other change; saying the same again, and a second instance
/// that has him, too, change nothing. Method: he comes on two instances, and goes on both.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn users_of_the_site_are_announced(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut heard = store.subscribe().await.unwrap();
    let [mut a, mut b] = [1, 2].map(Instance::new);
    a.report(store).await;
    assert_eq!(next(&mut heard).await.unwrap().unwrap().users, 1);
    b.report_until(store, |reply| !reply.unannounced).await;
    assert_eq!(next(&mut heard).await.unwrap().unwrap().users, 3);
    let comes = a.say(store, vec![here("/", &["ada"])]).await;
    assert_eq!((comes.count.users, comes.count.revision), (4, Revision(3)));
    a.report_until(store, |reply| !reply.unannounced).await;
    let announced = next(&mut heard).await.unwrap().unwrap();
    assert_eq!((announced.users, announced.revision), (4, Revision(3)));
    for _ in 0..2 {
        let again = b.say(store, vec![here("/", &["ada"])]).await;
        assert_eq!(again.count, comes.count);
        assert_eq!(again.rooms.unwrap().elsewhere, [true]);
    }
    let goes = a.say(store, vec![gone("/", &["ada"])]).await;
    assert_eq!((goes.count.users, goes.count.revision), (4, Revision(3)));
    let goes = b.say(store, vec![gone("/", &["ada"])]).await;
    assert_eq!((goes.count.users, goes.count.revision), (3, Revision(4)));
    b.report_until(store, |reply| !reply.unannounced).await;
    assert_eq!(next(&mut heard).await.unwrap().unwrap().users, 3);
    assert_eq!(store.roster().await.unwrap().users, 3);
}

/// Goal: the site's count does not dip when an instance sends its users again under another incarnation, and those who left meanwhile
/// are gone with the former one. Method: an instance with users, of which one is elsewhere, too; the new incarnation names all but
/// one in its first report.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn users_of_the_site_survive_a_resend(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut other, mut former] = [2, 5].map(Instance::new);
    other.say(store, vec![here("/", &["bob"])]).await;
    let before = former.say(store, vec![here("/", &["ada", "bob", "eve", "max"])]).await;
    assert_eq!(before.count.users, 11);
    let mut a = former.renewed();
    a.resending = true;
    let first = a.say(store, vec![here("/", &["ada", "bob", "eve"])]).await;
    assert_eq!((first.count.users, first.instances), (10, 2), "max has left");
    let rooms = first.rooms.unwrap();
    assert_eq!((&*rooms.counts, rooms.users_held), (&[10][..], 3));
    assert_eq!(rooms.elsewhere, [false, true, false]);
    a.resending = false;
    assert_eq!(a.say(store, vec![members("/x", 1), asks("/")]).await.count.users, 10);
    assert!(!former.prepare().rooms.iter().any(|room| !room.users.is_empty()));
    let late = store.report(former.prepare()).await.unwrap();
    assert_eq!((late.outcome, late.count.users), (Outcome::Stale, 10));
}

/// Goal: the users of an instance that has died are in the site's count until its lease ends, and those whom another one has stay.
/// Method: one of two instances stops reporting.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn users_of_the_site_end_with_the_lease(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut alive, mut dead] = [1, 4].map(Instance::new);
    (alive.lease, dead.lease) = (SHORT, SHORT);
    dead.say(store, vec![here("/", &["ada", "bob"])]).await;
    let first = alive.say(store, vec![here("/", &["ada"])]).await;
    assert_eq!((first.count.users, first.rooms.unwrap().elsewhere), (7, vec![true]));
    let ended = alive.report_until(store, |reply| reply.crashed > 0).await;
    assert_eq!(ended.count.users, 2);
    assert_eq!(alive.hear(store, vec![here("/", &["ada"])]).await.elsewhere, [false]);
}
