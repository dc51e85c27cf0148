//! `headcount status` and `headcount health`, as operators and containers use them.

use deadpool_redis::redis;
use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    instance::{Instance, Process, Setting},
    redis_client::KEY,
    redis_server::{RedisServer, free_port},
    waiting::eventually,
};
use rustix::process::Signal;
use serde_json::Value;

/// What a run of the program gave.
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

/// A password that must not show up anywhere.
const PASSWORD: &str = "swordfish";

/// Goal: the status shows who is alive and whether their counts add up, to people and to programs, and never
/// the credentials. Method: two instances with three clients on a Redis with a password; table and JSON are
/// held against what is known.
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
    for one in listed {
        let left = one["lease_left_ms"].as_u64().expect("it has a lease");
        assert!((1..=2000).contains(&left), "{one}");
        assert!(one["started_at"].is_u64() && one["incarnation"].is_string(), "{one}");
    }
    for run in [table, json] {
        assert!(!format!("{run:?}").contains(PASSWORD), "{run:?}");
    }
}

/// Goal: a count that is not the sum, and a store that is away, give exit code 1; no store at all gives 2. No
/// answer shows the credentials. Method: the only instance is stopped before the key is set by hand, so that it
/// cannot put it right; then Redis is killed; then there is no setting.
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

/// Goal: the health check tells an instance that is ready from one that is only alive, and from none, and shows its
/// metrics. Method: an instance whose Redis is not there yet, the same when it is, the same in its drain, and a port
/// where nobody listens.
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

/// Both questions: whether it is ready, with the answer's text, and whether it is alive.
async fn assert_health(settings: &[Setting<'_>], codes: [i32; 2], text: &str) {
    let ready = run(&["health"], settings).await;
    let live = run(&["health", "--live"], settings).await;
    assert_eq!([ready.code, live.code], codes.map(Some), "{ready:?} {live:?}");
    assert!(ready.stdout.contains(text), "{ready:?}");
}
