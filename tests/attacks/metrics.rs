//! The values of the metrics in known situations.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    http,
    instance::Instance,
    redis_client::RedisClient,
    rooms::RoomsClient,
    waiting::eventually,
};
use serde_json::json;

use crate::besieged::{Besieged, CROWD};

/// Goal: the linter of Prometheus accepts the page in every situation. Method: a crowd, a client that left, and
/// a refusal, so that every kind of metric has a value. Then run `promtool check metrics`.
#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing() {
    let besieged = Besieged::start(&[]).await;
    let client = Client::open(besieged.address(), Transport::Websocket);
    besieged.agrees_on(CROWD + 1).await;
    client.leave().await;
    besieged.agrees_on(CROWD).await;
    let page = page(&besieged.cluster.instances[0]).await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed; scripts/test does it");
    let mut stdin = promtool.stdin.take().expect("it is piped");
    stdin.write_all(page.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    println!("{} lines are well-formed", page.lines().count());
}

/// Goal: connections are counted by their current transport, joins by their first transport, and every join is
/// observed once. Method: some clients of each kind, one of which upgrades.
#[tokio::test(flavor = "multi_thread")]
async fn transports_are_counted_as_they_are() {
    let cluster = Cluster::start(1).await;
    let instance = &cluster.instances[0];
    let kinds = [(Transport::Websocket, 2), (Transport::Polling, 3), (Transport::Upgrade, 4)];
    let open = |(transport, clients)| {
        (0..clients).map(move |_| Client::open(instance.public, transport)).collect::<Vec<_>>()
    };
    let clients: Vec<Client> = kinds.into_iter().flat_map(open).collect();
    cluster.agrees_on(9, &records_of(&clients)).await;
    is(instance, "headcount_connections{transport=\"websocket\"}", 6.0).await;
    is(instance, "headcount_connections{transport=\"polling\"}", 3.0).await;
    is(instance, "headcount_connects_total{transport=\"websocket\"}", 2.0).await;
    is(instance, "headcount_connects_total{transport=\"polling\"}", 7.0).await;
    is(instance, "headcount_sessions", 9.0).await;
    is(instance, "headcount_sessions_polling", 3.0).await;
    is(instance, "headcount_sessions_started_total{transport=\"websocket\"}", 2.0).await;
    is(instance, "headcount_sessions_started_total{transport=\"polling\"}", 7.0).await;
    is(instance, "headcount_join_to_emit_seconds_count", 9.0).await;
    is(instance, "headcount_cluster_users", 9.0).await;
    is(instance, "headcount_instances", 1.0).await;
    is(instance, "headcount_drift_users", 0.0).await;
    is(instance, "headcount_view_exact", 1.0).await;
    for client in clients {
        client.leave().await;
    }
    is(instance, "headcount_connections{transport=\"websocket\"}", 0.0).await;
    is(instance, "headcount_connections{transport=\"polling\"}", 0.0).await;
    is(instance, "headcount_sessions_polling", 0.0).await;
    // A client leaves the site, and its session ends a moment later.
    is(instance, "headcount_sessions", 0.0).await;
    for left in ["headcount_disconnects_total", "headcount_sessions_ended_total"] {
        assert_eq!(instance.metric(left).await, Ok(9.0), "{left}");
    }
}

