//! What the Redis store makes of rooms: pages of announcements, a user who may not hear them, and the list of the largest.

use std::time::{Duration, Instant};

use deadpool_redis::redis;
use futures_util::StreamExt;
use headcount::{
    core::{
        count::{Incarnation, Revision, Sequence},
        report::{Report, ReportKind, Room, RoomReport},
        room::RoomName,
    },
    store::{Announcement, Announcements, RoomsQuery, Store, StoreError},
};
use headcount_testkit::redis_server::RedisServer;

use crate::setup::{LONG, SOON, redis_store, within};

const KEY: &str = "currentUsers";
const SHORT: Duration = Duration::from_millis(200);
/// The keys of the site, which begin with the public key in braces.
const SITE_KEYS: [&str; 5] = ["connections", "sequence", "leases", "meta", "about"];

fn name(text: &str) -> RoomName {
    RoomName::parse(text).unwrap()
}

/// A report of a new instance with these connections in rooms.
fn report(rooms: &[(&str, u64)]) -> Report {
    let entry = |&(room, connections): &(&str, u64)| RoomReport {
        room: Room::Named(name(room)),
        connections: Some(connections),
        users: Vec::new(),
    };
    let report = Report::new(Incarnation::random(), Sequence(1), LONG);
    Report { rooms: rooms.iter().map(entry).collect(), ..report }
}

