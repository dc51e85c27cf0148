//! `headcount status` and `headcount health` as operators and containers use them.

use deadpool_redis::redis;
use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    instance::{Instance, Process, Setting},
    raw::{Raw, frames::text},
    redis_client::KEY,
    redis_server::{RedisServer, free_port},
    waiting::eventually,
};
use rustix::process::Signal;
use serde_json::Value;

/// The result of a run of the program.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn run(arguments: &[&str], settings: &[Setting<'_>]) -> Run {
    let mut process = Process::spawn(arguments, settings);
    let (status, _) = process.ended().await;
    Run { code: status.code(), stdout: process.stdout(), stderr: process.stderr() }
}

/// A password that must not be printed anywhere.
const PASSWORD: &str = "swordfish";

/// Goal: the status shows people and programs which instances are alive and whether their counts add up. It never
/// shows the credentials. Method: two instances with three clients on a Redis with a password. The table and the
/// JSON are compared with the known state.
#[tokio::test(flavor = "multi_thread")]
async fn status_shows_a_live_cluster() {
    let redis = RedisServer::start(&["--requirepass", PASSWORD]);
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port());
    let settings = [("HEADCOUNT_REDIS_URL", url.as_str())];
    let instances = [Instance::start(&settings).await, Instance::start(&settings).await];
    let counts = [2u64, 1];
    let mut clients = Vec::new();
    for (instance, count) in instances.iter().zip(counts) {
        instance.ready().await;
        clients.extend((0..count).map(|_| Client::open(instance.public, Transport::Websocket)));
    }
    let (table, _) = eventually("the table shows three users", async || {
        let run = run(&["status"], &settings).await;
        if run.stdout.contains("sum 3, count 3") { Ok(run) } else { Err(format!("{run:?}")) }
    })
    .await;
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.stdout.contains("they agree"), "{table:?}");
    assert_eq!(table.stdout.lines().count(), 4, "a head, two instances, the sum: {table:?}");

    let json = run(&["status", "--json"], &settings).await;
    assert_eq!(json.code, Some(0), "{json:?}");
    let status: Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    assert_eq!((&status["count"], &status["sum"]), (&Value::from(3), &Value::from(3)));
    assert_eq!((&status["agrees"], &status["recovering"]), (&true.into(), &false.into()));
    let listed = status["instances"].as_array().expect("a list");
    let mut connections: Vec<_> = listed.iter().map(|one| one["connections"].as_u64()).collect();
    connections.sort_unstable();
    assert_eq!(connections, [Some(1), Some(2)]);
    let are_more = |one: &Value| one["sessions"].as_u64() >= one["connections"].as_u64();
    assert!(listed.iter().all(are_more), "{listed:?}");
    for one in listed {
        let left = one["lease_left_ms"].as_u64().expect("it has a lease");
        assert!((1..=2000).contains(&left), "{one}");
        assert!(one["started_at"].is_u64() && one["incarnation"].is_string(), "{one}");
    }
    for run in [table, json] {
        assert!(!format!("{run:?}").contains(PASSWORD), "{run:?}");
    }
}

/// Goal: the status lists the largest rooms of a prefix, and no name of a room can control a terminal or forge a line. Method: clients
/// in rooms of several sizes, one of them with a name that changes the direction of text.
#[tokio::test(flavor = "multi_thread")]
async fn status_lists_the_largest_rooms() {
    let cluster = Cluster::start(1).await;
    let server = cluster.instances[0].public;
    let mut clients = Vec::new();
    for (room, members) in
        [("/blog/1", 1), ("/blog/\u{202e}2", 3), ("/blog/\u{65e5}", 2), ("/shop", 4)]
    {
        for _ in 0..members {
            let mut client = Raw::websocket(server, None).await;
            let (join, told) = (text(&format!("40{room},")), format!("42{room},"));
            assert!(client.is_answered_after(&join, &told).await, "{room} is joined");
            clients.push(client);
        }
    }
    let url = cluster.redis.url();
    let settings = [("HEADCOUNT_REDIS_URL", url.as_str())];
    let expected = "\n\nCOUNT  ROOM\n    3  /blog/\\u{202e}2\n    2  /blog/\u{65e5}\n";
    eventually("the rooms are listed", async || {
        let run = run(&["status", "--rooms", "2", "--prefix", "/blog/"], &settings).await;
        if run.code == Some(0) && run.stdout.ends_with(expected) {
            Ok(())
        } else {
            Err(format!("{run:?}"))
        }
    })
    .await;
    let json = run(&["status", "--json", "--rooms", "9"], &settings).await;
    assert!(json.stdout.contains("/blog/\\u202e2"), "{json:?}");
    let status: Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    let rooms = status["rooms"].as_array().expect("a list").iter();
    let counts: Vec<Option<u64>> = rooms.map(|room| room["count"].as_u64()).collect();
    assert_eq!(counts, [4, 3, 2, 1].map(Some), "{status}");
    let none = run(&["status", "--rooms", "1", "--prefix", "/nowhere"], &settings).await;
    assert!(none.stdout.ends_with("no such rooms\n"), "{none:?}");
    for flags in [&["--rooms", "0"][..], &["--prefix", "/a"], &["--rooms", "1", "--prefix", "a"]] {
        let refused = run(&[&["status"], flags].concat(), &settings).await;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused:?}");
    }
}

