//! What visitors see while one of several instances drains: the highest and the lowest number, all the way.

use std::time::{Duration, Instant};

use headcount_testkit::{
    balancer::Balancer,
    client::{Client, Transport},
    cluster::Cluster,
    foreign::{ForeignClients, Library},
    instance::Setting,
    record::{Entry, Record},
};
use rustix::process::Signal;
use serde_json::json;

const EACH: usize = 7;
const SETTINGS: [Setting<'static>; 2] =
    [("HEADCOUNT_DRAIN_DELAY", "1s"), ("HEADCOUNT_DRAIN", "3s")];

/// A client notes a loss a little after the server has counted it out, and shows a number a little after others
/// have seen it come back.
const NOTICE: Duration = Duration::from_millis(500);

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
    let away: Vec<_> = records.iter().flat_map(absences).collect();
    for told in &told {
        let is_away = |(lost, back): &&(Instant, Instant)| {
            *lost <= told.at + NOTICE && *back + NOTICE >= told.at
        };
        let missing = away.iter().filter(is_away).count();
        assert!(told.users >= (moving - missing) as u64, "{told:?} while {missing} were away");
    }
    assert!(away.len() >= moving, "all have moved");
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

/// From each loss of a connection to the first number after it.
fn absences(record: &Record) -> Vec<(Instant, Instant)> {
    let (mut absences, mut lost) = (Vec::new(), None);
    for entry in record.entries() {
        if entry.event.is_disconnected() {
            lost = lost.or(Some(entry.at));
        } else if let (Some(at), Some(_)) = (lost, entry.event.count()) {
            absences.push((at, entry.at));
            lost = None;
        }
    }
    absences
}