/// Goal: an outage is visible: the age of the view grows, the store is down, the view is an estimate, and the
/// drift is the number of new users. Afterwards all values are as before. Method: stop Redis, let clients join,
/// continue Redis.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_shows_in_the_metrics() {
    let cluster = Cluster::start(1).await;
    let instance = &cluster.instances[0];
    let first = Client::open(instance.public, Transport::Websocket);
    cluster.agrees_on(1, &records_of([&first])).await;
    is(instance, "headcount_store_up", 1.0).await;
    is_young(instance).await;

    cluster.redis.stop();
    let _joined = [(); 3].map(|()| Client::open(instance.public, Transport::Websocket));
    is(instance, "headcount_store_up", 0.0).await;
    is(instance, "headcount_view_exact", 0.0).await;
    is(instance, "headcount_drift_users", -3.0).await;
    is(instance, "headcount_cluster_users", 4.0).await;
    eventually("the view grows old", async || match sample(instance, AGE).await {
        Some(4.0..) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;

    cluster.redis.cont();
    is(instance, "headcount_store_up", 1.0).await;
    is(instance, "headcount_view_exact", 1.0).await;
    is(instance, "headcount_drift_users", 0.0).await;
    is(instance, "headcount_join_to_emit_seconds_count", 4.0).await;
    is_young(instance).await;
}

/// The age of the view.
const AGE: &str = "headcount_view_age_seconds";

/// Waits until the view is a heartbeat old at most, and what a busy machine adds.
async fn is_young(instance: &Instance) {
    eventually("the view is young", async || match sample(instance, AGE).await {
        Some(..3.0) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// Goal: what the store does not know yet of rooms shows in the metrics, on either side, and nothing is left of it at rest, also
/// after somebody has deleted what the store held, which is put right there. Method: connections, and a visitor with two tabs, in
/// rooms. Stop Redis, let some come and one leave, continue Redis. Then delete a field.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_that_the_store_does_not_know_show_in_the_metrics() {
    let cluster = Cluster::start_with(1, &[("HEADCOUNT_GRACE", "0s")]).await;
    let instance = &cluster.instances[0];
    let (drift, members) =
        ("headcount_drift_memberships", "headcount_memberships{kind=\"member\"}");
    let guest = RoomsClient::open(instance.public, Transport::Websocket, &["/a", "/b"]);
    let _tabs = [(); 2].map(|()| visitor(instance, "/a", "0123456789abcdef"));
    is(instance, members, 4.0).await;
    is(instance, drift, 0.0).await;

    cluster.redis.stop();
    let _guests =
        [(); 2].map(|()| RoomsClient::open(instance.public, Transport::Polling, &["/a", "/c"]));
    let _another_tab = visitor(instance, "/a", "0123456789abcdef");
    let _another_visitor = visitor(instance, "/c", "fedcba9876543210");
    is(instance, members, 10.0).await;
    is(instance, drift, -5.0).await;
    guest.leave("/b");
    is(instance, drift, -4.0).await;
    is(instance, "headcount_rooms_exact", 0.0).await;

    cluster.redis.cont();
    is(instance, drift, 0.0).await;
    is(instance, "headcount_rooms_exact", 1.0).await;
    let redis = RedisClient::new(&cluster.redis.url());
    let held = redis.keys("*:at:*").await.expect("Redis answers");
    redis.send(&["HDEL", &held[0], "/a"]).await.expect("Redis answers");
    eventually("an audit counts the room again", async || {
        match sample(instance, "headcount_repairs_total").await {
            Some(1.0..) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    is(instance, drift, 0.0).await;
    assert_eq!(instance.metric(members).await, Ok(9.0));
}

fn visitor(instance: &Instance, room: &str, key: &str) -> RoomsClient {
    let client = RoomsClient::open(instance.public, Transport::Websocket, &[]);
    client.join_with(room, &json!({ "visitor": key }));
    client
}

/// Waits until a sample has this value.
async fn is(instance: &Instance, name: &str, wanted: f64) {
    eventually(&format!("{name} is {wanted}"), async || match sample(instance, name).await {
        Some(value) if (value - wanted).abs() < 1e-9 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// A sample. The name is written as on the page, with its labels.
async fn sample(instance: &Instance, name: &str) -> Option<f64> {
    let page = page(instance).await;
    let mut values = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.next()?.parse().ok()
}

async fn page(instance: &Instance) -> String {
    http::get(instance.admin, "/metrics").await.expect("the metrics are served").body
}
