//! Faults between instances and Redis, and faults of subscriptions.

use std::time::Duration;

use headcount_testkit::{client::Transport, redis_client::CHANNEL, waiting::eventually};
use tokio::time::sleep;

use super::{instances::live_instances, row};
use crate::{
    checker::Sees,
    history::member,
    proxy::Mode,
    row::{Bound, HEARTBEAT, Row},
    stage::{CROWD, EVERYWHERE, INSTANCES, PASSING, Setup, Stage},
};

/// All rows about the network.
pub(super) fn rows() -> Vec<Row> {
    [reports(), links(), subscriptions()].concat()
}

fn reports() -> Vec<Row> {
    vec![
        Row {
            // Until the report is tried again, nobody can know whether who has just come is on another instance, too.
            sees: Sees::Estimates,
            ..row(
                "replies-lost",
                "every third reply lost after its report ran",
                Bound::ONE_SECOND,
                |stage| Box::pin(meanwhile_people_come(stage, Mode::DropReplies)),
            )
        },
        Row {
            sees: Sees::Nothing,
            ..row("repeats", "every report runs again 3.5 s later", Bound::ONE_SECOND, |stage| {
                Box::pin(repeats(stage))
            })
        },
        row("latency", "200 ms to Redis, each way", Bound::TWO_HEARTBEATS, |stage| {
            Box::pin(meanwhile_people_come(stage, Mode::Delay(Duration::from_millis(200))))
        }),
    ]
}

fn links() -> Vec<Row> {
    let gone = || Sees::Without(vec![0]);
    vec![
        Row {
            sees: gone(),
            ..row(
                "cut-off",
                "an instance cut off from Redis, its clients stay",
                Bound::TWO_HEARTBEATS,
                |stage| Box::pin(cut_off(stage, Mode::Cut)),
            )
        },
        Row {
            sees: gone(),
            ..row(
                "half-open",
                "the same, its connections half open",
                Bound::TWO_HEARTBEATS,
                |stage| Box::pin(cut_off(stage, Mode::Hold)),
            )
        },
        Row {
            sees: gone(),
            ..row(
                "forgotten",
                "a firewall forgets an instance's connections",
                Bound::LEASE_AND_2_HEARTBEATS,
                |stage| Box::pin(async { forgotten(stage) }),
            )
        },
        row(
            "all-cut-off",
            "all instances cut off for 5 s, half open",
            Bound::TWO_HEARTBEATS,
            |stage| Box::pin(all_cut_off(stage)),
        ),
    ]
}

fn subscriptions() -> Vec<Row> {
    let seen = |name, fault, play| Row {
        sees: Sees::Nothing,
        ..row(name, fault, Bound::ONE_SECOND, play)
    };
    let with = |row, setup| Row { setup, ..row };
    let slow = Setup {
        settings: &[("HEADCOUNT_HEARTBEAT", "20s"), ("HEADCOUNT_LEASE", "60s")],
        ..Setup::default()
    };
    let small_buffers =
        Setup { redis: &["--client-output-buffer-limit", "pubsub 1mb 1mb 1"], ..Setup::default() };
    vec![
        seen("pubsub-killed", "all subscriptions killed, three times", |stage| {
            Box::pin(subscriptions_killed(stage))
        }),
        seen("deaf", "subscriptions stay open and deliver nothing", |stage| Box::pin(deaf(stage))),
        with(
            seen("overflow", "the subscribers' output buffers overflow", |stage| {
                Box::pin(overflow(stage))
            }),
            small_buffers,
        ),
        with(
            Row {
                sees: Sees::Truth,
                ..seen("gap", "a change nobody hears of (heartbeat 20 s)", |stage| {
                    Box::pin(gap(stage))
                })
            },
            slow,
        ),
        seen("rubbish", "rubbish published on our channel", |stage| Box::pin(rubbish(stage))),
    ]
}

/// Goal: a disturbance of reports has no visible effect. Method: all proxies disturb them while many clients join
/// and leave.
async fn meanwhile_people_come(stage: &mut Stage, mode: Mode) {
    stage.begin();
    stage.set_all(mode);
    stage.visits_pass(40).await;
    stage.set_all(Mode::Pass);
}

/// Goal: a report that runs again later changes nothing. Method: every report does while clients join and leave.
/// Then many clients leave one instance, and none joins or leaves any more. So the late reports are far from the
/// truth, and no new report corrects them until the last has run.
async fn repeats(stage: &mut Stage) {
    let late = Duration::from_millis(3500);
    meanwhile_people_come(stage, Mode::Repeat(late)).await;
    stage.stop_churn().await;
    for guest in stage.crowd.drain(..CROWD) {
        guest.leave().await;
    }
    sleep(late).await;
}

/// Goal: an instance without Redis continues to serve its clients. The other instances drop its users after a
/// lease, and all counts are right when the connection is back. Method: one proxy blocks until the store has
/// dropped the instance.
async fn cut_off(stage: &mut Stage, mode: Mode) {
    stage.begin();
    stage.seats[0].proxy.set(mode);
    live_instances(stage, INSTANCES - 1).await;
    stage.seats[0].proxy.set(Mode::Pass);
}

