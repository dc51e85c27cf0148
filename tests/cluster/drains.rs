//! What visitors see while one of several instances drains: the highest and the lowest number, all the way.

use std::time::{Duration, Instant};

use headcount_testkit::{
    balancer::Balancer,
    client::{Client, Transport},
    cluster::{Cluster, nothing_is_wrong_in},
    foreign::{ForeignClients, Library},
    instance::Setting,
    record::{Entry, Record},
    rooms::RoomsClient,
    tokens::Issuer,
    waiting::eventually,
};
use rustix::process::Signal;
use serde_json::json;

const EACH: usize = 7;
const SETTINGS: [Setting<'static>; 2] =
    [("HEADCOUNT_DRAIN_DELAY", "1s"), ("HEADCOUNT_DRAIN", "3s")];

/// A client notes a loss a little after the server has counted it out, and shows a number a little after others
/// have seen it come back.
const NOTICE: Duration = Duration::from_millis(500);

/// How long an instance that ends counts users who have lost their connection, even those whom it sends away last. Their clients
/// wait for 1.5 s at most.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(2);

/// How many of these users came back too late to be counted all the time, as some do on a busy machine: long after they had been sent
/// away, and not before the instance had ended. They note the loss a little later than the instance.
pub(crate) fn late(users: &[Record], ended: Instant) -> u64 {
    let is_late = |(lost, back): &(Instant, Instant)| {
        *back - *lost + NOTICE > HANDED_OVER_WITHIN && *lost < ended && *back + NOTICE > ended
    };
    users.iter().filter(|user| user.absences().iter().any(is_late)).count() as u64
}

/// Goal: during a drain nobody is told more than the truth, nor less than the truth without those who wait for their own
/// reconnect delay, also where a balancer sends the polls of the draining instance elsewhere at once, so that each of them begins
/// a new session there. Method: real clients of all transports, with their default delays, on one of three instances behind a balancer as in Kubernetes; the
/// instance is asked to end, and a visitor elsewhere comes, so that all polls are answered. Every number that anybody was told
/// counts.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_counted_twice_where_polls_go_elsewhere() {
    let mut cluster = Cluster::start_with(3, &SETTINGS).await;
    let balancer = Balancer::start_forgetful(&cluster.instances).await;
    let mut node = ForeignClients::start(Library::Newest);
    let as_by_default =
        json!({ "options": { "reconnectionDelay": 1000, "reconnectionDelayMax": 5000 } });
    let mut records = Vec::new();
    let url = format!("http://{}", balancer.address);
    for transport in Transport::ALL {
        records.extend(node.open_with(EACH, &url, transport, &as_by_default).await);
    }
    let moving = records.len();
    cluster.agrees_on(moving as u64, &records).await;
    let mut leaving = cluster.instances.remove(0);
    assert_eq!(leaving.metric("headcount_connections").await, Ok(21.0));

    let start = Instant::now();
    leaving.process().signal(Signal::TERM);
    let visitor = Client::open(cluster.instances[0].public, Transport::Websocket);
    records.push(visitor.record().clone());
    let (status, _) = leaving.process().ended().await;
    assert_eq!(status.code(), Some(0), "{}", leaving.process().stderr());
    cluster.agrees_on(moving as u64 + 1, &records).await;

    let told = told_since(&records, start);
    let (lowest, highest) = (told.iter().min(), told.iter().max());
    println!("{} numbers were told, from {lowest:?} to {highest:?}", told.len());
    assert_eq!(
        highest.map(|told| told.users),
        Some(moving as u64 + 1),
        "somebody was counted twice"
    );
    assert_nobody_else_was_missed(&told, &records[..moving], moving as u64);
}

