//! Redis with replicas and sentinels: failovers with connected clients, and sentinels that are unreachable or get
//! a wrong name.

mod deployment;
mod onlookers;

use std::time::{Duration, Instant};

use rustix::process::Signal;

use deployment::{Churn, Deployment};
use headcount_testkit::{
    client::{Client, Transport},
    cluster::records_of,
    instance::{Instance, Process},
    machine::Machine,
    record::{Mark, Record},
    redis_server::free_port,
    sentinel_set::{NAME, SentinelSet},
    waiting::eventually,
};

/// Time limit after a failover: a lease in which all instances report again, and a heartbeat at either end.
const RIGHT_WITHIN: Duration = Duration::from_secs(3);

/// What a busy machine may add to a bound.
const NOISE: Duration = Duration::from_secs(1);

/// Goal: when the primary dies under load, no displayed number is too small. Method: twelve clients on three
/// instances stay while others join and leave. The primary is killed. Until all is exact again, no number may be
/// below twelve, or above twelve plus those that join and leave. No client may lose its connection. Then the old
/// primary returns as a replica, which must change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_is_followed_by_a_replica() {
    let mut deployment = Deployment::start(3, Machine::shared().await).await;
    let watchers = deployment.four_clients_each();
    let records = records_of(&watchers);
    deployment.agrees_on(12, &records).await;
    let churns: Vec<_> =
        deployment.instances.iter().map(|each| Churn::start(each.public)).collect();
    eventually("the others come and go", async || Churn::all_are_busy(&churns)).await;
    let marks = marks_of(&records);

    let killed = Instant::now();
    deployment.set.server_mut(0).kill_9();
    deployment.successor_takes_over(0).await;
    for churn in churns {
        churn.end().await;
    }
    let (failover, right) = deployment.right_after(killed, 12, &records).await;
    println!(
        "primary killed: another was named after {failover:?}, all were right after {right:?}"
    );
    assert!(right < failover + RIGHT_WITHIN + NOISE, "{right:?} after a failover of {failover:?}");
    let most = 12 + 2 * Churn::CLIENTS * 3;
    nobody_saw_other_than(12..=most, &records, &marks);
    deployment.all_listen_to_the_primary(3).await;

    let marks = marks_of(&records);
    deployment.set.server_mut(0).restart();
    eventually("the old primary is a replica", async || deployment.set.follows(0)).await;
    deployment.agrees_on(12, &records).await;
    nobody_saw_other_than(12..=12, &records, &marks);
    assert!(records.iter().all(Record::is_connected));
}

/// Goal: when a replica that missed the last seconds takes over, no old data comes back. Method: cut the replicas
/// off. Kill an instance with four clients; three more clients join and one leaves. Then kill the primary. The
/// store must be marked as recovering. No number may be below the ten connected clients or above ten plus the four
/// old ones, and all must be right in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_brings_nothing_back() {
    let mut deployment = Deployment::start(3, Machine::shared().await).await;
    let mut clients = deployment.clients_on_each(4);
    deployment.agrees_on(12, &records_of(&clients)).await;
    deployment.set.hold_replicas_back(0);

    deployment.kill_last();
    clients.truncate(8);
    clients.remove(0).leave().await;
    let there = deployment.instances[1].public;
    clients.extend((0..3).map(|_| Client::open(there, Transport::Websocket)));
    let records = records_of(&clients);
    deployment.agrees_on(10, &records).await;
    let missed = async || deployment.set.ask::<u64>(1, &["GET", "currentUsers"]);
    assert_eq!(eventually("a replica answers", missed).await.0, 12, "the replicas lag");
    let marks = marks_of(&records);

    let killed = Instant::now();
    deployment.set.server_mut(0).kill_9();
    deployment.successor_takes_over(0).await;
    deployment.is_recovering().await;
    let (failover, right) = deployment.right_after(killed, 10, &records).await;
    println!("lagging replica: it was named after {failover:?}, all were right after {right:?}");
    assert!(right < failover + RIGHT_WITHIN + NOISE, "{right:?} after a failover of {failover:?}");
    nobody_saw_other_than(10..=14, &records, &marks);
    assert!(records.iter().all(Record::is_connected));
}

