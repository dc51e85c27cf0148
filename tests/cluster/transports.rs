//! Order and completeness of counts on every transport, across an upgrade, and for clients that do not read.

use std::time::{Duration, Instant};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of, told_after},
    foreign::{ForeignClients, Library},
    record::{Event, Record},
    waiting::eventually,
};

/// Goal: on long-polling no older count follows a newer one, and the last count arrives. Method: the steps
/// of [`counts_rise_then_fall`].
#[tokio::test(flavor = "multi_thread")]
async fn polling_keeps_the_order_and_the_last_value() {
    counts_rise_then_fall(Transport::Polling).await;
}

/// Goal: on websockets no older count follows a newer one, and the last count arrives. Method: the steps of
/// [`counts_rise_then_fall`].
#[tokio::test(flavor = "multi_thread")]
async fn websockets_keep_the_order_and_the_last_value() {
    counts_rise_then_fall(Transport::Websocket).await;
}

/// Goal: an upgrade during changes loses no last count and brings back no old one. Method: the steps of
/// [`counts_rise_then_fall`]. Every client must have upgraded exactly once.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_keeps_the_order_and_the_last_value() {
    let records = counts_rise_then_fall(Transport::Upgrade).await;
    for record in records {
        let upgraded = async || match record.times(Event::is_upgraded) {
            1 => Ok(()),
            times => Err(format!("{times} upgrades of {}: {:?}", record.name(), record.entries())),
        };
        eventually("it upgrades once", upgraded).await;
    }
}

/// First only joins happen, then only leaves. So every client must see numbers that only rise, then only
/// fall, and that end with the true count each time. Clients of this transport in Rust and Node join in the
/// middle of the rise, on both instances. Returns their records.
async fn counts_rise_then_fall(transport: Transport) -> Vec<Record> {
    let cluster = Cluster::start(2).await;
    let mut node = ForeignClients::start(Library::Newest);
    let mut watching = Vec::new();
    let mut passing = Vec::new();
    let mut records = Vec::new();
    for _ in 0..5 {
        for instance in &cluster.instances {
            passing.extend((0..3).map(|_| Client::open(instance.public, Transport::Websocket)));
            watching.extend((0..2).map(|_| Client::open(instance.public, transport)));
            records.extend(node.open(1, instance.public, transport).await);
        }
    }
    records.extend(records_of(&watching));
    cluster.agrees_on(60, &[records.clone(), records_of(&passing)].concat()).await;
    for record in &records {
        let rise = record.counts();
        assert!(rise.is_sorted(), "{} while all join: {rise:?}", record.name());
    }

    let marks: Vec<_> = records.iter().map(Record::mark).collect();
    drop(passing);
    cluster.agrees_on(30, &records).await;
    for (record, mark) in records.iter().zip(marks) {
        let fall = record.counts_since(mark);
        assert!(fall.is_sorted_by(|a, b| a >= b), "{} while all leave: {fall:?}", record.name());
    }
    records
}

/// Goal: a client that falls behind ends with the last count, and does not affect others. Method: one client
/// stops reading while thirty others join and leave. They must agree meanwhile. Then it reads again.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_ends_on_the_last_value() {
    let cluster = Cluster::start(1).await;
    let address = cluster.instances[0].public;
    let slow = Client::open(address, Transport::Websocket);
    let other = Client::open(address, Transport::Websocket);
    cluster.agrees_on(2, &records_of([&slow, &other])).await;
    slow.stop_reading();
    for _ in 0..10 {
        let passing = [(); 3].map(|()| Client::open(address, Transport::Websocket));
        cluster.agrees_on(5, &records_of(passing.iter().chain([&other]))).await;
        drop(passing);
        cluster.agrees_on(2, &records_of([&other])).await;
    }
    let _newcomer = Client::open(address, Transport::Websocket);
    cluster.agrees_on(3, &records_of([&other])).await;
    slow.read_again();
    cluster.agrees_on(3, &records_of([&slow, &other])).await;
}

/// Goal: a client that never reads leaves the count within ping interval + 2 × ping timeout. Method: both
/// settings are one second. One client stops reading, and the time until another sees it leave is measured.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_counted_out() {
    let settings = [("HEADCOUNT_PING_INTERVAL", "1s"), ("HEADCOUNT_PING_TIMEOUT", "1s")];
    let cluster = Cluster::start_with(1, &settings).await;
    let address = cluster.instances[0].public;
    let silent = Client::open(address, Transport::Websocket);
    let other = Client::open(address, Transport::Websocket);
    cluster.agrees_on(2, &records_of([&silent, &other])).await;
    let start = Instant::now();
    silent.stop_reading();
    let others = records_of([&other]);
    cluster.agrees_on(1, &others).await;
    let took = told_after(start, &others);
    println!("a client that stopped reading was counted out after {took:?}");
    assert!(took < Duration::from_secs(3) + NOISE, "it took {took:?}");
    silent.read_again();
    let closed = async || {
        if silent.record().is_connected() { Err(String::from("it is connected")) } else { Ok(()) }
    };
    eventually("the connection of the silent client is closed", closed).await;
}

/// What a busy machine may add to a bound.
const NOISE: Duration = Duration::from_secs(1);
