//! Announcements of rooms: pages, each of which names the one before.

use std::{collections::BTreeMap, time::Instant};

use futures_util::StreamExt;
use headcount::{
    core::{
        count::{Count, Revision, Stamp},
        room::RoomName,
    },
    store::{Announcement, Announcements, RoomsPage, Store},
};
use rstest::rstest;

use super::{SHORT, gaps_in};
use crate::{
    entries::{asks, gone, here, members, name},
    setup::{Backend, Instance, Subject, within},
};

/// The most rooms of a page.
const PAGE_ROOMS_MAX: usize = 100;

/// A subscriber, and what it was told.
struct Subscriber {
    announcements: Announcements,
    rooms: BTreeMap<RoomName, u64>,
    pages: Vec<RoomsPage>,
    counts: Vec<Count>,
}

impl Subscriber {
    async fn new(store: &dyn Store) -> Self {
        let announcements = store.subscribe().await.unwrap();
        Self { announcements, rooms: BTreeMap::new(), pages: Vec::new(), counts: Vec::new() }
    }

    /// Reads until the page of this revision has come.
    async fn hear_page(&mut self, revision: Revision) {
        while self.pages.last().map(|page| page.revision) != Some(revision) {
            self.hear().await;
        }
    }

    /// Reads one announcement, and checks how it follows the one before.
    async fn hear(&mut self) {
        match within(self.announcements.next()).await.unwrap().unwrap() {
            Announcement::Own(count) => {
                assert!(self.counts.last().is_none_or(|before| count.supersedes(before)));
                self.counts.push(count);
            }
            Announcement::Rooms(page) => {
                let before = self.pages.last().map_or(Revision(0), |page| page.revision);
                assert_eq!(page.since, before, "{page:?}");
                assert!(page.revision > before && !page.stamp.is_empty(), "{page:?}");
                assert!((1..=PAGE_ROOMS_MAX).contains(&page.counts.len()), "{page:?}");
                self.rooms.extend(page.counts.iter().cloned());
                self.pages.push(page);
            }
            other => panic!("somebody else's: {other:?}"),
        }
    }
}

/// Reports until everything is announced.
async fn all_announced(instance: &mut Instance, store: &dyn Store) -> Revision {
    instance.report_until(store, |reply| !reply.unannounced).await.paged
}

/// Goal: every subscriber is told the newest count of every room that has changed, also of one that is empty now, and nothing of
/// others. Method: two subscribers; two instances with connections and a user; one room empties, one only is asked for.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn changes_of_rooms_are_announced(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut subscribers = [Subscriber::new(store).await, Subscriber::new(store).await];
    let [mut a, mut b] = [1, 0].map(Instance::new);
    a.say(store, vec![members("/x", 3), here("/y", &["ada"]), members("/z", 1)]).await;
    b.say(store, vec![members("/x", 2), here("/y", &["ada"]), asks("/w")]).await;
    all_announced(&mut b, store).await;
    let last = a.say(store, vec![members("/z", 0), gone("/y", &["ada"]), asks("/x")]).await;
    let paged = all_announced(&mut b, store).await;
    let expected = [("/x", 5), ("/y", 1), ("/z", 0)].map(|(room, count)| (name(room), count));
    for subscriber in &mut subscribers {
        subscriber.hear_page(paged).await;
        assert_eq!(subscriber.rooms, BTreeMap::from(expected.clone()));
        let page = subscriber.pages.last().unwrap();
        assert_eq!(page.counts, [(name("/z"), 0)], "{page:?}");
        assert_eq!((page.revision, page.stamp), (last.count.revision, last.count.stamp));
    }
}

/// Goal: what changes only in rooms is not announced on the site's channel, nor the other way round. Method: some of both, then the
/// counts and pages that were told.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn site_and_rooms_are_announced_apart(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut subscriber = Subscriber::new(store).await;
    let mut a = Instance::new(1);
    a.report(store).await;
    assert_eq!(all_announced(&mut a, store).await, Revision(0));
    let mut paged = Revision(0);
    for count in 1..=3 {
        a.say(store, vec![members("/x", count)]).await;
        paged = all_announced(&mut a, store).await;
        assert_eq!(paged, Revision(count + 1));
    }
    a.users = 2;
    let last = a.report_until(store, |reply| !reply.unannounced).await;
    assert_eq!((last.announced, last.paged), (Revision(5), paged));
    while subscriber.counts.last().map(|count| count.revision) != Some(last.announced) {
        subscriber.hear().await;
    }
    assert_eq!(subscriber.counts.iter().map(|count| count.users).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(subscriber.pages.len(), 3);
}

