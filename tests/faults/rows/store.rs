//! Faults of Redis: it ends, loses data, stops, is full, or is busy with something else.

use std::time::{Duration, Instant};

use headcount_testkit::{
    redis_client::{CONNECTIONS, KEY, ROOMS, RedisClient},
    waiting::eventually,
};
use tokio::{task::block_in_place, time::sleep};

use super::{
    estimates, row,
    tampering::{LEASES, META, SEQUENCE},
};
use crate::{
    checker::Sees,
    patched::{CLOCK_OFFSET, Patch},
    row::{Bound, Row},
    stage::{INSTANCES, Setup, Stage},
};

/// Redis keeps everything that was written, even through kill -9.
pub(super) const APPEND_ONLY: Setup = Setup {
    redis: &["--appendonly", "yes", "--appendfsync", "everysec"],
    settings: &[],
    grace: None,
    sentinels: false,
    patch: None,
};

/// All rows about Redis.
pub(super) fn rows() -> Vec<Row> {
    [restarts(), failovers(), sleeps(), trouble()].concat()
}

fn restarts() -> Vec<Row> {
    vec![
        Row {
            setup: APPEND_ONLY,
            ..row(
                "aof",
                "Redis killed, back with all its data (AOF)",
                Bound::TWO_HEARTBEATS,
                |stage| Box::pin(outage(stage)),
            )
        },
        row(
            "rdb",
            "Redis killed, back with an old snapshot (RDB)",
            Bound::LEASE_AND_2_HEARTBEATS,
            |stage| Box::pin(old_snapshot(stage)),
        ),
        row(
            "empty",
            "Redis killed, back empty (no persistence)",
            Bound::LEASE_AND_2_HEARTBEATS,
            |stage| Box::pin(outage(stage)),
        ),
        row(
            "twice",
            "Redis killed twice in a row, back empty",
            Bound::LEASE_AND_2_HEARTBEATS,
            |stage| Box::pin(two_outages(stage)),
        ),
        row("flushall", "FLUSHALL under load", Bound::LEASE_AND_2_HEARTBEATS, |stage| {
            Box::pin(flush(stage))
        }),
        row(
            "flushall-quiet",
            "FLUSHALL in a quiet moment",
            Bound::LEASE_AND_2_HEARTBEATS,
            |stage| Box::pin(flush_in_a_quiet_moment(stage)),
        ),
    ]
}

fn failovers() -> Vec<Row> {
    let failover = |name, fault, play| Row {
        setup: Setup { sentinels: true, ..Setup::default() },
        ..row(name, fault, Bound::LEASE_AND_2_HEARTBEATS, play)
    };
    vec![
        failover("failover", "the primary killed, sentinels choose a replica", |stage| {
            Box::pin(failover_after_a_death(stage))
        }),
        failover("failover-lagging", "the same, the replica missed the last changes", |stage| {
            Box::pin(failover_to_the_past(stage))
        }),
        failover("failover-planned", "a failover is ordered, the old primary lives", |stage| {
            Box::pin(planned_failover(stage))
        }),
    ]
}

fn sleeps() -> Vec<Row> {
    vec![
        row("redis-sigstop", "SIGSTOP of Redis for 5 s", Bound::TWO_HEARTBEATS, |stage| {
            Box::pin(stop(stage, Duration::from_secs(5)))
        }),
        row("pause-5", "CLIENT PAUSE of 5 s", Bound::TWO_HEARTBEATS, |stage| {
            Box::pin(pause(stage, Duration::from_secs(5)))
        }),
        row("pause-60", "CLIENT PAUSE of 60 s", Bound::TWO_HEARTBEATS, |stage| {
            Box::pin(pause(stage, Duration::from_mins(1)))
        }),
        Row {
            setup: Setup { redis: &["--lua-time-limit", "100"], ..Setup::default() },
            ..row(
                "busy",
                "a script of somebody else runs for ever, SCRIPT KILL",
                Bound::TWO_HEARTBEATS,
                |stage| Box::pin(busy(stage)),
            )
        },
    ]
}

