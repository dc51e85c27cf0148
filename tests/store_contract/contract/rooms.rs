//! Counts of rooms and users, as every reply tells them.

use std::sync::Arc;

use headcount::{
    core::{
        count::{Revision, Stamp},
        report::{Report, ReportKind, UserPresence},
    },
    store::{RoomsQuery, Store},
};
use rstest::rstest;

use crate::{
    entries::{asks, gone, here, members, name, said},
    setup::{Backend, Instance, Subject},
};

/// The counts of rooms, asked for by an instance that has nobody anywhere.
pub(super) async fn counts(store: &dyn Store, rooms: &[&str]) -> Vec<u64> {
    let mut reader = Instance::new(0);
    let reply = reader.hear(store, rooms.iter().map(|room| asks(room)).collect()).await;
    assert_eq!((reply.rooms_held, reply.users_held, &*reply.elsewhere), (0, 0, &[][..]));
    reader.leave(store).await;
    reply.counts
}

/// Goal: every room has a count of its own, the sum over the instances, and the reply tells them in the order of the report.
/// Method: two instances say more and less of two rooms, and nothing of the site.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn rooms_are_counted(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut b] = [5, 0].map(Instance::new);
    let first = a.hear(store, vec![members("/x", 3), members("/y", 1)]).await;
    assert_eq!((&*first.counts, first.rooms_held), (&[3, 1][..], 2));
    let second = b.hear(store, vec![members("/y", 4), members("/z", 2), asks("/x")]).await;
    assert_eq!((&*second.counts, second.rooms_held), (&[5, 2, 3][..], 2));
    let less = a.hear(store, vec![members("/x", 1), members("/y", 0)]).await;
    assert_eq!((&*less.counts, less.rooms_held), (&[1, 4][..], 1));
    assert_eq!(counts(store, &["/x", "/y", "/z", "/", "/x/"]).await, [1, 4, 2, 5, 0]);
    let last = a.hear(store, vec![members("/x", 0)]).await;
    assert_eq!((&*last.counts, last.rooms_held), (&[0][..], 0));
    assert_eq!(a.report(store).await.rooms, None, "a report that names no room is told of none");
}

/// Goal: every report that changes counts makes one revision, with its stamp; no other report does. Method: one that changes several
/// rooms, one that says the same again, one that only asks, and one that changes the site.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn counts_follow_the_revision(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut b] = [1, 0].map(Instance::new);
    a.report(store).await;
    b.report(store).await;
    let changed = vec![members("/x", 3), members("/y", 1), here("/z", &["ada"])];
    let first = b.say(store, changed.clone()).await.count;
    assert_eq!((first.users, first.revision), (1, Revision(2)));
    assert!(is_made_by(&b, first.stamp), "{first:?}");
    let asked = vec![asks("/x"), asks("/other")];
    assert_eq!(a.say(store, asked).await.count, first);
    assert_eq!(b.say(store, changed).await.count, first);
    a.users = 2;
    let next = a.say(store, Vec::new()).await.count;
    assert_eq!((next.users, next.revision), (2, Revision(3)));
    assert!(is_made_by(&a, next.stamp), "{next:?}");
}

/// Whether a stamp names this instance.
fn is_made_by(instance: &Instance, stamp: Stamp) -> bool {
    let (incarnation, stamp) = (instance.incarnation.to_string(), stamp.to_string());
    stamp.split_once('.').is_some_and(|(maker, _)| incarnation.ends_with(maker))
}

