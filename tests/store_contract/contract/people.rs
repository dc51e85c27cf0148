//! Who is in a room: lists of users with a token, and pages of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::StreamExt;
use headcount::{
    core::{
        count::Revision,
        people::{LISTED_MAX, People},
        report::{RoomReport, UserPresence},
        room::UserId,
    },
    store::{
        Announcement, Announcements, Store,
        people::{PeoplePage, PeoplePageQuery, PeopleQuery},
    },
};
use rstest::rstest;

use crate::{
    entries::{gone, here, members, name, said},
    setup::{Backend, Instance, Subject, within},
};

const ROOM: &str = "/team/7";

/// A user with a token.
fn user(id: &str) -> UserId {
    UserId::parse(&format!("t:{id}")).unwrap()
}

fn numbered(number: usize) -> String {
    format!("t:user-{number:04}")
}

/// Reports that these users are here, as many at a time as a report may name.
async fn say_here(instance: &mut Instance, store: &dyn Store, users: &[String]) {
    for users in users.chunks(200) {
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        instance.say(store, vec![here(ROOM, &users)]).await;
    }
}

async fn people(store: &dyn Store, own: &Instance, listed: &[UserId]) -> People {
    let own = Some(own.incarnation);
    let query = PeopleQuery { room: name(ROOM), own, listed: listed.to_vec() };
    store.people(query).await.unwrap()
}

/// Each user of a list: what is known of him, and whether others have him.
fn told(people: &People) -> BTreeMap<&str, (Option<&str>, bool)> {
    let users = people.users.iter();
    users
        .map(|listed| (listed.user.as_str(), (listed.info.as_deref(), listed.is_elsewhere)))
        .collect()
}

/// Goal: a list has the users with a token on all instances, each once, with what was said of them last, and says who is also
/// elsewhere. Method: users on one instance, on the other, and on both; one with a visitor key, and a connection; some leave.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn lists_have_all_instances(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let (mut a, mut b) = (Instance::new(0), Instance::new(0));
    assert_eq!(people(store, &a, &[]).await, People::default());
    let info: Arc<str> = r#"{"name":"Ada"}"#.into();
    a.say(store, vec![said(ROOM, &["t:ada"], &UserPresence::Here(Some(info)))]).await;
    a.say(store, vec![here(ROOM, &["t:bob", "v:k3J"])]).await;
    b.say(store, vec![here(ROOM, &["t:bob", "t:eve", "v:k3J"])]).await;
    b.say(store, vec![members(ROOM, 3)]).await;
    b.say(store, vec![here("/other", &["t:zoe"])]).await;
    let ada = ("t:ada", (Some(r#"{"name":"Ada"}"#), false));
    let (bob, eve) = (("t:bob", (None, true)), ("t:eve", (None, true)));
    let first = people(store, &a, &[]).await;
    assert_eq!((told(&first), first.more), (BTreeMap::from([ada, bob, eve]), 0));
    assert!(told(&people(store, &b, &[]).await)["t:ada"].1, "the other one has her");
    let info: Arc<str> = r#"{"name":"A."}"#.into();
    a.say(store, vec![said(ROOM, &["t:ada"], &UserPresence::Here(Some(info)))]).await;
    a.say(store, vec![gone(ROOM, &["t:bob"])]).await;
    b.say(store, vec![gone(ROOM, &["t:eve"])]).await;
    let ada = ("t:ada", (Some(r#"{"name":"A."}"#), false));
    assert_eq!(told(&people(store, &a, &[]).await), BTreeMap::from([ada, bob]));
    a.leave(store).await;
    let last = b.report_until(store, |reply| reply.dead == 0).await;
    assert!(last.is_applied());
    let last = people(store, &b, &[]).await;
    assert_eq!((told(&last), last.more), (BTreeMap::from([("t:bob", (None, false))]), 0));
}

/// Goal: a list has a limited length, says how many more there are, and keeps those who are on it. Method: a room of 150 users, and
/// one of them with a visitor key; some of the list leave, and those who are listed are named in another order.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn lists_are_bounded_and_stay(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(0);
    let users: Vec<String> = (0..150).map(numbered).collect();
    say_here(&mut a, store, &users).await;
    a.say(store, vec![here(ROOM, &["v:k3J"])]).await;
    let last: Vec<UserId> = users[60..].iter().rev().map(|id| UserId::parse(id).unwrap()).collect();
    assert_eq!(last.len(), 90);
    let list = people(store, &a, &last).await;
    assert_eq!((list.users.len(), list.more), (LISTED_MAX, 50));
    let ids: Vec<&UserId> = list.users.iter().map(|listed| &listed.user).collect();
    assert_eq!(ids[..90], last.iter().collect::<Vec<_>>());
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), LISTED_MAX, "each once");
    let leaving: Vec<&str> = users[60..70].iter().map(String::as_str).collect();
    a.say(store, vec![gone(ROOM, &leaving)]).await;
    let list = people(store, &a, &last).await;
    assert_eq!((list.users.len(), list.more), (LISTED_MAX, 40));
    assert!(leaving.iter().all(|id| list.users.iter().all(|listed| listed.user.as_str() != *id)));
    let strangers = [user("nobody"), UserId::parse("v:k3J").unwrap()];
    let list = people(store, &a, &strangers).await;
    assert!(list.users.iter().all(|listed| !strangers.contains(&listed.user)));
}

/// Goal: a list tells when the store has lost data. Method: a list at some revision, and one after a report that has seen a greater one.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn lists_have_a_revision(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(0);
    let reply = a.say(store, vec![here(ROOM, &["t:ada"])]).await;
    let list = people(store, &a, &[]).await;
    assert_eq!((list.revision, list.recovering), (reply.count.revision, false));
    a.seen.revision = Revision(700);
    let reply = a.report(store).await;
    let list = people(store, &a, &[]).await;
    assert_eq!((list.revision, list.recovering), (reply.count.revision, true));
}

/// Goal: in a large room the list still keeps those who are on it, and how many more there are is right. Method: a room of 10,000
/// users, of which the list has some.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn lists_of_large_rooms(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(0);
    let users: Vec<String> = (0..10_000).map(numbered).collect();
    say_here(&mut a, store, &users).await;
    let listed: Vec<UserId> =
        users.iter().step_by(125).map(|id| UserId::parse(id).unwrap()).collect();
    let list = people(store, &a, &listed).await;
    assert_eq!((list.users.len(), list.more), (LISTED_MAX, 9900));
    assert!(listed.iter().zip(&list.users).all(|(user, listed)| *user == listed.user));
}