/// Goal: many changes at once are told in pages of bounded size, each with a revision of its own, and none is lost. Method: more
/// rooms in one report than fit into two pages; then they empty.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn pages_are_bounded(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut subscriber = Subscriber::new(store).await;
    let mut a = Instance::new(1);
    let rooms: Vec<_> = (0..230).map(|number| format!("/{number}")).collect();
    for count in [7, 0] {
        let entries = rooms.iter().map(|room| members(room, count)).collect();
        let reply = a.say(store, entries).await;
        assert!(reply.unannounced, "{reply:?}");
        let paged = all_announced(&mut a, store).await;
        subscriber.hear_page(paged).await;
        assert_eq!(subscriber.rooms.len(), rooms.len());
        assert!(subscriber.rooms.values().all(|told| *told == count));
    }
    assert!(subscriber.pages.len() >= 6, "{} pages", subscriber.pages.len());
    let asked = a.say(store, vec![asks("/0")]).await;
    assert_eq!(asked.paged, asked.count.revision, "the last page made the newest revision");
}

/// Goal: pages of rooms have a pace, and many changes of a room between two pages are told as one. Method: a hundred instances, which
/// allow a page every 50 ms, change one room one after the other.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn pages_are_paced(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut instances: Vec<_> = (0..100).map(|_| Instance::new(0)).collect();
    for instance in &mut instances {
        instance.report(store).await;
    }
    let mut subscriber = Subscriber::new(store).await;
    let start = Instant::now();
    for instance in &mut instances {
        instance.say(store, vec![members("/x", 1)]).await;
    }
    let gaps = gaps_in(start.elapsed(), 50);
    let paged = all_announced(&mut instances[0], store).await;
    subscriber.hear_page(paged).await;
    assert_eq!(subscriber.rooms, BTreeMap::from([(name("/x"), 100)]));
    let pages = subscriber.pages.len() as u128;
    assert!(pages <= gaps + 2, "{pages} pages in {gaps} gaps");
}

/// Goal: while the store recovers, its counts of rooms are not announced; its end is, by a page without rooms that says that one was
/// missed, so that all read their rooms, even if nothing changes any more. Method: changes before, during and after a recovery; the
/// last ones after its end was heard.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_recovery_is_one_missing_page(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut subscriber = Subscriber::new(store).await;
    let mut a = Instance::new(1);
    a.lease = SHORT;
    a.say(store, vec![members("/x", 1)]).await;
    let before = all_announced(&mut a, store).await;
    a.seen =
        Count { revision: Revision(400), stamp: Stamp::default(), users: 1, recovering: false };
    assert!(a.report(store).await.count.recovering);
    let marked = a.say(store, vec![members("/x", 2), members("/y", 2)]).await;
    assert_eq!(marked.paged, before);
    let done = a.report_until(store, |reply| !reply.count.recovering).await;
    assert_eq!(done.paged, done.count.revision);
    assert!(done.paged > before);
    let mut pages = pages_up_to(&mut subscriber, done.paged).await;
    a.say(store, vec![members("/z", 3)]).await;
    let last = all_announced(&mut a, store).await;
    pages.extend(pages_up_to(&mut subscriber, last).await);
    let told: Vec<_> = pages.iter().map(|page| (page.since, &*page.counts)).collect();
    let (x, z) = ([(name("/x"), 1)], [(name("/z"), 3)]);
    let expected = [(Revision(0), &x[..]), (done.paged, &[]), (done.paged, &z[..])];
    assert_eq!(told, expected);
    assert_eq!((pages[1].revision, pages[1].stamp), (done.count.revision, done.count.stamp));
}

/// The pages up to the one of this revision.
async fn pages_up_to(subscriber: &mut Subscriber, last: Revision) -> Vec<RoomsPage> {
    let mut pages = Vec::new();
    while pages.last().map(|page: &RoomsPage| page.revision) != Some(last) {
        let announcement = within(subscriber.announcements.next()).await.unwrap().unwrap();
        if let Announcement::Rooms(page) = announcement {
            pages.push(page);
        }
    }
    pages
}

/// Goal: what waits to be announced when a recovery begins is not announced after it, since all read their rooms then. Method: more
/// rooms change than fit into a page, just before the recovery.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn a_recovery_forgets_what_waits(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(1);
    a.lease = SHORT;
    let rooms: Vec<_> = (0..250).map(|number| format!("/{number}")).collect();
    a.say(store, rooms.iter().map(|room| members(room, 1)).collect()).await;
    a.seen.revision = Revision(800);
    let marked = a.report(store).await;
    assert!(marked.count.recovering);
    let done = a.report_until(store, |reply| !reply.count.recovering).await;
    assert!(!done.unannounced, "{done:?}");
    assert_eq!(done.paged, done.count.revision);
}
