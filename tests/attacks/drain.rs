//! Shutting down under load: every client finds another instance, and no displayed count is off by more than the
//! clients that are moving.

use std::time::{Duration, Instant};

use headcount_testkit::{
    balancer::Balancer,
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    foreign::{ForeignClients, Library},
    http,
    machine::Machine,
    raw::POLLING,
    record::{Entry, Event, Record},
    redis_server::RedisServer,
    waiting::eventually,
};
use rustix::process::Signal;
use tokio::time::sleep;

/// Number of clients of each transport, in Rust and in Node.
const RUST_EACH: usize = 50;
const NODE_EACH: usize = 10;
/// Number of all clients, on three transports.
const ALL: usize = 3 * (RUST_EACH + NODE_EACH);

const DELAY: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(4);

/// A client notices a loss a little after the server has counted it out. It shows a number a little after others have
/// seen its return.
const NOTICE: Duration = Duration::from_millis(500);

/// How long the count after a move may take to reach all clients on a busy machine.
const NEWS: Duration = Duration::from_secs(1);

/// Goal: an instance that is asked to end serves for the delay, then refuses handshakes and disconnects its clients
/// evenly over the window. All clients reconnect elsewhere by themselves, and no displayed count is off by more than
/// the clients that are moving. Method: 180 clients of every kind connect through a balancer that prefers the first of
/// two instances, which is then asked to end. The records of the clients are checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_is_even_and_loses_nobody() {
    let settings = [("HEADCOUNT_DRAIN_DELAY", "2s"), ("HEADCOUNT_DRAIN", "4s")];
    let machine = Machine::alone().await;
    let mut cluster = Cluster::start_on(RedisServer::start(&[]), machine, 2, &settings).await;
    let balancer = Balancer::start(&cluster.instances).await;
    let mut node = ForeignClients::start(Library::Newest);
    let (mut clients, mut records) = (Vec::new(), Vec::new());
    for transport in Transport::ALL {
        records.extend(node.open(NODE_EACH, balancer.address, transport).await);
        let open = |_| Client::open_reconnecting(balancer.address, transport);
        let opened: Vec<_> = (0..RUST_EACH).map(open).collect();
        records.extend(records_of(&opened));
        clients.extend(opened);
        // A few at a time, because the balancer first asks for every client whether the first instance is ready.
        cluster.agrees_on(records.len() as u64, &records).await;
    }
    let elsewhere = cluster.instances[1].metric("headcount_connections").await;
    assert_eq!(elsewhere, Ok(0.0), "the balancer prefers the first instance");

    let mut leaving = cluster.instances.remove(0);
    leaving.process().signal(Signal::TERM);
    let start = Instant::now();
    eventually("it is not ready", async || match leaving.readiness().await? {
        503 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
    assert_eq!(leaving.metric("headcount_draining").await, Ok(1.0));
    let early = http::get(leaving.public, POLLING).await.expect("it still serves");
    let at = start.elapsed();
    assert!(early.status == 200 || at > DELAY, "{early:?} after {at:?}");
    eventually("handshakes are refused", async || {
        match http::get(leaving.public, POLLING).await?.status {
            503 => Ok(()),
            status => {
                // Every accepted handshake is a session, which is disconnected like all others. There are only a few,
                // so that they do not determine the measured pace.
                sleep(Duration::from_millis(250)).await;
                Err(status.to_string())
            }
        }
    })
    .await;
    let refused_at = start.elapsed();
    println!("handshakes were refused {refused_at:?} after the signal");
    assert!(refused_at + NEWS >= DELAY, "{refused_at:?}");

    let (status, took) = leaving.process().ended().await;
    assert_eq!(status.code(), Some(0), "{}", leaving.process().stderr());
    println!("it ended {took:?} later");
    let settled = cluster.agrees_on(ALL as u64, &records).await;
    println!("all were back and right {settled:?} later");
    for record in &records {
        let connects = record.times(Event::is_connected);
        assert!(connects >= 2, "{}: {:?}", record.name(), record.entries());
    }
    assert_even(&records, start);
    assert_off_by_those_on_the_move(&records);
}

/// Asserts that about a quarter of the clients was disconnected in each quarter of the time between the first and the last of them,
/// which is about the window, as precisely as a busy machine allows.
fn assert_even(records: &[Record], start: Instant) {
    let first_loss = |record: &Record| {
        let entries = record.entries();
        entries.iter().find(|entry| is_loss(entry)).map(|entry| entry.at.duration_since(start))
    };
    let mut losses: Vec<Duration> = records.iter().filter_map(first_loss).collect();
    losses.sort_unstable();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    println!("clients were sent away between {first:?} and {last:?} after the signal");
    assert!(first + NEWS >= DELAY, "nobody is sent away during the delay");
    assert!(last <= DELAY + WINDOW + 3 * NEWS, "all are sent away in time");
    let between = last.saturating_sub(first);
    assert!(between >= WINDOW * 3 / 4, "all were sent away within {between:?}");
    let quarter = |part: u32| {
        let (from, to) = (first + between * part / 4, first + between * (part + 1) / 4);
        losses.iter().filter(|&&at| (from..to).contains(&at)).count()
    };
    let quarters: Vec<usize> = (0..4).map(quarter).collect();
    println!("in each quarter of that time: {quarters:?}");
    assert!(quarters.iter().all(|&gone| gone <= ALL / 2), "{quarters:?}");
    // The machine may stand still for a moment, but not for two.
    let few = quarters.iter().filter(|&&gone| gone < ALL / 12).count();
    assert!(few <= 1, "{quarters:?}");
}

fn is_loss(entry: &Entry) -> bool {
    matches!(entry.event, Event::Disconnected(_))
}

/// Asserts that every displayed number differs from the truth by no more than the clients that were moving a moment
/// before.
fn assert_off_by_those_on_the_move(records: &[Record]) {
    let histories: Vec<Vec<Entry>> = records.iter().map(Record::entries).collect();
    let moves: Vec<(Instant, Instant)> =
        histories.iter().flat_map(|entries| moves_in(entries)).collect();
    let begin = moves.iter().map(|(lost, _)| *lost).min().expect("all moved");
    let mut widest = 0;
    for entry in histories.iter().flatten().filter(|entry| entry.at >= begin) {
        let Event::Count(users) = entry.event else { continue };
        let is_on_the_move = |(lost, back): &&(Instant, Instant)| {
            *lost <= entry.at + NOTICE && *back + NOTICE >= entry.at
        };
        let on_the_move = moves.iter().filter(is_on_the_move).count();
        let off = users.abs_diff(ALL as u64);
        widest = widest.max(off);
        assert!(off <= on_the_move as u64, "{users} of {ALL} with {on_the_move} on the move");
    }
    println!("no number was off by more than {widest}");
}

/// The moves of a client: from each loss to the first number on the new connection.
fn moves_in(entries: &[Entry]) -> Vec<(Instant, Instant)> {
    let mut moves = Vec::new();
    let mut lost = None;
    for entry in entries {
        match (&entry.event, lost) {
            (Event::Disconnected(_), None) => lost = Some(entry.at),
            (Event::Count(_), Some(at)) => {
                moves.push((at, entry.at));
                lost = None;
            }
            _ => {}
        }
    }
    moves
}