/// Goal: users with a token are found among many with a visitor key, and only they are counted. Method: rooms of very many visitors,
/// and of a few or many users with a token, of whom some are on the list, on two instances.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn lists_find_users_among_visitors(
    #[case] backend: Backend,
    #[values(1, 10, 150)] size: usize,
) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let (mut a, mut b) = (Instance::new(0), Instance::new(0));
    let visitors: Vec<String> = (0..3000).map(|number| format!("v:{number}")).collect();
    let tokens: Vec<String> = (0..size).map(numbered).collect();
    say_here(&mut b, store, &visitors).await;
    say_here(&mut b, store, &tokens[1..]).await;
    say_here(&mut a, store, &tokens[..1]).await;
    let some: Vec<UserId> = tokens.iter().step_by(2).map(|id| UserId::parse(id).unwrap()).collect();
    for listed in [&some[..0], &some] {
        let list = people(store, &a, listed).await;
        let ids: BTreeSet<&str> = list.users.iter().map(|listed| listed.user.as_str()).collect();
        assert!(ids.iter().all(|id| tokens.iter().any(|token| token == id)));
        assert_eq!((ids.len(), list.users.len()), (size.min(LISTED_MAX), size.min(LISTED_MAX)));
        assert_eq!(list.more, size.saturating_sub(LISTED_MAX) as u64);
        assert!(listed.iter().zip(&list.users).all(|(user, listed)| *user == listed.user));
    }
}

/// Goal: of two things that are said of a user the newest is listed; what is only repeated fills a gap, and replaces nothing; nothing is
/// known of a user any more once nobody who has him has said anything. Method: two instances, one of which says something new.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn the_newest_information_is_listed(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let (mut a, mut b) = (Instance::new(0), Instance::new(0));
    let (old, new): (Arc<str>, Arc<str>) = (r#"{"v":1}"#.into(), r#"{"v":2}"#.into());
    let steps = [
        (false, UserPresence::Here(Some(Arc::clone(&old))), Some(&old)),
        (true, UserPresence::Here(Some(Arc::clone(&new))), Some(&new)),
        (false, UserPresence::Still(Arc::clone(&old)), Some(&new)),
        (false, UserPresence::Here(None), Some(&new)),
        (true, UserPresence::Gone, Some(&new)),
        (false, UserPresence::Here(None), None),
        (false, UserPresence::Still(Arc::clone(&old)), Some(&old)),
        (true, UserPresence::Still(Arc::clone(&new)), Some(&old)),
    ];
    for (number, (is_of_b, presence, expected)) in steps.into_iter().enumerate() {
        let instance = if is_of_b { &mut b } else { &mut a };
        instance.say(store, vec![said(ROOM, &["t:ada"], &presence)]).await;
        let list = people(store, &a, &[]).await;
        assert_eq!(list.users[0].info.as_ref(), expected, "step {number}");
    }
}

/// Reads all pages, and does something after each.
async fn all_pages(
    store: &dyn Store,
    most: usize,
    mut between: impl AsyncFnMut(usize),
) -> Vec<(UserId, Option<Arc<str>>)> {
    let (mut users, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let query = PeoplePageQuery { room: name(ROOM), cursor, most };
        let PeoplePage { users: page, next } = store.people_page(query).await.unwrap();
        assert!(page.len() <= most, "{} of {most}", page.len());
        users.extend(page);
        pages += 1;
        assert!(pages < 3000, "it does not end");
        let Some(next) = next else { return users };
        cursor = Some(next);
        between(pages).await;
    }
}