/// Goal: the exit code is 1 for a count that is not the sum and for an unreachable store, and 2 without a configured
/// store. No output contains the credentials. Method: stop the only instance, so that it cannot correct the count,
/// and set the key by hand. Then kill Redis. Then remove the setting.
#[tokio::test(flavor = "multi_thread")]
async fn status_fails_when_something_is_wrong() {
    let mut cluster = Cluster::start(1).await;
    let client = Client::open(cluster.instances[0].public, Transport::Websocket);
    cluster.agrees_on(1, &records_of([&client])).await;
    let url = format!("redis://user:{PASSWORD}@127.0.0.1:{}", cluster.redis.port());
    let plain = cluster.redis.url();
    let settings = [("HEADCOUNT_REDIS_URL", plain.as_str())];
    cluster.instances[0].process().signal(Signal::STOP);
    let mut connection = cluster.redis.connection();
    redis::cmd("SET").arg(KEY).arg(7).exec(&mut connection).expect("Redis runs");
    let wrong = run(&["status"], &settings).await;
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.stdout.contains("THEY DO NOT AGREE"), "{wrong:?}");
    let json = run(&["status", "--json"], &settings).await;
    assert_eq!(json.code, Some(1), "{json:?}");
    let status: Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    assert_eq!((&status["count"], &status["agrees"]), (&Value::from(7), &false.into()));

    let secret = [("HEADCOUNT_REDIS_URL", url.as_str())];
    let denied = run(&["status"], &secret).await;
    cluster.redis.kill_9();
    let away = run(&["status"], &secret).await;
    for run in [denied, away] {
        println!("{run:?}");
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
        assert!(run.stderr.starts_with("headcount: ") && !run.stderr.contains(PASSWORD), "{run:?}");
    }
    let missing = run(&["status"], &[]).await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("HEADCOUNT_REDIS_URL"), "{missing:?}");
}

/// Goal: the health check distinguishes an instance that is ready, one that is only alive, and none. It shows the
/// metrics. Method: an instance whose Redis does not run yet, the same when Redis runs, the same during its drain,
/// and a port where nothing listens.
#[tokio::test(flavor = "multi_thread")]
async fn health_tells_ready_from_alive_from_gone() {
    let mut redis = RedisServer::start(&[]);
    redis.kill_9();
    let url = redis.url();
    let settings = [("HEADCOUNT_REDIS_URL", url.as_str()), ("HEADCOUNT_DRAIN_DELAY", "60s")];
    let mut instance = Instance::start(&settings).await;
    let admin = instance.admin.to_string();
    let ask = [("HEADCOUNT_ADMIN_LISTEN", admin.as_str())];
    assert_health(&ask, [1, 0], "the store has not answered").await;
    redis.restart();
    instance.ready().await;
    assert_health(&ask, [0, 0], "ready").await;
    let metrics = run(&["health", "--metrics"], &ask).await;
    assert_eq!(metrics.code, Some(0), "{metrics:?}");
    assert!(metrics.stdout.contains("\nheadcount_draining 0\n"), "{metrics:?}");
    instance.process().signal(Signal::TERM);
    eventually("it is not ready", async || match instance.readiness().await? {
        503 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
    assert_health(&ask, [1, 0], "shutting down").await;
    let nobody = format!("127.0.0.1:{}", free_port());
    assert_health(&[("HEADCOUNT_ADMIN_LISTEN", &nobody)], [1, 1], "").await;
    let flag = run(&["health", "--admin-listen", "rubbish"], &[]).await;
    assert_eq!(flag.code, Some(2), "{flag:?}");
}

/// Asserts the exit codes and texts of both questions: whether the instance is ready, and whether it is alive.
async fn assert_health(settings: &[Setting<'_>], codes: [i32; 2], text: &str) {
    let ready = run(&["health"], settings).await;
    let live = run(&["health", "--live"], settings).await;
    assert_eq!([ready.code, live.code], codes.map(Some), "{ready:?} {live:?}");
    assert!(ready.stdout.contains(text), "{ready:?}");
}
