//! Redis that dies, returns with or without its data, or was never there; and subscriptions that break.

use std::time::{Duration, Instant};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, clients_say, records_of, told_after},
    instance::{Instance, Shown},
    machine::Machine,
    record::{Mark, Record},
    redis_server::RedisServer,
    waiting::eventually,
};

/// Goal: when Redis returns empty, no client loses its connection or sees a number that is too small. Method:
/// the steps of [`an_outage_shows_no_dip`] on a Redis without persistence.
#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_and_started_empty_shows_no_dip() {
    an_outage_shows_no_dip(RedisServer::start(&[])).await;
}

/// Goal: when Redis returns with all its data, no client loses its connection or sees a number that is too
/// small. Method: the same steps with an append-only file that is written at every command.
#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_and_started_from_its_append_only_file_shows_no_dip() {
    let settings = ["--appendonly", "yes", "--appendfsync", "always"];
    an_outage_shows_no_dip(RedisServer::start(&settings)).await;
}

/// Six clients are connected to two instances while Redis is killed. It stays away until both instances show
/// an estimate, and then returns. Until all is exact again, no client and no instance may show less than six,
/// and no client may lose its connection.
async fn an_outage_shows_no_dip(redis: RedisServer) {
    let mut cluster = Cluster::start_on(redis, Machine::shared().await, 2, &[]).await;
    let clients = three_clients_each(&cluster);
    let records = records_of(&clients);
    cluster.agrees_on(6, &records).await;
    let marks: Vec<_> = records.iter().map(Record::mark).collect();

    cluster.redis.kill_9();
    for instance in &cluster.instances {
        shows(instance, Shown { count: 6, exact: false }).await;
    }
    cluster.redis.restart();
    let least = async || {
        for instance in &cluster.instances {
            let shown = instance.shown().await?;
            assert!(shown.count >= 6, "{} shows {shown:?} of six", instance.public);
        }
        cluster.all_say(6, &records).await
    };
    let ((), took) = eventually("all are exact again", least).await;
    println!("all were exact {took:?} after the return of Redis");
    none_below(6, &records, &marks);
    for record in &records {
        assert!(record.is_connected(), "{}: {:?}", record.name(), record.entries());
    }
    let instances = cluster.redis_client.instances().await.map(|instances| instances.len());
    assert_eq!(instances, Ok(2));
}

/// Goal: without Redis an instance continues to serve, with an estimate. Method: during an outage clients
/// join and leave one instance. Its number follows, and the other's stays. Both show an estimate and stay
/// ready. After the return all agree on the truth, and no number falls below what both knew before.
#[tokio::test(flavor = "multi_thread")]
async fn during_an_outage_joins_and_leaves_still_count() {
    let mut cluster = Cluster::start(2).await;
    let mut clients = three_clients_each(&cluster);
    cluster.agrees_on(6, &records_of(&clients)).await;
    cluster.redis.kill_9();
    let [here, there] = [&cluster.instances[0], &cluster.instances[1]];
    shows(here, Shown { count: 6, exact: false }).await;
    clients.push(Client::open(here.public, Transport::Websocket));
    clients.push(Client::open(here.public, Transport::Polling));
    shows(here, Shown { count: 8, exact: false }).await;
    let newcomers = records_of(&clients[6..]);
    eventually("newcomers are told 8", async || clients_say(8, &newcomers)).await;
    clients.remove(0).leave().await;
    shows(here, Shown { count: 7, exact: false }).await;
    shows(there, Shown { count: 6, exact: false }).await;
    for instance in [here, there] {
        assert_eq!(instance.readiness().await, Ok(200), "an outage must not empty the balancer");
        assert_eq!(instance.metric("headcount_view_exact").await, Ok(0.0));
        assert_eq!(instance.metric("headcount_store_up").await, Ok(0.0));
    }

    let records = records_of(&clients);
    let marks: Vec<_> = records.iter().map(Record::mark).collect();
    cluster.redis.restart();
    cluster.agrees_on(7, &records).await;
    none_below(6, &records, &marks);
}

