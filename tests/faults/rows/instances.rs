//! Faults of instances and of clients.

use std::time::{Duration, Instant};

use headcount_testkit::{
    balancer::Balancer,
    client::Transport,
    redis_client::KEY,
    waiting::{PATIENCE, eventually},
};
use rustix::process::Signal;

use super::{estimates, row, store::APPEND_ONLY};
use crate::{
    checker::{NOISE, Sees},
    history::member,
    row::{Bound, LEASE, Row},
    stage::{CROWD, EVERYWHERE, INSTANCES, PASSING, Setup, Stage},
};

/// After this time no emission is held back: five times the least time between two emissions.
const QUIET: Duration = Duration::from_millis(250);

/// All rows about instances and clients.
pub(super) fn rows() -> Vec<Row> {
    [ends(), silences()].concat()
}

fn ends() -> Vec<Row> {
    vec![
        row("nothing", "nothing; somebody joins in a quiet moment", Bound::AT_ONCE, |stage| {
            Box::pin(nothing(stage))
        }),
        row("kill-9", "kill -9 of an instance", Bound::LEASE_AND_HEARTBEAT, |stage| {
            Box::pin(kill_9(stage))
        }),
        Row {
            setup: Setup { settings: &[("HEADCOUNT_DRAIN", "1s")], ..Setup::default() },
            ..row("sigterm", "SIGTERM of an instance under load", Bound::AT_ONCE, |stage| {
                Box::pin(restart(stage, 1))
            })
        },
        Row {
            setup: Setup { settings: &[("HEADCOUNT_DRAIN", "1s")], ..Setup::default() },
            ..row(
                "rolling-restart",
                "rolling restart of all instances under load",
                Bound::AT_ONCE,
                |stage| Box::pin(restart(stage, INSTANCES)),
            )
        },
        row("all-die", "all instances die, others start", Bound::LEASE_AND_2_HEARTBEATS, |stage| {
            Box::pin(all_die(stage))
        }),
    ]
}

fn silences() -> Vec<Row> {
    vec![
        Row {
            sees: Sees::Without(vec![0]),
            ..row(
                "sigstop",
                "SIGSTOP of an instance for longer than the lease, SIGCONT",
                Bound::HEARTBEAT,
                |stage| Box::pin(sigstop(stage)),
            )
        },
        Row {
            setup: APPEND_ONLY,
            ..row(
                "dies-unseen",
                "an instance dies while Redis is away",
                Bound::LEASE_AND_2_HEARTBEATS,
                |stage| Box::pin(dies_unseen(stage)),
            )
        },
        Row {
            setup: Setup {
                settings: &[("HEADCOUNT_PING_INTERVAL", "1s"), ("HEADCOUNT_PING_TIMEOUT", "2s")],
                ..Setup::default()
            },
            ..row(
                "vanish",
                "clients fall silent and read no more (pings each 1 s, 2 s to answer)",
                VANISHED,
                |stage| Box::pin(async { vanish(stage) }),
            )
        },
    ]
}

const VANISHED: Bound =
    Bound { formula: "ping interval + 2 × ping timeout", time: Duration::from_secs(1 + 2 * 2) };

/// Goal: the baseline for all other rows. Method: only one client joins or leaves.
async fn nothing(stage: &mut Stage) {
    stage.stop_churn().await;
    stage.right_after(Instant::now(), PATIENCE).await.expect("all agree");
    // A pending emission would also reach the newcomer, so it would hide a missing first value.
    eventually("nobody has been told anything for a while", async || {
        let told = stage.crowd.iter().filter_map(|guest| guest.record().entries().pop());
        match told.map(|entry| entry.at.elapsed()).min() {
            Some(ago) if ago < QUIET => Err(format!("somebody was told something {ago:?} ago")),
            _ => Ok(()),
        }
    })
    .await;
    stage.begin();
    let newcomer = stage.open(0, Transport::Websocket, &[member(EVERYWHERE), member(PASSING)]);
    stage.crowd.push(newcomer);
    all_connected(stage, 0).await;
}

/// Goal: the users of a crashed instance, and no others, leave the count when its lease ends. Method: kill one
/// of three instances.
async fn kill_9(stage: &mut Stage) {
    stage.begin();
    stage.kill(1).await;
}

/// Goal: a stopped instance loses its users when its lease ends, and reports them again when it continues.
/// Method: stop one instance until the store has dropped it.
async fn sigstop(stage: &mut Stage) {
    stage.close(0);
    stage.begin();
    stage.instance(0).process().signal(Signal::STOP);
    live_instances(stage, INSTANCES - 1).await;
    stage.instance(0).process().signal(Signal::CONT);
}

/// Goal: during restarts the count misses no more than the clients that are moving, and counts none twice.
/// Method: clients of all transports, which reconnect, reach the first instance that is ready. The instances
/// are replaced one after the other.
async fn restart(stage: &mut Stage, instances: usize) {
    let living = stage.seats.iter().filter_map(|seat| seat.instance.as_ref());
    let balancer = Balancer::start(living).await;
    stage.fill_through(&balancer, 2 * CROWD);
    let faithful = stage.crowd.len() - 2 * CROWD;
    all_connected(stage, faithful).await;
    stage.begin();
    for place in 0..instances {
        let new = stage.add_instance().await;
        balancer.add(stage.instance(new));
        stage.end(place).await;
    }
    all_connected(stage, faithful).await;
    stage.keep(balancer);
}

/// Waits until all clients of the crowd from this index on are connected.
async fn all_connected(stage: &Stage, first: usize) {
    eventually("the faithful are connected", async || {
        let away: Vec<_> =
            stage.crowd[first..].iter().filter(|guest| !guest.record().is_connected()).collect();
        away.first().map_or(Ok(()), |guest| Err(format!("{:?}", guest.record().entries().last())))
    })
    .await;
}

/// Goal: the public key exists for at most two leases after the last instance has died. Instances that start
/// later are right once the old leases have expired. Method: kill all instances, wait for the key to expire,
/// and start two others.
async fn all_die(stage: &mut Stage) {
    stage.begin();
    for place in 0..INSTANCES {
        stage.kill(place).await;
    }
    let redis_client = &stage.redis_client;
    let ((), took) = eventually("the public key expires", async || {
        if redis_client.has(KEY).await? { Err(String::from("it is there")) } else { Ok(()) }
    })
    .await;
    assert!(took < 2 * LEASE + NOISE, "the public key expired after {took:?}");
    for _ in 0..2 {
        let place = stage.add_instance().await;
        stage.fill(place);
    }
    let newcomers = INSTANCES * CROWD;
    all_connected(stage, newcomers).await;
}

/// Goal: a death during an outage of Redis is noticed when Redis returns, and costs no other instance its
/// users. Method: kill Redis, which keeps its data. Kill an instance. Start Redis again.
async fn dies_unseen(stage: &mut Stage) {
    stage.begin();
    stage.redis().kill_9();
    estimates(stage, INSTANCES).await;
    stage.kill(2).await;
    stage.redis().restart();
}

/// Goal: a client that disappears without a goodbye leaves the count, whatever its transport. Method: two
/// clients of each transport stop reading and answering.
fn vanish(stage: &mut Stage) {
    stage.begin();
    for guest in &stage.crowd[..CROWD] {
        guest.vanish();
    }
}

/// Waits until the store knows this number of live instances.
pub(super) async fn live_instances(stage: &Stage, wanted: usize) {
    eventually("the store has dropped the silent instance", async || {
        match stage.redis_client.instances().await?.len() {
            live if live == wanted => Ok(()),
            live => Err(format!("{live} of {wanted}")),
        }
    })
    .await;
}
