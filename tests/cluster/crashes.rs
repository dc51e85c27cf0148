//! Instances that end without a word, sleep too long, or share a name by mistake.

use std::time::Duration;

use rustix::process::Signal;

use crate::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    record::Record,
    waiting::eventually,
};

/// Lease + heartbeat, and a second for a busy machine.
const GONE_WITHIN: Duration = Duration::from_millis(2500 + 1000);

fn five_clients_each(cluster: &Cluster) -> Vec<Vec<Client>> {
    let five = |address| (0..5).map(|n| Client::open(address, Transport::ALL[n % 3])).collect();
    cluster.instances.iter().map(|instance| five(instance.public)).collect()
}

/// Goal: the users of a crashed instance leave the count within lease + heartbeat. Method: kill -9 of one of
/// three instances with five clients each; the time until all others agree on ten is measured.
#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_a_killed_instance_leave_within_a_lease() {
    let mut cluster = Cluster::start(3).await;
    let mut clients = five_clients_each(&cluster);
    cluster.agrees_on(15, &records_of(clients.iter().flatten())).await;
    let lost = clients.remove(1);
    let staying = records_of(clients.iter().flatten());
    let marks: Vec<_> = staying.iter().map(Record::mark).collect();

    cluster.instances[1].process().signal(Signal::KILL);
    let (status, _) = cluster.instances[1].process().ended().await;
    drop(cluster.instances.remove(1));
    let took = cluster.agrees_on(10, &staying).await;
    println!("after kill -9 of an instance ({status}) the others said the truth after {took:?}");
    assert!(took < GONE_WITHIN, "it took {took:?}");
    for (record, mark) in staying.iter().zip(marks) {
        let least = record.counts_since(mark).into_iter().min();
        assert_eq!(least, Some(10), "{}: {:?}", record.name(), record.entries());
    }
    drop(lost);
}

/// Goal: an instance that sleeps beyond its lease takes its users with it and brings them back. Method:
/// SIGSTOP one of two, wait until the other says its own count, SIGCONT, and all must agree on the whole.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_slept_returns_with_its_users() {
    let mut cluster = Cluster::start(2).await;
    let clients = five_clients_each(&cluster);
    let everybody = records_of(clients.iter().flatten());
    cluster.agrees_on(10, &everybody).await;
    let mut sleeper = cluster.instances.pop().expect("there are two");
    sleeper.process().signal(Signal::STOP);
    cluster.agrees_on(5, &records_of(&clients[0])).await;
    sleeper.process().signal(Signal::CONT);
    cluster.instances.push(sleeper);
    let took = cluster.agrees_on(10, &everybody).await;
    println!("after SIGCONT all said the truth after {took:?}");
    assert!(took < Duration::from_millis(500 + 1000), "it took {took:?}");
}

/// Goal: two processes that were given one incarnation by mistake end up as two, with the right sum. Method:
/// the test hook gives both the same id; there must come to be two live instances, and all clients agree.
#[tokio::test(flavor = "multi_thread")]
async fn two_instances_with_one_id_become_two() {
    let id = "018f2b6e-7c3a-7000-8000-000000000001";
    let cluster = Cluster::start_with(2, &[("HEADCOUNT_TEST_INCARNATION", id)]).await;
    let clients = five_clients_each(&cluster);
    cluster.agrees_on(10, &records_of(clients.iter().flatten())).await;
    eventually("two instances of five users", async || {
        let instances = cluster.outsider.instances().await?;
        let users: Vec<u64> = instances.values().copied().collect();
        if users == [5, 5] { Ok(()) } else { Err(format!("{instances:?}")) }
    })
    .await;
    cluster.agrees_on(10, &records_of(clients.iter().flatten())).await;
}