/// Goal: a user is counted once in a room, until no instance holds him there, and every instance is told whether another one holds
/// him, too. Method: two instances say that he comes, comes again, and goes.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn users_are_counted_once(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut b] = [0, 0].map(Instance::new);
    let comes = || vec![here("/x", &["ada"])];
    let goes = || vec![gone("/x", &["ada"])];
    let told = async |instance: &mut Instance, entries| {
        let reply = instance.hear(store, entries).await;
        (reply.counts[0], reply.elsewhere[0], reply.users_held)
    };
    assert_eq!(told(&mut a, comes()).await, (1, false, 1));
    assert_eq!(told(&mut b, comes()).await, (1, true, 1));
    assert_eq!(told(&mut a, comes()).await, (1, true, 1));
    assert_eq!(told(&mut a, goes()).await, (1, true, 0));
    assert_eq!(told(&mut b, comes()).await, (1, false, 1));
    assert_eq!(told(&mut a, goes()).await, (1, true, 0), "he was gone already");
    assert_eq!(told(&mut b, goes()).await, (0, false, 0));
}

/// Goal: connections and users add up, in rooms and on the site, and a user of two rooms is in both. Method: one report with
/// connections and users in two rooms and on the site, and a second instance with some of the users; then all go.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn users_and_connections_add_up(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut b] = [5, 2].map(Instance::new);
    let mixed = |room, connections, users: &[&str]| {
        let mut entry = here(room, users);
        entry.connections = Some(connections);
        entry
    };
    let entries =
        vec![here("/", &["ada", "bob"]), mixed("/x", 2, &["ada"]), mixed("/y", 0, &["bob", "ada"])];
    let reply = a.say(store, entries).await;
    let rooms = reply.rooms.unwrap();
    assert_eq!((reply.count.users, &*rooms.counts), (7, &[7, 3, 2][..]));
    assert_eq!((rooms.rooms_held, rooms.users_held), (1, 5));
    let entries = vec![here("/y", &["eve", "ada"]), mixed("/x", 1, &[]), here("/", &["bob"])];
    let reply = b.say(store, entries).await;
    let rooms = reply.rooms.unwrap();
    assert_eq!((reply.count.users, &*rooms.counts), (9, &[3, 4, 9][..]));
    assert_eq!(rooms.elsewhere, [false, true, true], "in the order of the report");
    assert_eq!((rooms.rooms_held, rooms.users_held), (1, 3));
    let entries = vec![gone("/", &["ada", "bob"]), gone("/y", &["bob"]), members("/x", 0)];
    let reply = a.say(store, entries).await;
    assert_eq!((reply.count.users, reply.rooms.unwrap().counts), (8, vec![8, 2, 2]));
}

/// Goal: what is known of a user does not change who is counted. Method: a user with JSON, with other JSON, and without, on two
/// instances; JSON that looks like the store's own marks.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn users_may_have_json(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut b] = [0, 0].map(Instance::new);
    let tag = b.incarnation.to_string();
    let infos = [r#"{"name":"Ada"}"#, "{}", "{", "{-+", r#"{"a":{"b":"\n"}}"#, &format!("{{{tag}")];
    for info in infos {
        let known = UserPresence::Here(Some(Arc::from(info)));
        let reply = a.hear(store, vec![said("/x", &["ada", "bob"], &known)]).await;
        assert_eq!((&*reply.counts, reply.users_held), (&[2][..], 2), "{info}");
        assert_eq!(reply.elsewhere, [false, false], "{info}");
        let reply = b.hear(store, vec![here("/x", &["ada"])]).await;
        assert_eq!((&*reply.counts, &*reply.elsewhere), (&[2][..], &[true][..]), "{info}");
        let reply = b.hear(store, vec![gone("/x", &["ada"])]).await;
        assert_eq!((&*reply.counts, &*reply.elsewhere), (&[2][..], &[true][..]), "{info}");
    }
    let reply = a.hear(store, vec![gone("/x", &["ada", "bob"])]).await;
    assert_eq!((&*reply.counts, reply.users_held), (&[0][..], 0));
}

