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
    row::{Bound, LEASE, Row},
    stage::{CROWD, INSTANCES, Setup, Stage},
};

/// After so long no emission is held back: five times the least time between two.
const QUIET: Duration = Duration::from_millis(250);

/// All of them.
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

/// Goal: what all other rows are measured against. Method: nobody comes or goes but one.
async fn nothing(stage: &mut Stage) {
    stage.stop_churn().await;
    stage.right_after(Instant::now(), PATIENCE).await.expect("all agree");
    // An emission that is held back would tell the newcomer as well, whether or not it is welcomed.
    eventually("nobody has been told anything for a while", async || {
        let told = stage.crowd.iter().filter_map(|guest| guest.record().entries().pop());
        match told.map(|entry| entry.at.elapsed()).min() {
            Some(ago) if ago < QUIET => Err(format!("somebody was told something {ago:?} ago")),
            _ => Ok(()),
        }
    })
    .await;
    stage.begin();
    let server = stage.instance(0).public;
    stage.crowd.push(stage.visits.open(0, server, Transport::Websocket));
    all_connected(stage, 0).await;
}

/// Goal: the users of a crashed instance leave the count when its lease ends, and nobody else's. Method: kill
/// one of three.
async fn kill_9(stage: &mut Stage) {
    stage.begin();
    stage.kill(1).await;
}

/// Goal: an instance that sleeps loses its users to the lease and brings them back. Method: stop one until the
/// store has dropped it.
async fn sigstop(stage: &mut Stage) {
    stage.close(0);
    stage.begin();
    stage.instance(0).process().signal(Signal::STOP);
    live_instances(stage, INSTANCES - 1).await;
    stage.instance(0).process().signal(Signal::CONT);
}

/// Goal: nobody is counted twice or left out beyond those on the move. Method: faithful clients of all
/// transports reach the first instance that is ready; instances are replaced one after the other.
async fn restart(stage: &mut Stage, instances: usize) {
    let living = stage.seats.iter().filter_map(|seat| seat.instance.as_ref());
    let balancer = Balancer::start(living).await;
    for number in 0..2 * CROWD {
        let transport = Transport::ALL[number % Transport::ALL.len()];
        let guest = stage.visits.open_reconnecting(balancer.address, transport);
        stage.crowd.push(guest);
    }
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

/// Waits until those in the crowd from this one on are connected.
async fn all_connected(stage: &Stage, first: usize) {
    eventually("the faithful are connected", async || {
        let away: Vec<_> =
            stage.crowd[first..].iter().filter(|guest| !guest.record().is_connected()).collect();
        away.first().map_or(Ok(()), |guest| Err(format!("{:?}", guest.record().entries().last())))
    })
    .await;
}

/// Goal: the public key outlives the last instance by two leases at most, and those that start later are
/// right once the ghosts have gone. Method: kill all, wait for the key to expire, start two others.
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

/// Goal: a death that nobody could see is found out after the return, and takes nobody else along. Method:
/// Redis is killed, keeping its data; an instance is killed; Redis returns.
async fn dies_unseen(stage: &mut Stage) {
    stage.begin();
    stage.redis().kill_9();
    estimates(stage, INSTANCES).await;
    stage.kill(2).await;
    stage.redis().restart();
}

/// Goal: somebody who is gone without a word is found out, whatever the transport. Method: two clients of each
/// transport stop reading and answering.
fn vanish(stage: &mut Stage) {
    stage.begin();
    for guest in &stage.crowd[..CROWD] {
        guest.vanish();
    }
}

/// Waits until the store knows so many live instances.
pub(super) async fn live_instances(stage: &Stage, wanted: usize) {
    eventually("the store has dropped the silent instance", async || {
        match stage.redis_client.instances().await?.len() {
            live if live == wanted => Ok(()),
            live => Err(format!("{live} of {wanted}")),
        }
    })
    .await;
}