/// Goal: pages have every user with a token, with what is known of him, and no other. Method: small and large rooms, in which there
/// are users with visitor keys as well, read in pages of several sizes.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn pages_have_everybody(
    #[case] backend: Backend,
    #[values(0, 1, 90, 700)] size: usize,
    #[values(1, 7, 100)] most: usize,
) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(0);
    let tokens: Vec<String> = (0..size).map(numbered).collect();
    let visitors: Vec<String> = (0..size).map(|number| format!("v:{number}")).collect();
    say_here(&mut a, store, &tokens).await;
    say_here(&mut a, store, &visitors).await;
    let info: Arc<str> = "{}".into();
    if size > 0 {
        let presence = UserPresence::Here(Some(Arc::clone(&info)));
        a.say(store, vec![said(ROOM, &[&tokens[0]], &presence)]).await;
    }
    let read = all_pages(store, most, async |_| ()).await;
    let known: BTreeMap<String, _> =
        read.iter().map(|(user, info)| (user.as_str().to_owned(), info.as_deref())).collect();
    let expected = tokens.iter().enumerate().map(|(number, id)| {
        let info = (number == 0).then_some("{}");
        (id.clone(), info)
    });
    assert_eq!(known, expected.collect());
}

/// Goal: whoever is there all the time is on a page, whoever else comes and goes meanwhile. Method: after every page, users join and
/// leave, until the room has ten times as many as at first.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn pages_have_all_who_stay(#[case] backend: Backend, #[values(60, 300)] size: usize) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(0);
    let staying: Vec<String> = (0..size).map(numbered).collect();
    say_here(&mut a, store, &staying).await;
    let read = all_pages(store, 9, async |page| {
        let coming: Vec<String> = (0..100).map(|number| format!("t:{page}-{number}")).collect();
        if page < 30 {
            say_here(&mut a, store, &coming).await;
        } else if page > 60 && page < 90 {
            let leaving: Vec<String> =
                (0..100).map(|number| format!("t:{}-{number}", page - 60)).collect();
            let leaving: Vec<&str> = leaving.iter().map(String::as_str).collect();
            a.say(store, vec![gone(ROOM, &leaving)]).await;
        }
    })
    .await;
    let read: BTreeSet<&str> = read.iter().map(|(user, _)| user.as_str()).collect();
    let missing: Vec<_> = staying.iter().filter(|id| !read.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Goal: every change of a list is announced, also if the count stays the same, and nothing else is. Method: a swap within a report;
/// something else that is known of a user; another instance that has him, too; the same again; nothing that is known of him any
/// more; something that is only repeated.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn changes_of_lists_are_announced(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut announcements = store.subscribe().await.unwrap();
    let (mut a, mut b) = (Instance::new(1), Instance::new(1));
    let info = |text: &str| UserPresence::Here(Some(text.into()));
    let swap = || {
        let (ada, bob) = (here(ROOM, &["t:ada"]), gone(ROOM, &["t:bob"]));
        RoomReport { users: [ada.users, bob.users].concat(), ..ada }
    };
    b.report(store).await;
    let still = |text: &str| UserPresence::Still(text.into());
    let steps: [(bool, RoomReport, bool); 11] = [
        (false, here(ROOM, &["t:bob"]), true),
        (false, swap(), true),
        (false, swap(), false),
        (true, here(ROOM, &["t:ada"]), false),
        (true, said(ROOM, &["t:ada"], &info("{}")), true),
        (false, said(ROOM, &["t:ada"], &info("{}")), false),
        (true, said(ROOM, &["t:ada"], &still(r#"{"n":1}"#)), false),
        (false, gone(ROOM, &["t:ada"]), false),
        (true, here(ROOM, &["t:ada"]), true),
        (true, said(ROOM, &["t:ada"], &still("{}")), true),
        (true, said(ROOM, &["t:ada"], &still(r#"{"n":1}"#)), false),
    ];
    for (number, (is_of_b, said, is_news)) in steps.into_iter().enumerate() {
        let instance = if is_of_b { &mut b } else { &mut a };
        let before = instance.report_until(store, |reply| !reply.unannounced).await;
        instance.say(store, vec![said]).await;
        let after = instance.report_until(store, |reply| !reply.unannounced).await;
        assert_eq!(after.paged != before.paged, is_news, "step {number}");
        if is_news {
            let page = next_page(&mut announcements).await;
            assert_eq!(page, [(name(ROOM), 1)], "step {number}");
        }
    }
}

async fn next_page(
    announcements: &mut Announcements,
) -> Vec<(headcount::core::room::RoomName, u64)> {
    loop {
        if let Announcement::Rooms(page) = within(announcements.next()).await.unwrap().unwrap() {
            return page.counts;
        }
    }
}