/// Goal: names are compared byte by byte, and no name or id means anything to the store. Method: rooms and users with look-alike
/// names, and names that resemble keys and marks of the store; each is counted apart, and taken away by a farewell.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn names_mean_nothing(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(0);
    let long = format!("/{}", "y".repeat(127));
    let own = format!("/{}", a.incarnation);
    let rooms = [
        "/a",
        "/A",
        "/a/",
        "//",
        "//a",
        "/\u{e4}",
        "/a\u{308}",
        "/{a}",
        "/}a{",
        "/a:b",
        "/0",
        "/-",
        "/nil",
        "/*",
        "/[a]",
        "/\"\\",
        "/日本",
        "/🙂",
        &long,
        &own,
    ];
    let ids = ["a", "A", "{", "{}", "-", "+", "+{}", "0", "", "/a", "a b", "日本", "\u{0}", &own];
    let ids: Vec<_> = ids.into_iter().filter(|id| !id.is_empty()).collect();
    let expected: Vec<_> = (1..=rooms.len() as u64).collect();
    let entries = rooms.iter().zip(&expected).map(|(room, count)| members(room, *count));
    assert_eq!(a.hear(store, entries.collect()).await.counts, expected);
    assert_eq!(counts(store, &rooms).await, expected);
    for (place, room) in rooms.iter().enumerate() {
        let reply = a.hear(store, vec![here(room, &ids)]).await;
        assert_eq!(reply.counts, [expected[place] + ids.len() as u64], "{room}");
        assert_eq!(reply.users_held, ((place + 1) * ids.len()) as u64, "{room}");
    }
    let reply = a.hear(store, vec![gone("/a", &ids[1..]), gone("/A", &ids[..1])]).await;
    assert_eq!(reply.counts, [2, 1 + ids.len() as u64]);
    while a.leave(store).await.dead > 0 {}
    assert_eq!(counts(store, &rooms).await, vec![0; rooms.len()]);
}

/// Goal: operators see the largest rooms of a prefix, in a fixed order. Method: rooms of several sizes, one with users, some outside
/// the prefix, one that is empty again.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn operators_see_the_largest_rooms(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let largest = async |prefix: &str, most| {
        let rooms = store.rooms(RoomsQuery { prefix: prefix.to_owned(), most }).await.unwrap();
        rooms.into_iter().map(|(room, count)| format!("{room} {count}")).collect::<Vec<_>>()
    };
    assert!(largest("", 9).await.is_empty());
    let mut a = Instance::new(9);
    let entries = [("/b/1", 2), ("/b/2", 4), ("/b", 3), ("/a", 9), ("/b/0", 2), ("/b/9", 1)];
    a.say(store, entries.map(|(room, count)| members(room, count)).to_vec()).await;
    a.say(store, vec![here("/b/9", &["ada", "bob"]), members("/b/2", 0)]).await;
    let all = ["/a 9", "/b 3", "/b/9 3", "/b/0 2", "/b/1 2"];
    assert_eq!(largest("", 9).await, all);
    assert_eq!(largest("/b/", 2).await, all[2..4]);
    assert_eq!(largest("/b", 9).await, all[1..]);
    for (prefix, most) in [("/c", 9), ("b", 9), ("/*", 9), ("", 0)] {
        assert!(largest(prefix, most).await.is_empty(), "{prefix}");
    }
    assert_eq!(
        store.rooms(RoomsQuery { prefix: "/a".into(), most: 1 }).await.unwrap(),
        [(name("/a"), 9)]
    );
}

/// Goal: an audit changes no count of a healthy store, and applies its entries like any report. Method: rooms of two instances, then
/// audits, with and without entries.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn audits_leave_healthy_rooms_alone(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut b] = [1, 2].map(Instance::new);
    a.say(store, vec![members("/x", 3), here("/y", &["ada"])]).await;
    let before = b.say(store, vec![members("/x", 2), here("/y", &["ada", "bob"])]).await.count;
    let report = Report { kind: ReportKind::Audit, ..a.prepare() };
    let reply = store.report(report).await.unwrap();
    assert_eq!((reply.count, reply.repaired), (before, 0));
    a.rooms = vec![members("/x", 1), here("/y", &["eve"])];
    let report = Report { kind: ReportKind::Audit, ..a.prepare() };
    let reply = store.report(report).await.unwrap();
    assert_eq!((reply.rooms.unwrap().counts, reply.repaired), (vec![3, 3], 0));
}
