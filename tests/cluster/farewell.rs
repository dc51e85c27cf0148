//! Instances that are asked to end: clients reconnect elsewhere by themselves, and the count stays right.

use std::time::Instant;

use deadpool_redis::redis::Value;
use headcount_testkit::{
    balancer::Balancer,
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    foreign::{ForeignClients, Library},
    record::{Event, Record},
    redis_client::KEY,
    waiting::eventually,
};
use rustix::process::Signal;

/// Goal: after SIGTERM every kind of client reconnects elsewhere by itself, the count is right, and the
/// exit code is 0. Method: clients in Node and Rust on all transports connect through a balancer that
/// prefers the first of two instances, which is then asked to end.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_an_instance_that_ends_return_elsewhere() {
    ends_politely(Signal::TERM).await;
}

/// Goal: SIGINT, which Ctrl-C sends, has the same effect as SIGTERM. Method: the same steps with that
/// signal.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_is_as_polite() {
    ends_politely(Signal::INT).await;
}

async fn ends_politely(signal: Signal) {
    let mut cluster = Cluster::start_with(2, &[("HEADCOUNT_DRAIN", "2s")]).await;
    let balancer = Balancer::start(&cluster.instances).await;
    let mut node = ForeignClients::start(Library::Newest);
    let mut clients = Vec::new();
    let mut records = Vec::new();
    for transport in Transport::ALL {
        records.extend(node.open(2, balancer.address, transport).await);
        clients.extend((0..2).map(|_| Client::open_reconnecting(balancer.address, transport)));
    }
    records.extend(records_of(&clients));
    cluster.agrees_on(12, &records).await;
    let before = cluster.instances[0].metric("headcount_connections").await;
    assert_eq!(before, Ok(12.0), "the balancer prefers the first instance");

    let mut leaving = cluster.instances.remove(0);
    leaving.process().signal(signal);
    let (status, took) = leaving.process().ended().await;
    println!("after {signal:?} it ended with {status} after {took:?}");
    assert_eq!(status.code(), Some(0), "{}", leaving.process().stderr());
    let lines = leaving.process().stdout().lines().count();
    assert_eq!(lines, 1, "stdout holds the start-up line alone");

    let settled = cluster.agrees_on(12, &records).await;
    println!("all clients were back and right {settled:?} later");
    let instances = cluster.redis_client.instances().await;
    assert_eq!(
        instances.map(|instances| instances.len()),
        Ok(1),
        "the farewell took its entry out"
    );
    for record in &records {
        assert!(came_back(record), "{}: {:?}", record.name(), record.entries());
    }
}

fn came_back(record: &Record) -> bool {
    record.times(Event::is_disconnected) >= 1 && record.times(Event::is_connected) >= 2
}

/// Goal: a second signal ends an instance at once. Method: the drain would take a minute. After the first
/// signal the instance must be unready and still running; signals from then on must end it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let settings = [("HEADCOUNT_DRAIN_DELAY", "60s"), ("HEADCOUNT_DRAIN", "60s")];
    let mut cluster = Cluster::start_with(1, &settings).await;
    let client = Client::open(cluster.instances[0].public, Transport::Websocket);
    cluster.agrees_on(1, &records_of([&client])).await;
    cluster.instances[0].process().signal(Signal::TERM);
    let instance = &cluster.instances[0];
    eventually("it is not ready any more", async || match instance.readiness().await? {
        503 => Ok(()),
        status => Err(format!("status {status}")),
    })
    .await;
    assert!(client.record().is_connected(), "during the delay it still serves");
    let process = cluster.instances[0].process();
    assert!(process.runs(), "it waits for the delay to pass");
    let start = Instant::now();
    // What comes within 200 ms of the first is taken for the same signal.
    eventually("it ends", async || {
        if !process.runs() {
            return Ok(());
        }
        process.signal(Signal::TERM);
        Err("it runs".to_owned())
    })
    .await;
    let (status, _) = process.ended().await;
    let took = start.elapsed();
    println!("after the second signal it ended with {status} after {took:?}");
    assert_eq!(status.code(), Some(143));
    assert!(took.as_secs() < 2, "it took {took:?}");
}

/// Goal: operators are not told of a crash when an instance ends as it should, and are when one does not. Method: one of three
/// idle instances is asked to end, and its tombstone waited for; then one of the others is killed. What all that are left have
/// counted is added up.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_crash_counts_as_one() {
    let mut cluster = Cluster::start_with(3, &[("HEADCOUNT_DRAIN", "0s")]).await;
    for (signal, left, crashes) in [(Signal::TERM, 2_u8, 0.0), (Signal::KILL, 1, 1.0)] {
        let mut leaving = cluster.instances.remove(0);
        leaving.process().signal(signal);
        leaving.process().ended().await;
        eventually(&format!("its lease or tombstone is over after {signal:?}"), async || {
            match cluster.redis_client.send(&["ZCARD", &format!("{{{KEY}}}:leases")]).await? {
                Value::Int(leases) if leases == i64::from(left) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        // The reply that tells of it may still be under way.
        let reports = async || sum_of(&cluster, "headcount_reports_total").await;
        let before = reports().await;
        eventually("everybody reports on", async || {
            let made = reports().await - before;
            if made >= 2.0 * f64::from(left) + 1.0 { Ok(()) } else { Err(made.to_string()) }
        })
        .await;
        let counted = sum_of(&cluster, "headcount_leases_reaped_total").await;
        assert!((counted - crashes).abs() < 0.5, "{counted} crashes after {signal:?}");
    }
}

async fn sum_of(cluster: &Cluster, metric: &str) -> f64 {
    let mut sum = 0.0;
    for instance in &cluster.instances {
        sum += instance.metric(metric).await.expect("it answers");
    }
    sum
}