/// Goal: a planned failover has no visible effect, although the old primary accepts writes for seconds after it.
/// Method: order a failover while twelve clients are connected. Then one more joins each instance. All must be
/// right in time and no number too small. In the end all instances must be subscribed to the new primary only.
#[tokio::test(flavor = "multi_thread")]
async fn a_planned_failover_is_not_noticed() {
    let deployment = Deployment::start(3, Machine::shared().await).await;
    let mut clients = deployment.four_clients_each();
    let records = records_of(&clients);
    deployment.agrees_on(12, &records).await;
    let marks = marks_of(&records);

    let ordered = Instant::now();
    deployment.set.order_failover();
    deployment.successor_takes_over(0).await;
    let old = deployment.set.role(0);
    for instance in &deployment.instances {
        clients.push(Client::open(instance.public, Transport::Websocket));
    }
    let records_of_all = records_of(&clients);
    let all_move = async {
        deployment.all_listen_to_the_primary(3).await;
        ordered.elapsed()
    };
    let ((failover, right), moved) =
        tokio::join!(deployment.right_after(ordered, 15, &records_of_all), all_move);
    println!(
        "planned failover: done after {failover:?}, all were right after {right:?}; the old primary: {old:?}"
    );
    assert!(right < failover + RIGHT_WITHIN + NOISE, "{right:?} after a failover of {failover:?}");
    nobody_saw_other_than(12..=15, &records, &marks);
    assert!(moved < failover + RIGHT_WITHIN + NOISE, "all listen to it only after {moved:?}");

    let marks = marks_of(&records);
    eventually("the old primary is a replica", async || deployment.set.follows(0)).await;
    deployment.agrees_on(15, &records_of(&clients)).await;
    nobody_saw_other_than(15..=15, &records, &marks);
    assert!(records.iter().all(Record::is_connected));
}

/// Goal: without sentinels the primary continues to be used, also on new connections. Method: kill all sentinels.
/// A client joins and is counted. Cut all connections to the primary. Another client joins and is counted. An
/// instance that never knew the primary is unready and logs why; it becomes ready when sentinels return.
#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_are_all_away_change_nothing() {
    let mut deployment = Deployment::start(2, Machine::shared().await).await;
    let mut clients = deployment.four_clients_each();
    deployment.agrees_on(8, &records_of(&clients)).await;
    for index in 0..3 {
        deployment.set.kill_sentinel(index);
    }
    let here = deployment.instances[0].public;
    clients.push(Client::open(here, Transport::Websocket));
    deployment.agrees_on(9, &records_of(&clients)).await;
    for kind in ["normal", "pubsub"] {
        let cut = async || deployment.set.ask::<u64>(0, &["CLIENT", "KILL", "TYPE", kind]);
        let (cut, _) = eventually("the primary answers", cut).await;
        assert!(cut > 0, "there are connections of the kind {kind}");
    }
    clients.push(Client::open(here, Transport::Websocket));
    deployment.agrees_on(10, &records_of(&clients)).await;
    deployment.instances[0].process().logged(&["no sentinel names a primary"]).await;

    let url = deployment.set.url();
    let mut late = Instance::start(&[("HEADCOUNT_REDIS_URL", url.as_str())]).await;
    late.process().logged(&["the sentinel at 127.0.0.1:"]).await;
    assert_eq!(late.readiness().await, Ok(503));
    for index in 0..3 {
        deployment.set.restart_sentinel(index);
    }
    late.ready().await;
    deployment.join(late);
    deployment.agrees_on(10, &records_of(&clients)).await;
}

