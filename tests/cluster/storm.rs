//! A rush of joins: the count is true in the end, and there are no more frames than pacing allows.

use std::time::{Duration, Instant};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    instance::Instance,
    machine::Machine,
    open_files,
    record::{Event, Record},
    redis_server::RedisServer,
};

/// How many join at once.
const JOINS: usize = 2000;

/// The default of `HEADCOUNT_EMIT_INTERVAL`: the least gap between two emissions of one instance.
const EMIT_INTERVAL: Duration = Duration::from_millis(50);

/// Goal: after a rush of joins every client shows the true count, and the number of frames grows with time
/// and clients, not with joins times clients. Method: 2,000 websocket clients join two instances at once.
/// Each client's frames are compared with [`frames_max`], and each instance's emissions with the same
/// pacing.
#[tokio::test(flavor = "multi_thread")]
async fn a_rush_of_joins_ends_on_the_truth_within_the_bound_on_frames() {
    open_files::raise_limit();
    let machine = Machine::alone().await;
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start_on(redis, machine, 2, &[]).await;
    // An instance has told its first count to nobody.
    let mut before = Vec::new();
    for instance in &cluster.instances {
        before.push(emissions_of(instance).await);
    }
    let start = Instant::now();
    let open =
        |number: usize| Client::open(cluster.instances[number % 2].public, Transport::Websocket);
    let clients: Vec<Client> = (0..JOINS).map(open).collect();
    let records = records_of(&clients);
    cluster.agrees_on(JOINS as u64, &records).await;
    let storm = start.elapsed();

    let frames: u32 = records.iter().map(frames_of).sum();
    let allowed: u32 = records.iter().map(|record| frames_max(start, record)).sum();
    println!("{JOINS} joins settled in {storm:?}: {frames} frames, pacing allows {allowed}");
    for record in &records {
        let received = frames_of(record);
        let allowed = frames_max(start, record);
        assert!(
            received <= allowed,
            "{received} frames, {allowed} allowed: {:?}",
            record.entries()
        );
        let most = record.counts().into_iter().max();
        assert!(most <= Some(JOINS as u64), "more than joined: {:?}", record.entries());
    }
    let mut emitted = 0.0;
    for (instance, before) in cluster.instances.iter().zip(before) {
        let emissions = emissions_of(instance).await - before;
        let allowed = f64::from(emissions_max(start.elapsed()));
        assert!(emissions <= allowed, "{emissions} emissions, {allowed} allowed");
        emitted += instance.metric("headcount_emitted_packets_total").await.expect("it is counted");
    }
    assert!(f64::from(frames) <= emitted, "{frames} frames, of {emitted} that were emitted");
}

async fn emissions_of(instance: &Instance) -> f64 {
    instance.metric("headcount_emissions_total").await.expect("it is counted")
}

fn frames_of(record: &Record) -> u32 {
    u32::try_from(record.counts().len()).expect("a test ends")
}

/// Frames that pacing allows one client: its own first count, and every emission of its instance between the
/// start of the rush and its last frame.
fn frames_max(start: Instant, record: &Record) -> u32 {
    let entries = record.entries();
    let last = entries.iter().rfind(|entry| matches!(entry.event, Event::Count(_)));
    1 + emissions_max(last.map_or(Duration::ZERO, |entry| entry.at - start))
}

/// Emissions that fit into this time: one at its very start, and one more per full interval.
fn emissions_max(time: Duration) -> u32 {
    let intervals = time.as_millis() / EMIT_INTERVAL.as_millis();
    1 + u32::try_from(intervals).expect("a test ends")
}
