//! Connections beyond what the system has descriptors for: what is needed inside keeps working, and room
//! comes back.

use std::time::{Duration, Instant};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::Cluster,
    instance::Instance,
    machine::Machine,
    raw::{Raw, ask},
    redis_server::RedisServer,
    waiting::eventually,
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::time::sleep;

use crate::besieged::{Besieged, CROWD};

/// How many open files the instance may have, and how many silent connections want one.
const OPEN_FILES: u16 = 800;
const SILENT: usize = 700;
/// What it keeps for itself.
const RESERVE: u16 = 256;

/// Long enough for many attempts to accept a connection, of which there is one in 50 ms.
const MANY_ATTEMPTS: Duration = Duration::from_secs(2);

/// Goal: clients cannot take the descriptors that Redis, the metrics and the probes need. Method: an instance
/// that may have 800 files open, of which 256 are in reserve, is held by 700 silent connections beside the
/// crowd; those beyond are closed at once and counted, Redis answers all the while, the admin pages are served, and
/// when the connections end newcomers are served again.
#[tokio::test(flavor = "multi_thread")]
async fn used_up_descriptors_leave_the_reserve() {
    let machine = Machine::shared().await;
    let redis = RedisServer::start(&[]);
    let settings = [("HEADCOUNT_REDIS_URL", redis.url())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let instance = Instance::start_limited(OPEN_FILES.into(), &settings).await;
    instance.ready().await;
    let mut cluster = Cluster::start_on(redis, machine, 0, &[]).await;
    cluster.instances.push(instance);
    let mut besieged = Besieged::crowded(cluster, &[Transport::Websocket]).await;

    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(Raw::open(besieged.address()).await);
    }
    eventually("connections are refused", async || match besieged.refused("descriptors").await {
        0 => Err(String::from("none was")),
        refused => Ok(refused),
    })
    .await;
    besieged.until("headcount_store_up", 1).await;
    let ready = ask(besieged.cluster.instances[0].admin, "GET", "/readyz", "").await;
    assert_eq!(ready.status, 200, "it is no outage");
    let open: u16 = besieged.sample("process_open_fds").await;
    println!("{open} descriptors are open");
    assert!(open < OPEN_FILES - RESERVE / 2, "{open} are open");
    drop(silent);
    let newcomer = Client::open_reconnecting(besieged.address(), Transport::Websocket);
    eventually("a newcomer is served", async || match newcomer.record().shows() {
        Some(users) if users == CROWD as u64 + 1 => Ok(()),
        other => Err(format!("it is shown {other:?}")),
    })
    .await;
    newcomer.leave().await;
    besieged.is_unharmed().await;
}

/// Goal: when there are no descriptors at all for a while, the instance neither ends nor spins nor fills its
/// log, keeps those it serves, and goes on by itself. Method: its limit is lowered below what it has open,
/// while it runs; connections that wait meanwhile are served when the limit is raised again.
#[tokio::test(flavor = "multi_thread")]
async fn no_descriptors_at_all_are_survived() {
    let cluster = Cluster::start(1).await;
    let mut besieged = Besieged::crowded(cluster, &[Transport::Websocket]).await;
    let id = besieged.cluster.instances[0].process().id();
    let id = Pid::from_raw(id.try_into().expect("a process id")).expect("it is not zero");
    let lowered = Rlimit { current: Some(10), ..getrlimit(Resource::Nofile) };
    let before = prlimit(Some(id), Resource::Nofile, lowered).expect("it may be lowered");
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let request = format!("GET /api/count HTTP/1.1\r\nhost: {}\r\n\r\n", besieged.address());
        waiting.push(Raw::saying(besieged.address(), request).await);
    }
    let complaint = "failed to accept";
    eventually("it says so", async || {
        let log = besieged.cluster.instances[0].process().stderr();
        if log.contains(complaint) { Ok(()) } else { Err(log) }
    })
    .await;
    let start = Instant::now();
    while start.elapsed() < MANY_ATTEMPTS {
        let log = besieged.cluster.instances[0].process().stderr();
        assert_eq!(log.matches(complaint).count(), 1, "once is enough: {log}");
        sleep(Duration::from_millis(100)).await;
    }
    prlimit(Some(id), Resource::Nofile, before).expect("it may be raised again");
    for raw in &mut waiting {
        assert_eq!(raw.answer().await.expect("an answer").status, 200);
    }
    drop(waiting);
    besieged.is_unharmed().await;
}
