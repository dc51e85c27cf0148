//! What operators may expect of any store: who is alive, and who is who.

use std::{sync::Arc, time::SystemTime};

use headcount::core::about::About;
use rstest::rstest;

use crate::{
    entries::here,
    setup::{Backend, Instance, Subject},
};

/// Goal: operators see who is alive. Method: two live instances, one that left.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn roster_lists_the_living(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    assert_eq!(subject.store.roster().await.unwrap().instances, []);
    let [mut a, mut b, mut left] = [5, 0, 2].map(Instance::new);
    for instance in [&mut a, &mut b, &mut left] {
        instance.report(&*subject.store).await;
    }
    let last = left.leave(&*subject.store).await;
    let roster = subject.store.roster().await.unwrap();
    assert_eq!((roster.users, roster.count.users), (5, 5));
    assert_eq!((roster.count.revision, roster.count.recovering), (last.count.revision, false));
    let found: Vec<_> =
        roster.instances.iter().map(|entry| (&*entry.incarnation, entry.users)).collect();
    let names = [&a, &b].map(|instance| instance.incarnation.to_string());
    assert_eq!(found, [(&*names[0], 5), (&*names[1], 0)]);
    for entry in &roster.instances {
        let left = entry.lease_left.unwrap();
        assert!(left <= a.lease && left > a.lease / 2, "{left:?}");
    }
}

/// Goal: operators see how many users with an identity are on the site, and the parts add up. Method: two instances share a user, one
/// has another one, and both have users in a room, who are no part of it; then one leaves.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn roster_counts_people_once(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut b] = [3, 1].map(Instance::new);
    a.say(store, vec![here("/", &["ada", "grace"]), here("/x", &["ada"])]).await;
    b.say(store, vec![here("/", &["ada"]), here("/x", &["mary"])]).await;
    let roster = store.roster().await.unwrap();
    assert_eq!((roster.identified, roster.users, roster.sum()), (2, 6, 6));
    a.leave(store).await;
    b.report(store).await;
    let roster = store.roster().await.unwrap();
    assert_eq!((roster.identified, roster.users, roster.sum()), (1, 2, 2));
}

/// Goal: operators see who is who, as each said last, and nobody who is gone. Method: one says who it is, reports on, then
/// says that it drains; one says nothing; one leaves; a report that is late says something else; one comes back.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn roster_says_who_is_who(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let [mut a, mut silent, mut left] = [5, 1, 2].map(Instance::new);
    let [kitchen, cellar] = ["kitchen-2", "cellar"].map(|host| Some(about(host)));
    (a.about, left.about) = (kitchen.clone(), cellar.clone());
    let names = async || {
        let instances = subject.store.roster().await.unwrap().instances;
        instances.into_iter().map(|entry| entry.about).collect::<Vec<_>>()
    };
    for instance in [&mut a, &mut silent, &mut left] {
        instance.report(&*subject.store).await;
    }
    assert_eq!(names().await, [kitchen.clone(), None, cellar]);
    let late = a.prepare();
    a.about = None;
    a.report(&*subject.store).await;
    left.leave(&*subject.store).await;
    assert_eq!(names().await, [kitchen, None], "what was said stands");
    let draining = About { draining: true, ..(*about("kitchen-2")).clone() };
    a.about = Some(Arc::new(draining));
    a.report(&*subject.store).await;
    assert!(!subject.store.report(late).await.unwrap().is_applied());
    assert_eq!(names().await, [a.about.clone(), None]);
    left.about = None;
    left.report(&*subject.store).await;
    assert_eq!(names().await, [a.about, None, None], "a farewell takes it away");
}

/// What an instance on this host says of itself.
pub(crate) fn about(host: &str) -> Arc<About> {
    Arc::new(About::new(host.to_owned(), SystemTime::UNIX_EPOCH))
}
