//! What a store refuses to be told of rooms, and that it keeps nothing of rooms in which nobody is.

use std::sync::Arc;

use deadpool_redis::redis;
use headcount::{
    core::{
        count::{Sequence, WHOLE_MAX},
        report::{ENTRIES_MAX, INFO_BYTES_MAX, LOCAL_MAX, Report, RoomReport, UserPresence},
        room::{ROOM_BYTES_MAX, USER_BYTES_MAX},
    },
    store::{RoomsQuery, StoreError},
};
use rstest::rstest;

use super::{SHORT, rooms::counts};
use crate::{
    entries::{asks, gone, here, members, said},
    setup::{Backend, Instance, Subject},
};

/// A user with JSON of this many bytes.
fn informed(bytes: usize, first: char) -> RoomReport {
    let info = format!("{first}{}", "x".repeat(bytes - 1));
    said("/x", &["ada"], &UserPresence::Here(Some(Arc::from(info))))
}

/// Goal: a report that says something out of range of a room is refused as a whole. Method: one report for each bound.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn rooms_out_of_range_are_refused(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(1);
    let good = a.prepare();
    let names: Vec<_> = (0..=ENTRIES_MAX).map(|number| format!("/{number}")).collect();
    let ids: Vec<_> = names.iter().take(ENTRIES_MAX).map(|name| &**name).collect();
    let bad: Vec<Vec<RoomReport>> = vec![
        names.iter().map(|name| members(name, 1)).collect(),
        names.iter().map(|name| asks(name)).collect(),
        vec![here("/x", &ids)],
        vec![members("/x", 1), members("/y", 1), asks("/x")],
        vec![here("/x", &["ada", "bob", "ada"])],
        vec![members("/x", LOCAL_MAX + 1)],
        vec![members("/", 1)],
        vec![informed(INFO_BYTES_MAX + 1, '{')],
        vec![informed(9, '[')],
    ];
    let mut bad: Vec<_> = bad.into_iter().map(|rooms| Report { rooms, ..good.clone() }).collect();
    bad.push(Report { former: Some(good.incarnation), ..good.clone() });
    bad.push(Report { acknowledged: Sequence(WHOLE_MAX + 1), ..good.clone() });
    bad.push(Report { acknowledged: good.sequence, ..good.clone() });
    for report in bad {
        let rooms = vec![members("/other", 1)];
        for report in [report.clone(), Report { rooms: [rooms, report.rooms].concat(), ..report }] {
            let outcome = store.report(report.clone()).await;
            assert!(matches!(outcome, Err(StoreError::Protocol(_))), "{report:?}: {outcome:?}");
        }
    }
    assert_eq!(counts(store, &["/", "/x", "/y", "/other"]).await, [0; 4]);
}

/// Goal: what is just within the bounds is taken. Method: the most entries, the longest names, ids and JSON, the most connections.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn rooms_at_the_bounds_are_counted(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let mut a = Instance::new(1);
    let pad = |start: String, bytes| format!("{start}{}", "x".repeat(bytes - start.len()));
    let name = |number| pad(format!("/{number}/"), ROOM_BYTES_MAX);
    let ids: Vec<_> = (1..ENTRIES_MAX).map(|n| pad(format!("{n}-"), USER_BYTES_MAX)).collect();
    let ids: Vec<_> = ids.iter().map(|id| &**id).collect();
    let info = format!("{{{}", "x".repeat(INFO_BYTES_MAX - 1));
    let known = UserPresence::Here(Some(Arc::from(info)));
    let reply = a.hear(store, vec![said(&name(0), &ids, &known)]).await;
    let most = ENTRIES_MAX as u64;
    assert_eq!((&*reply.counts, reply.users_held), (&[most - 1][..], most - 1));
    let entries = (0..ENTRIES_MAX).map(|number| members(&name(number), LOCAL_MAX)).collect();
    let reply = a.hear(store, entries).await;
    assert_eq!((reply.rooms_held, reply.users_held), (most, most - 1));
    assert_eq!(reply.counts[0], LOCAL_MAX + most - 1);
    assert!(reply.counts[1..].iter().all(|count| *count == LOCAL_MAX));
    while a.leave(store).await.dead > 0 {}
    assert_eq!(counts(store, &[&name(0), &name(1)]).await, [0, 0]);
}

/// Goal: nothing about rooms is left when nobody is in them. Method: rooms empty by entries, by a farewell, by a former incarnation
/// and by a death; users with JSON among them. Then the store knows no room, and Redis has only the keys of the site; also when
/// the last instance has left.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn nothing_of_rooms_is_left(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut former, mut leaving, mut dying] = [1, 2, 3, 4].map(Instance::new);
    (a.lease, dying.lease) = (SHORT, SHORT);
    let informed = || informed(20, '{');
    a.say(store, vec![informed(), members("/y", 2), asks("/w"), here("/", &["bob"])]).await;
    former.say(store, vec![informed(), members("/z", 2), here("/", &["bob"])]).await;
    leaving.say(store, vec![informed(), members("/y", 1), here("/", &["eve"])]).await;
    dying.say(store, vec![informed(), members("/y", 1), here("/v", &["eve"])]).await;
    leaving.leave(store).await;
    let mut renewed = former.renewed();
    renewed.say(store, Vec::new()).await;
    a.report_until(store, |reply| reply.instances == 2 && reply.dead == 0).await;
    assert_eq!(counts(store, &["/v", "/w", "/x", "/y", "/z", "/"]).await, [0, 0, 1, 2, 0, 4]);
    a.say(store, vec![gone("/x", &["ada"]), members("/y", 0), gone("/", &["bob"])]).await;
    let query = RoomsQuery { prefix: String::new(), most: 9 };
    assert_eq!(store.rooms(query).await.unwrap(), []);
    let last = a.report_until(store, |reply| !reply.unannounced).await;
    assert_eq!((last.count.users, last.dead), (3, 0));
    only_the_site_is_left(&subject);
    a.say(store, vec![informed(), members("/y", 2), here("/", &["bob"])]).await;
    renewed.leave(store).await;
    let last = a.leave(store).await;
    assert_eq!((last.count.users, last.dead, last.instances), (0, 0, 0));
    only_the_site_is_left(&subject);
}

/// Checks the keys, if the store is Redis.
fn only_the_site_is_left(subject: &Subject) {
    let Some(server) = &subject.server else { return };
    let mut command = redis::cmd("KEYS");
    command.arg(format!("*{}*", subject.key));
    let mut keys: Vec<String> = command.query(&mut server.connection()).unwrap();
    assert!(keys.contains(&subject.key), "{keys:?}");
    let site = ["connections", "leases", "meta", "sequence"];
    let site = site.map(|name| format!("{{{}}}:{name}", subject.key));
    keys.retain(|key| *key != subject.key && !site.contains(key));
    assert!(keys.is_empty(), "{keys:?}");
}