fn trouble() -> Vec<Row> {
    let clock = || Setup { patch: Some(Patch::Clock), ..Setup::default() };
    vec![
        Row {
            setup: clock(),
            sees: Sees::Nothing,
            ..row(
                "clock-forward",
                "the clock of Redis jumps an hour forward",
                Bound::HEARTBEAT,
                |stage| Box::pin(clock_jumps(stage, 3_600_000)),
            )
        },
        Row {
            setup: clock(),
            sees: Sees::Nothing,
            ..row(
                "clock-back",
                "the clock of Redis jumps an hour back",
                Bound::HEARTBEAT,
                |stage| Box::pin(clock_jumps(stage, -3_600_000)),
            )
        },
        Row {
            sees: Sees::Nothing,
            ..row("oom", "Redis out of memory, noeviction", Bound::TWO_HEARTBEATS, |stage| {
                Box::pin(out_of_memory(stage))
            })
        },
        Row {
            // The users of the site are evicted, too, and all of it several times: as where one of these keys is deleted, who is there
            // looks right until the instances say it again, and an estimate may lack somebody whom two of them have.
            sees: Sees::Anything,
            ..row(
                "eviction",
                "Redis full of other things, allkeys-random evicts our keys",
                Bound::LEASE_AND_2_HEARTBEATS,
                |stage| Box::pin(eviction(stage)),
            )
        },
    ]
}

/// Goal: during an outage of Redis no displayed count becomes wrong. Method: kill -9 of Redis. Start it again
/// after all instances have noticed.
async fn outage(stage: &mut Stage) {
    stage.begin();
    stage.redis().kill_9();
    estimates(stage, INSTANCES).await;
    stage.redis().restart();
}

/// Goal: old data is noticed and corrected. Method: take a snapshot. Then clients join and leave, Redis is killed,
/// and it starts again with the snapshot.
async fn old_snapshot(stage: &mut Stage) {
    stage.redis_client.send(&["SAVE"]).await.expect("a snapshot");
    stage.visits_pass(15).await;
    outage(stage).await;
}

/// Goal: a second outage during the recovery from the first one is survived. Method: kill Redis again as soon as
/// it has answered a report.
async fn two_outages(stage: &mut Stage) {
    outage(stage).await;
    eventually("Redis counts again", async || match stage.redis_client.instances().await?.len() {
        0 => Err(String::from("nobody has reported")),
        _ => Ok(()),
    })
    .await;
    stage.redis().kill_9();
    estimates(stage, INSTANCES).await;
    stage.redis().restart();
}

/// Goal: when a replica takes over, no count is lost. Method: kill -9 of the primary. The fault ends when the
/// sentinels name another.
async fn failover_after_a_death(stage: &mut Stage) {
    stage.begin();
    stage.set().server_mut(0).kill_9();
    another_is_named(stage).await;
}

/// Goal: a replica that missed changes is treated like old data. Method: clients join and leave while the replicas
/// receive nothing. Then the primary is killed.
async fn failover_to_the_past(stage: &mut Stage) {
    stage.set().hold_replicas_back(0);
    stage.visits_pass(15).await;
    failover_after_a_death(stage).await;
}

/// Goal: the old primary, which accepts reports for a while, misleads no instance. Method: order a failover.
async fn planned_failover(stage: &mut Stage) {
    stage.begin();
    stage.set().order_failover();
    another_is_named(stage).await;
}

/// Waits until all sentinels name the same other primary. The bounds begin here, because the settings of the sentinels
/// decide how long that takes.
async fn another_is_named(stage: &mut Stage) {
    let set = stage.set();
    let (new, _) = eventually("all sentinels name another primary", async || {
        block_in_place(|| set.agreed_successor_of(0))
    })
    .await;
    stage.redis_client = RedisClient::new(&set.server(new).url());
}

/// Goal: after a FLUSHALL by an operator, no displayed count is too small. Method: send the command.
async fn flush(stage: &mut Stage) {
    stage.begin();
    stage.redis_client.send(&["FLUSHALL"]).await.expect("Redis runs");
}