/// Goal: one working sentinel is enough to start, whatever the others do. Method: of the listed sentinels the
/// first two do not exist, and two hang. An instance must be ready in time, and follow a failover.
#[tokio::test(flavor = "multi_thread")]
async fn dead_and_hanging_sentinels_cost_little_time() {
    let mut set = SentinelSet::start();
    let hangs = set.sentinel_ports()[0];
    let mut ports = vec![free_port(), free_port()];
    ports.extend(set.sentinel_ports());
    let url = set.url_by(&ports);
    set.stop_sentinel(0);
    let mut deployment = Deployment::start_on(set, &url, 0, Machine::shared().await).await;
    let started = Instant::now();
    deployment.add(&url).await;
    let ready = started.elapsed();
    println!("with {hangs} hanging and two dead sentinels, an instance was ready after {ready:?}");
    assert!(ready < Duration::from_secs(1) + NOISE, "it took {ready:?}");
    let clients = deployment.four_clients_each();
    let records = records_of(&clients);
    deployment.agrees_on(4, &records).await;

    let killed = Instant::now();
    deployment.set.server_mut(0).kill_9();
    deployment.successor_takes_over(0).await;
    let (failover, right) = deployment.right_after(killed, 4, &records).await;
    println!("with those, a failover took {failover:?}, and all were right after {right:?}");
    assert!(right < failover + RIGHT_WITHIN + NOISE, "{right:?} after a failover of {failover:?}");
}

/// Goal: a primary that hangs with open connections causes no delay once another is named. Method: stop it instead
/// of killing it. The time limit is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hangs_is_left() {
    let deployment = Deployment::start(2, Machine::shared().await).await;
    let clients = deployment.four_clients_each();
    let records = records_of(&clients);
    deployment.agrees_on(8, &records).await;
    let marks = marks_of(&records);
    let stopped = Instant::now();
    deployment.set.server(0).stop();
    deployment.successor_takes_over(0).await;
    let (failover, right) = deployment.right_after(stopped, 8, &records).await;
    println!(
        "primary stopped: another was named after {failover:?}, all were right after {right:?}"
    );
    assert!(right < failover + RIGHT_WITHIN + NOISE, "{right:?} after a failover of {failover:?}");
    nobody_saw_other_than(8..=8, &records, &marks);
    deployment.all_listen_to_the_primary(2).await;

    let marks = marks_of(&records);
    deployment.set.server(0).cont();
    eventually("the old primary is a replica", async || deployment.set.follows(0)).await;
    deployment.agrees_on(8, &records).await;
    nobody_saw_other_than(8..=8, &records, &marks);
}

/// Goal: a wrong name of the primary is visible in the log, and `headcount status` works with the right one.
/// Method: an instance and the command, with either name.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_of_the_primary_is_said() {
    let deployment = Deployment::start(1, Machine::shared().await).await;
    let client = Client::open(deployment.instances[0].public, Transport::Websocket);
    deployment.agrees_on(1, &records_of([&client])).await;
    let right = deployment.set.url();
    let wrong = right.replace(NAME, "nosuch");

    let mut instance = Instance::start(&[("HEADCOUNT_REDIS_URL", wrong.as_str())]).await;
    instance.process().logged(&["no sentinel knows a primary named nosuch"]).await;
    assert_eq!(instance.readiness().await, Ok(503));
    for (url, code, words) in [
        (&wrong, 1, &["no sentinel knows a primary named nosuch"][..]),
        (&right, 0, &["sum 1, count 1", "they agree"]),
    ] {
        // On a busy machine the sentinels may take longer than the command waits.
        eventually("status says it", async || match status(url).await {
            (found, said)
                if found == Some(code) && words.iter().all(|&word| said.contains(word)) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    instance.process().signal(Signal::TERM);
    assert_eq!(instance.process().ended().await.0.code(), Some(0));
}

/// The exit code of `headcount status`, and all its output.
async fn status(url: &str) -> (Option<i32>, String) {
    let mut process = Process::spawn(&["status"], &[("HEADCOUNT_REDIS_URL", url)]);
    let (status, _) = process.ended().await;
    (status.code(), process.stdout() + &process.stderr())
}

fn marks_of(records: &[Record]) -> Vec<Mark> {
    records.iter().map(Record::mark).collect()
}

/// Panics if a client saw another number after its mark.
fn nobody_saw_other_than(
    allowed: std::ops::RangeInclusive<u64>,
    records: &[Record],
    marks: &[Mark],
) {
    for (record, mark) in records.iter().zip(marks) {
        let seen = record.counts_since(*mark);
        let fits = seen.iter().all(|users| allowed.contains(users));
        assert!(fits, "{} saw {seen:?}, and not only {allowed:?}", record.name());
    }
}