/// Panics if a client saw less than this number after its mark.
fn none_below(least: u64, records: &[Record], marks: &[Mark]) {
    for (record, mark) in records.iter().zip(marks) {
        let seen = record.counts_since(*mark);
        assert!(seen.iter().all(|&users| users >= least), "{}: {seen:?}", record.name());
    }
}

/// Goal: while an empty store recovers, joins and leaves still change the displayed number. Method: the
/// recovery lasts for the lease of ten seconds. Redis returns empty, and a client joins once the store
/// answers again. It must get seven, marked as an estimate.
#[tokio::test(flavor = "multi_thread")]
async fn a_join_during_recovery_counts_at_once() {
    let mut cluster = Cluster::start_with(2, &[("HEADCOUNT_LEASE", "10s")]).await;
    let mut clients = three_clients_each(&cluster);
    cluster.agrees_on(6, &records_of(&clients)).await;
    cluster.redis.kill_9();
    for instance in &cluster.instances {
        shows(instance, Shown { count: 6, exact: false }).await;
    }
    cluster.redis.restart();
    for instance in &cluster.instances {
        eventually("the store answers", async || {
            let up = instance.metric("headcount_store_up").await?;
            if up > 0.0 { Ok(()) } else { Err(format!("store_up {up}")) }
        })
        .await;
    }
    let instance = &cluster.instances[0];
    clients.push(Client::open(instance.public, Transport::Websocket));
    let newcomer = records_of(&clients[6..]);
    eventually("the newcomer is told 7", async || clients_say(7, &newcomer)).await;
    assert_eq!(newcomer[0].counts()[0], 7, "its first value includes it");
    shows(instance, Shown { count: 7, exact: false }).await;
}

/// Goal: a slow store does not delay a newcomer, and the newcomer's first count includes it. Method: stop
/// Redis, which keeps its connections open. A client joins, and the time to its first count is measured. Then
/// Redis continues, and all agree.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_told_a_count_with_itself_while_redis_sleeps() {
    let cluster = Cluster::start(2).await;
    let mut clients = three_clients_each(&cluster);
    cluster.agrees_on(6, &records_of(&clients)).await;
    cluster.redis.stop();
    clients.push(Client::open(cluster.instances[0].public, Transport::Websocket));
    let newcomer = clients[6].record();
    let (first, took) = eventually("the newcomer's first value", async || {
        newcomer.counts().first().copied().ok_or(format!("{:?}", newcomer.entries()))
    })
    .await;
    println!("while Redis slept, a newcomer was told {first} after {took:?}");
    assert_eq!(first, 7);
    assert!(took < Duration::from_millis(250) + NOISE, "it took {took:?}");
    cluster.redis.cont();
    cluster.agrees_on(7, &records_of(&clients)).await;
}

/// Goal: a newcomer that got the estimate also gets the exact count, even if another client leaves at the
/// same time, so that no other number changes. Method: stop Redis. A client joins and gets 7. Another leaves,
/// so that the truth is 6 again, as all others know. The newcomer must get 6 too.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_told_the_estimate_is_put_right() {
    let cluster = Cluster::start(1).await;
    let mut clients: Vec<Client> =
        (0..6).map(|_| Client::open(cluster.instances[0].public, Transport::Websocket)).collect();
    cluster.agrees_on(6, &records_of(&clients)).await;
    cluster.redis.stop();
    clients.push(Client::open(cluster.instances[0].public, Transport::Websocket));
    let newcomer = clients[6].record();
    eventually("the newcomer is told 7", async || {
        if newcomer.counts().contains(&7) {
            Ok(())
        } else {
            Err(format!("{:?}", newcomer.entries()))
        }
    })
    .await;
    clients.remove(0).leave().await;
    let records = records_of(&clients);
    eventually("all are told 6", async || clients_say(6, &records)).await;
    cluster.redis.cont();
    cluster.agrees_on(6, &records).await;
}