/// Goal: the same as [`flush`] when instances report a heartbeat apart, at different times after it. Method: no
/// client joins or leaves.
async fn flush_in_a_quiet_moment(stage: &mut Stage) {
    stage.stop_churn().await;
    flush(stage).await;
}

/// Goal: a Redis that does not answer for a while ends no lease wrongly. Method: SIGSTOP, which leaves all
/// connections open.
async fn stop(stage: &mut Stage, length: Duration) {
    stage.begin();
    stage.redis().stop();
    sleep(length).await;
    stage.redis().cont();
}

/// Goal: the same as [`stop`] for a Redis that delays its clients by itself. Method: CLIENT PAUSE. The fault ends
/// when Redis answers again.
async fn pause(stage: &mut Stage, length: Duration) {
    let milliseconds = length.as_millis().to_string();
    stage.begin();
    let started = Instant::now();
    stage.redis_client.send(&["CLIENT", "PAUSE", &milliseconds, "ALL"]).await.expect("Redis runs");
    sleep(length.saturating_sub(started.elapsed())).await;
}

/// Goal: an endless script of another program is an outage like any other. Method: run one, wait until all
/// instances have noticed, and kill it.
async fn busy(stage: &mut Stage) {
    stage.begin();
    let endless = stage.redis_client.clone();
    let endless =
        tokio::spawn(async move { endless.send(&["EVAL", "while true do end", "0"]).await });
    estimates(stage, INSTANCES).await;
    let redis_client = &stage.redis_client;
    eventually("the script is killed", async || redis_client.send(&["SCRIPT", "KILL"]).await).await;
    let killed = endless.await.expect("it does not panic");
    assert!(killed.is_err(), "{killed:?}");
}

/// Goal: counting continues when Redis is out of memory. Method: the smallest possible limit, while clients join
/// and leave.
async fn out_of_memory(stage: &mut Stage) {
    stage.begin();
    let set = async |limit| stage.redis_client.send(&["CONFIG", "SET", "maxmemory", limit]).await;
    set("1").await.expect("a limit");
    let refused = stage.redis_client.send(&["SET", "something", "else"]).await;
    assert!(refused.as_ref().is_err_and(|error| error.contains("OOM")), "{refused:?}");
    stage.visits_pass(30).await;
    set("0").await.expect("no limit");
}

/// Goal: no clock jump ends a live lease or keeps a dead one. Method: the script adds an offset to TIME. It jumps
/// twice while clients join and leave.
async fn clock_jumps(stage: &mut Stage, milliseconds: i64) {
    stage.begin();
    for jumps in 1..=2 {
        let offset = (jumps * milliseconds).to_string();
        stage.redis_client.send(&["SET", CLOCK_OFFSET, &offset]).await.expect("Redis runs");
        stage.visits_pass(10).await;
    }
}

/// Goal: evicted keys are restored like lost ones. Method: another program fills Redis under allkeys-random until
/// each of our keys was evicted at least once.
async fn eviction(stage: &mut Stage) {
    stage.begin();
    let send = async |words: &[&str]| stage.redis_client.send(words).await.expect("Redis runs");
    send(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]).await;
    send(&["CONFIG", "SET", "maxmemory", "3mb"]).await;
    let fill =
        "for n = 1, 40 do redis.call('SET', 'other:' .. ARGV[1] .. n, string.rep('x', 9000)) end";
    let mut missing = vec![KEY, CONNECTIONS, SEQUENCE, LEASES, META, ROOMS];
    for round in 0..2000 {
        send(&["EVAL", fill, "0", &format!("{round}:")]).await;
        let mut left = Vec::new();
        for key in missing {
            if stage.redis_client.has(key).await.expect("Redis runs") {
                left.push(key);
            }
        }
        missing = left;
        if missing.is_empty() {
            break;
        }
    }
    assert!(missing.is_empty(), "never evicted: {missing:?}");
    send(&["CONFIG", "SET", "maxmemory", "0"]).await;
}