/// Goal: an instance notices that its connections are dead although they are open. Method: the connections of one
/// instance never carry a byte again, while new ones work.
fn forgotten(stage: &mut Stage) {
    stage.begin();
    stage.seats[0].proxy.set(Mode::Forget);
}

/// Goal: an outage of the network for all instances ends no lease wrongly. Method: no byte passes for longer than
/// two leases. The instances come back one after the other, within a heartbeat.
async fn all_cut_off(stage: &mut Stage) {
    stage.begin();
    stage.set_all(Mode::Hold);
    sleep(Duration::from_secs(5)).await;
    for seat in &stage.seats {
        seat.proxy.set(Mode::Pass);
        sleep(HEARTBEAT / 3).await;
    }
}

/// Goal: a lost subscription has no visible effect. Method: kill all subscriptions three times, each time after
/// all are there again.
async fn subscriptions_killed(stage: &mut Stage) {
    stage.begin();
    for _ in 0..3 {
        eventually("all have subscribed", async || {
            match stage.redis_client.subscribers().await? {
                INSTANCES => Ok(()),
                some => Err(format!("{some} of {INSTANCES}")),
            }
        })
        .await;
        stage.redis_client.kill_subscribers().await;
    }
}

/// Goal: an instance notices that its subscription delivers nothing. Method: no subscription delivers, until every
/// instance has subscribed again.
async fn deaf(stage: &mut Stage) {
    stage.begin();
    stage.set_all(Mode::Deaf);
    all_subscribe_anew(stage).await;
    stage.set_all(Mode::Pass);
}

/// Goal: when Redis disconnects a slow subscriber, this has no visible effect. Method: publish a message larger
/// than the limit of the subscribers' buffers.
async fn overflow(stage: &mut Stage) {
    stage.begin();
    let huge = "x".repeat(8 << 20);
    stage.redis_client.send(&["PUBLISH", CHANNEL, &huge]).await.expect("Redis runs");
    all_subscribe_anew(stage).await;
}

/// Goal: a new subscription closes the gap at once, and does not need the next heartbeat, which is far away here.
/// Method: wait until no instance has anything to report. A client joins while no subscription delivers. Then all
/// connections are cut, and may reconnect.
async fn gap(stage: &mut Stage) {
    stage.stop_churn().await;
    nobody_reports(stage).await;
    stage.begin();
    let before = stage.redis_client.users().await.expect("Redis runs");
    stage.set_all(Mode::Deaf);
    let newcomer = stage.open(0, Transport::Websocket, &[member(EVERYWHERE), member(PASSING)]);
    stage.crowd.push(newcomer);
    eventually("Redis has counted the newcomer", async || {
        match stage.redis_client.users().await? {
            counted if counted == before + 1 => Ok(()),
            counted => Err(format!("{counted}, and before {before}")),
        }
    })
    .await;
    stage.set_all(Mode::Cut);
    eventually("nobody subscribes", async || match stage.redis_client.subscribers().await? {
        0 => Ok(()),
        some => Err(format!("{some} do")),
    })
    .await;
    stage.set_all(Mode::Pass);
}

/// Waits until no report has been sent for a while. A report under way would be tried again, and its reply would
/// contain the count.
pub(super) async fn nobody_reports(stage: &Stage) {
    let mut before = -1.0;
    eventually("nobody reports", async || {
        sleep(HEARTBEAT / 2).await;
        let mut reports = 0.0;
        for instance in stage.seats.iter().filter_map(|seat| seat.instance.as_ref()) {
            reports += instance.metric("headcount_reports_total").await?;
        }
        let more = reports - std::mem::replace(&mut before, reports);
        if more > 0.0 { Err(format!("{more} more")) } else { Ok(()) }
    })
    .await;
}

async fn all_subscribe_anew(stage: &Stage) {
    for instance in stage.seats.iter().filter_map(|seat| seat.instance.as_ref()) {
        eventually("it subscribes anew", async || {
            match instance.metric("headcount_resubscribes_total").await? {
                times if times >= 1.0 => Ok(()),
                times => Err(format!("{times} times")),
            }
        })
        .await;
    }
}

/// Goal: other programs may publish on the channel, and invalid messages mislead no instance for long. Method:
/// messages that are almost announcements, repeatedly, while clients join and leave.
async fn rubbish(stage: &mut Stage) {
    stage.begin();
    for _ in 0..3 {
        for message in RUBBISH {
            stage.redis_client.send(&["PUBLISH", CHANNEL, message]).await.expect("Redis runs");
        }
        stage.visits_pass(8).await;
    }
}

const RUBBISH: [&str; 8] = [
    "",
    "5",
    "{\"count\":5}",
    "{\"count\":-5,\"revision\":99999}",
    "{\"count\":99999,\"revision\":-1}",
    "{\"count\":99999,\"revision\":18446744073709551615}",
    "{\"count\":99999,\"revision\":1e15}",
    "{\"count\":\"99999\",\"revision\":99999}",
];
