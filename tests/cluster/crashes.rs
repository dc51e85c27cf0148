//! Instances that crash, are stopped for too long, or share a name by mistake.

use std::time::{Duration, Instant};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, clients_say, records_of, told_after},
    instance::Shown,
    record::Record,
    waiting::eventually,
};
use rustix::process::Signal;

/// Lease + heartbeat, and a second for a busy machine.
const GONE_WITHIN: Duration = Duration::from_millis(2500 + 1000);

fn five_clients_each(cluster: &Cluster) -> Vec<Vec<Client>> {
    let five = |address| (0..5).map(|n| Client::open(address, Transport::ALL[n % 3])).collect();
    cluster.instances.iter().map(|instance| five(instance.public)).collect()
}

/// Goal: the users of a crashed instance leave the count within lease + heartbeat. Method: kill -9 of one of three
/// instances with five clients each. The time until all others agree on ten is measured.
#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_a_killed_instance_leave_within_a_lease() {
    let mut cluster = Cluster::start(3).await;
    let mut clients = five_clients_each(&cluster);
    cluster.agrees_on(15, &records_of(clients.iter().flatten())).await;
    let lost = clients.remove(1);
    let staying = records_of(clients.iter().flatten());
    let marks: Vec<_> = staying.iter().map(Record::mark).collect();

    let killed = Instant::now();
    cluster.instances[1].process().signal(Signal::KILL);
    let (status, _) = cluster.instances[1].process().ended().await;
    drop(cluster.instances.remove(1));
    cluster.agrees_on(10, &staying).await;
    let took = told_after(killed, &staying);
    println!("after kill -9 of an instance ({status}) the others said the truth after {took:?}");
    assert!(took < GONE_WITHIN, "it took {took:?}");
    for (record, mark) in staying.iter().zip(marks) {
        let least = record.counts_since(mark).into_iter().min();
        assert_eq!(least, Some(10), "{}: {:?}", record.name(), record.entries());
    }
    drop(lost);
}

/// Goal: an instance that continues after a long stop knows that its lease has ended, before it reports again. It shows
/// an estimate that includes its own users, although other instances have announced a count without them. Method:
/// SIGSTOP one of two instances until the other shows only its own users. SIGSTOP Redis, so that the stopped instance
/// cannot report. After SIGCONT, its answers and its clients' counts are checked. A newcomer must not wait for Redis.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_slept_says_nothing_exact_before_it_reports() {
    let mut cluster = Cluster::start(2).await;
    let mut clients = five_clients_each(&cluster);
    let everybody = records_of(clients.iter().flatten());
    cluster.agrees_on(10, &everybody).await;
    let mut sleeper = cluster.instances.pop().expect("there are two");
    sleeper.process().signal(Signal::STOP);
    cluster.agrees_on(5, &records_of(&clients[0])).await;
    cluster.redis.stop();
    let sleepers = records_of(&clients[1]);
    let marks: Vec<_> = sleepers.iter().map(Record::mark).collect();

    sleeper.process().signal(Signal::CONT);
    assert_eq!(sleeper.shown().await, Ok(Shown { count: 10, exact: false }));
    for metric in ["view_exact", "store_up"] {
        let found = sleeper.metric(&format!("headcount_{metric}")).await;
        assert_eq!(found, Ok(0.0), "{metric}");
    }
    eventually("the announcement of five is read", async || {
        match sleeper.metric("headcount_drift_users").await? {
            -5.0 => Ok(()),
            drift => Err(drift.to_string()),
        }
    })
    .await;
    clients[1].push(Client::open(sleeper.public, Transport::Websocket));
    let newcomer = [clients[1][5].record().clone()];
    eventually("the newcomer is told 11", async || clients_say(11, &newcomer)).await;
    assert_eq!(newcomer[0].counts()[0], 11, "its first value includes it");
    cluster.redis.cont();
    cluster.instances.push(sleeper);
    cluster.agrees_on(11, &records_of(clients.iter().flatten())).await;
    for (record, mark) in sleepers.iter().zip(marks) {
        let seen = record.counts_since(mark);
        assert!(seen.iter().all(|&users| users >= 10), "{}: {seen:?}", record.name());
    }
}

/// Goal: an instance that is stopped for longer than its lease loses its users and reports them again. Method: SIGSTOP
/// one of two instances, and wait until the other shows only its own users. After SIGCONT all must agree on the sum.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_slept_returns_with_its_users() {
    let mut cluster = Cluster::start(2).await;
    let clients = five_clients_each(&cluster);
    let everybody = records_of(clients.iter().flatten());
    cluster.agrees_on(10, &everybody).await;
    let mut sleeper = cluster.instances.pop().expect("there are two");
    sleeper.process().signal(Signal::STOP);
    cluster.agrees_on(5, &records_of(&clients[0])).await;
    let awake = Instant::now();
    sleeper.process().signal(Signal::CONT);
    cluster.instances.push(sleeper);
    cluster.agrees_on(10, &everybody).await;
    let took = told_after(awake, &everybody);
    println!("after SIGCONT all said the truth after {took:?}");
    assert!(took < Duration::from_millis(500 + 1000), "it took {took:?}");
}

/// Goal: two processes that got the same incarnation by mistake become two instances with the right sum. Method: the
/// test hook gives both the same id. In the end there must be two live instances, and all clients must agree.
#[tokio::test(flavor = "multi_thread")]
async fn two_instances_with_one_id_become_two() {
    let id = "018f2b6e-7c3a-7000-8000-000000000001";
    let cluster = Cluster::start_with(2, &[("HEADCOUNT_TEST_INCARNATION", id)]).await;
    let clients = five_clients_each(&cluster);
    cluster.agrees_on(10, &records_of(clients.iter().flatten())).await;
    eventually("two instances of five users", async || {
        let instances = cluster.redis_client.instances().await?;
        let users: Vec<u64> = instances.values().copied().collect();
        if users == [5, 5] { Ok(()) } else { Err(format!("{instances:?}")) }
    })
    .await;
    cluster.agrees_on(10, &records_of(clients.iter().flatten())).await;
}