/// Goal: an instance may start before Redis. Method: start an instance while Redis is down. It must run, log
/// the problem, and be unready. When Redis starts, it becomes ready by itself and counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_starts_before_redis_waits_for_it() {
    let mut redis = RedisServer::start(&[]);
    redis.kill_9();
    let url = redis.url();
    let mut instance = Instance::start(&[("HEADCOUNT_REDIS_URL", url.as_str())]).await;
    eventually("it says in its log that it waits for the store", async || {
        let log = instance.process().stderr();
        let says = log.lines().any(|line| line.contains("WARN") && line.contains("store"));
        if says { Ok(()) } else { Err(log) }
    })
    .await;
    assert_eq!(instance.readiness().await, Ok(503));
    let alive =
        headcount_testkit::http::get(instance.admin, "/livez").await.map(|answer| answer.status);
    assert_eq!(alive, Ok(200), "liveness never looks at Redis");
    assert!(instance.process().runs());

    let mut cluster = Cluster::start_on(redis, Machine::shared().await, 0, &[]).await;
    cluster.redis.restart();
    instance.ready().await;
    let client = Client::open(instance.public, Transport::Websocket);
    cluster.instances.push(instance);
    cluster.agrees_on(1, &records_of([&client])).await;
}

/// Goal: a subscription that is cut delays a change by at most a second. Method: cut every subscriber of
/// Redis while a client joins one instance. The time until the other instance's client sees it is measured.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_subscription_is_made_good_within_a_second() {
    let took = join_right_after_the_cut(&[]).await;
    assert!(took < Duration::from_secs(1) + NOISE, "it took {took:?}");
}

/// Goal: the new subscription brings the change without waiting for the next heartbeat. Method: the same
/// steps with a heartbeat of 20 seconds, so that no reply arrives by chance.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_subscription_is_made_anew() {
    let settings = [("HEADCOUNT_HEARTBEAT", "20s"), ("HEADCOUNT_LEASE", "60s")];
    let took = join_right_after_the_cut(&settings).await;
    assert!(took < Duration::from_secs(2) + NOISE, "it took {took:?}");
}

async fn join_right_after_the_cut(settings: &[(&str, &str)]) -> Duration {
    let cluster = Cluster::start_with(2, settings).await;
    let mut clients = three_clients_each(&cluster);
    cluster.agrees_on(6, &records_of(&clients)).await;
    eventually("each instance subscribes", async || {
        match cluster.redis_client.subscribers().await? {
            2 => Ok(()),
            subscribers => Err(subscribers.to_string()),
        }
    })
    .await;
    let cut = cluster.redis_client.kill_subscribers().await;
    assert_eq!(cut, 2, "each instance subscribes once");
    let start = Instant::now();
    clients.push(Client::open(cluster.instances[0].public, Transport::Websocket));
    cluster.agrees_on(7, &records_of(&clients)).await;
    let took = told_after(start, &records_of(&clients));
    println!("after the subscriptions were cut, all saw the join after {took:?}");
    // A heartbeat may bring the count before the subscription is there again.
    eventually("the new subscription is counted", async || {
        let times = cluster.instances[1].metric("headcount_resubscribes_total").await?;
        if times >= 1.0 { Ok(()) } else { Err(times.to_string()) }
    })
    .await;
    took
}

fn three_clients_each(cluster: &Cluster) -> Vec<Client> {
    let clients_of =
        |instance: &Instance| Transport::ALL.map(|kind| Client::open(instance.public, kind));
    cluster.instances.iter().flat_map(clients_of).collect()
}

async fn shows(instance: &Instance, wanted: Shown) {
    let what = format!("{} shows {wanted:?}", instance.public);
    eventually(&what, async || match instance.shown().await? {
        shown if shown == wanted => Ok(()),
        shown => Err(format!("{shown:?}")),
    })
    .await;
}

/// What a busy machine may add to a bound.
const NOISE: Duration = Duration::from_secs(1);