/// Goal: what holds for the site during a drain where polls go elsewhere holds for rooms, and nobody who has signed in is missed or
/// counted twice at any time. Method: connections without an identity in one room, users in the same room and in one of their own,
/// on all transports, with their default delays, on one of three instances, which is asked to end. A user comes elsewhere, so that
/// all polls are answered. Every number that anybody was told counts.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_and_users_hold_where_polls_go_elsewhere() {
    let issuer = Issuer::new("site");
    // Longer than a client of a busy machine needs to come back.
    let settings = [&issuer.settings()[..], &SETTINGS, &[("HEADCOUNT_GRACE", "10s")]].concat();
    let mut cluster = Cluster::start_with(3, &settings).await;
    let balancer = Balancer::start_forgetful(&cluster.instances).await;
    let mut node = ForeignClients::start(Library::Newest);
    let delays = json!({ "reconnectionDelay": 1000, "reconnectionDelayMax": 5000 });
    let url = format!("http://{}", balancer.address);
    let (mut strangers, mut users) = (Vec::new(), Vec::new());
    for (transport, number) in
        Transport::ALL.into_iter().flat_map(|kind| (0..5).map(move |n| (kind, n)))
    {
        let more = json!({ "rooms": [["/page", {}]], "options": delays });
        strangers.extend(node.open_with(1, &url, transport, &more).await);
        let auth = json!({ "token": issuer.token(&format!("{transport:?} {number}")) });
        let more = json!({ "rooms": [["/page", auth], ["/team", auth]], "options": delays });
        users.extend(node.open_with(2, &url, transport, &more).await);
    }
    let [in_page, in_team]: [Vec<Record>; 2] =
        [0, 1].map(|room| users.iter().skip(room).step_by(2).cloned().collect());
    let in_page = [strangers.clone(), in_page].concat();
    let (page, team) = (in_page.len() as u64, in_team.len() as u64);
    all_show(&[(&in_page, page), (&in_team, team)]).await;
    let mut leaving = cluster.instances.remove(0);
    assert_eq!(leaving.metric("headcount_sessions").await, Ok(30.0));

    let start = Instant::now();
    leaving.process().signal(Signal::TERM);
    let newcomer = RoomsClient::open(cluster.instances[0].public, Transport::Websocket, &[]);
    for room in ["/page", "/team"] {
        newcomer.join_with(room, &json!({ "token": issuer.token("newcomer") }));
    }
    let (status, _) = leaving.process().ended().await;
    let ended = Instant::now();
    assert_eq!(status.code(), Some(0), "{}", leaving.process().stderr());
    all_show(&[(&in_page, page + 1), (&in_team, team + 1)]).await;

    let told = told_since(&in_team, start);
    let late = late(&in_team, ended);
    println!("{late} of {team} users came back late");
    let right = team - late..=team + 1;
    let others: Vec<_> = told.iter().filter(|told| !right.contains(&told.users)).collect();
    assert!(told.len() >= in_team.len() && others.is_empty(), "of {team} users: {others:?}");
    let told = told_since(&in_page, start);
    let (lowest, highest) = (told.iter().min(), told.iter().max());
    println!("{} numbers were told of the room, from {lowest:?} to {highest:?}", told.len());
    assert_eq!(highest.map(|told| told.users), Some(page + 1), "somebody was counted twice");
    assert_nobody_else_was_missed(&told, &strangers, page - late);
}

/// Asserts that at any time no more were missing than those of these connections that were on their way.
fn assert_nobody_else_was_missed(told: &[Told], moving: &[Record], all: u64) {
    let away: Vec<_> = moving.iter().flat_map(Record::absences).collect();
    for told in told {
        let is_away = |(lost, back): &&(Instant, Instant)| {
            *lost <= told.at + NOTICE && *back + NOTICE >= told.at
        };
        let missing = away.iter().filter(is_away).count() as u64;
        assert!(told.users >= all - missing, "{told:?} while {missing} were away");
    }
    assert!(away.len() >= moving.len(), "all have moved");
}

async fn all_show(expected: &[(&Vec<Record>, u64)]) {
    eventually("all show their counts", async || {
        for (records, users) in expected {
            nothing_is_wrong_in(records);
            if let Some(other) = records.iter().find(|record| record.shows() != Some(*users)) {
                return Err(format!("{} shows {:?} and not {users}", other.name(), other.shows()));
            }
        }
        Ok(())
    })
    .await;
}

/// A number that somebody was told.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    users: u64,
    at: Instant,
}

fn told_since(records: &[Record], start: Instant) -> Vec<Told> {
    let told = |entry: Entry| Some(Told { users: entry.event.count()?, at: entry.at });
    let entries = records.iter().flat_map(Record::entries).filter(|entry| entry.at > start);
    entries.filter_map(told).collect()
}