/// The next page of rooms.
async fn next_page(announcements: &mut Announcements) -> Vec<(RoomName, u64)> {
    loop {
        match within(announcements.next()).await.unwrap().unwrap() {
            Announcement::Rooms(page) => return page.counts,
            Announcement::Own(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Goal: one subscription hears of the site and of rooms. Method: a page that was published by a report, and one by hand that
/// names another cluster.
#[tokio::test]
async fn pages_are_heard() {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), KEY, LONG);
    let mut announcements = store.subscribe().await.unwrap();
    let mut other = Report::new(Incarnation::random(), Sequence(1), LONG);
    store.report(other.clone()).await.unwrap();
    let mut unannounced = store.report(report(&[("/a", 2), ("/b", 1)])).await.unwrap().unannounced;
    // Not by ever more instances: each of them makes the wait for the page longer, perhaps by more than its report takes.
    while unannounced {
        other.sequence = other.sequence.next();
        unannounced = store.report(other.clone()).await.unwrap().unannounced;
    }
    let mut page = next_page(&mut announcements).await;
    page.sort();
    assert_eq!(page, [(name("/a"), 2), (name("/b"), 1)]);
    let foreign = r#"{"revision":9,"since":1,"rooms":{"/a":7},"key":"other","database":0}"#;
    let channel = format!("{KEY} changed:rooms");
    redis::cmd("PUBLISH").arg(channel).arg(foreign).exec(&mut server.connection()).unwrap();
    let heard = loop {
        match within(announcements.next()).await.unwrap().unwrap() {
            Announcement::Own(_) => {}
            other => break other,
        }
    };
    assert!(matches!(heard, Announcement::Foreign(_)), "{heard:?}");
}

/// Goal: a Redis user who may only use the site's channel is told so, and hears of the site. Method: such a user.
#[tokio::test]
async fn the_channel_of_rooms_may_be_denied() {
    let server = RedisServer::start(&[]);
    let rules = [
        "SETUSER",
        "limited",
        "on",
        "nopass",
        "~*",
        "+@all",
        "resetchannels",
        "&currentUsers?changed",
    ];
    redis::cmd("ACL").arg(&rules).exec(&mut server.connection()).unwrap();
    let url = server.url().replace("//", "//limited:any@");
    let store = redis_store(&url, KEY, LONG);
    let mut announcements = store.subscribe().await.unwrap();
    let first = within(announcements.next()).await.unwrap();
    assert!(matches!(first, Err(StoreError::Denied(_))), "{first:?}");
    let reply = store.report(report(&[("/a", 2)])).await.unwrap();
    let second = within(announcements.next()).await.unwrap().unwrap();
    assert_eq!(second, Announcement::Own(reply.count));
}

/// Goal: a Redis user without rights on the keys of rooms has the site's count, exact and at the usual pace, even if others have
/// rooms there, have left dead ones, and the store recovers; only reports that name rooms are denied, and they change nothing.
/// Method: an instance of a user with all rights reports rooms and dies; then one of such a user reports, audits, and says farewell.
#[tokio::test]
async fn the_keys_of_rooms_may_be_denied() {
    let server = RedisServer::start(&[]);
    // Calls may take long; only the leases in reports are short.
    let everything = redis_store(&server.url(), KEY, LONG);
    let mut rules = vec!["SETUSER".to_owned(), "limited".to_owned()];
    rules.extend(["on", "nopass", "+@all", "&*", "~currentUsers"].map(str::to_owned));
    rules.extend(SITE_KEYS.map(|key| format!("~{{currentUsers}}:{key}")));
    redis::cmd("ACL").arg(&rules).exec(&mut server.connection()).unwrap();
    let limited = redis_store(&server.url().replace("//", "//limited:any@"), KEY, LONG);

    let other = Report { users: 3, lease: SHORT, ..report(&[("/a", 2), ("/b", 1)]) };
    everything.report(other.clone()).await.unwrap();
    let mut own = Report { users: 4, ..Report::new(Incarnation::random(), Sequence(1), SHORT) };
    own.seen.revision = Revision(1000); // so that the store recovers
    let reply = limited.report(own.clone()).await.unwrap();
    assert_eq!((reply.count.users, reply.count.recovering), (7, true));
    assert!(!reply.unannounced || reply.announced < reply.count.revision, "no rooms to hurry for");

    let named = Report {
        sequence: Sequence(2),
        users: 5,
        rooms: report(&[("/c", 1)]).rooms,
        ..own.clone()
    };
    let denied = limited.report(named).await.unwrap_err();
    assert!(matches!(denied, StoreError::Denied(_)), "{denied}");
    let started = Instant::now();
    let mut sequence = 2;
    let last = loop {
        sequence += 1;
        let kind = if sequence % 2 == 0 { ReportKind::Audit } else { ReportKind::Plain };
        let again = Report { sequence: Sequence(sequence), kind, ..own.clone() };
        let reply = limited.report(again).await.unwrap();
        assert_eq!(reply.dead, 0, "that would make the instance hurry");
        if reply.count.users == 4 && !reply.count.recovering {
            break reply;
        }
        assert!(started.elapsed() < SOON, "{reply:?}");
        tokio::time::sleep(SHORT / 10).await;
    };
    assert_eq!(last.instances, 1, "the other one is counted out");
    let farewell =
        Report { sequence: Sequence(sequence + 1), users: 0, kind: ReportKind::Farewell, ..own };
    limited.report(farewell).await.unwrap();
    let held: Vec<String> = redis::cmd("SMEMBERS")
        .arg("{currentUsers}:holders")
        .query(&mut server.connection())
        .unwrap();
    assert_eq!(held, [other.incarnation.to_string()]);
    take_away_rooms(&everything, &server).await;
}

/// Audits until the rooms of the dead are taken away.
async fn take_away_rooms(everything: &impl Store, server: &RedisServer) {
    let started = Instant::now();
    let mut cleaner = Report::new(Incarnation::random(), Sequence(1), SHORT);
    loop {
        cleaner.kind = ReportKind::Audit;
        everything.report(cleaner.clone()).await.unwrap();
        cleaner.sequence = cleaner.sequence.next();
        let left: u64 = redis::cmd("EXISTS")
            .arg("{currentUsers}:rooms")
            .query(&mut server.connection())
            .unwrap();
        if left == 0 {
            break;
        }
        assert!(started.elapsed() < SOON, "the rooms of the dead are taken away by those who may");
        tokio::time::sleep(SHORT / 10).await;
    }
}

/// Goal: the largest rooms of a prefix are listed, the largest first, and no more than asked for. Method: rooms in a hash that is
/// scanned in portions, names with characters of patterns, and fields that are no rooms.
#[tokio::test]
async fn the_largest_rooms_are_listed() {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), KEY, LONG);
    let mut connection = server.connection();
    let mut fields = redis::cmd("HSET");
    fields.arg("{currentUsers}:rooms");
    for room in 0..5000 {
        fields.arg(format!("/blog/{room:04}")).arg(room + 1);
    }
    fields.arg("/b*/x").arg(9).arg("no room").arg(99999).arg("/blog/word").arg("many");
    fields.exec(&mut connection).unwrap();
    let ask = async |prefix: &str, most| {
        let query = RoomsQuery { prefix: prefix.to_owned(), most };
        store.rooms(query).await.unwrap()
    };
    let largest = [(name("/blog/4999"), 5000), (name("/blog/4998"), 4999)];
    assert_eq!(ask("/blog/", 2).await, largest);
    assert_eq!(ask("", 2).await, largest);
    assert_eq!(ask("/b*", 9).await, [(name("/b*/x"), 9)]);
    assert_eq!(ask("/blog/12", 1000).await.len(), 100);
    assert_eq!(ask("/none", 9).await, []);
    assert_eq!(ask("", 0).await, []);
}
