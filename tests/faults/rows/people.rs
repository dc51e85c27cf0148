//! Faults while people are on several instances, or move from one to another.

use std::time::Duration;

use headcount_testkit::{client::Transport, waiting::eventually};
use tokio::time::sleep;

use super::{estimates, row, store::APPEND_ONLY};
use crate::{
    checker::Sees,
    history::{Guest, Place, member},
    row::{Bound, Row},
    stage::{CROWD, EVERYWHERE, INSTANCES, Setup, Stage, people::key},
};

/// All rows about people.
pub(super) fn rows() -> Vec<Row> {
    [deaths(), moves()].concat()
}

/// How long a person stays in the row about moves: longer than a number may be old.
const LONG_GRACE: Duration = Duration::from_secs(3);
/// How long he is on no instance when he moves.
const AWAY: Duration = Duration::from_millis(200);
/// How often he moves.
const MOVES: usize = 12;

fn deaths() -> Vec<Row> {
    vec![row(
        "half-killed",
        "kill -9 of an instance; 30 of its people are on another one, too",
        Bound::LEASE_AND_HEARTBEAT,
        |stage| Box::pin(half_killed(stage)),
    )]
}

fn moves() -> Vec<Row> {
    vec![
        Row {
            setup: Setup { grace: Some(LONG_GRACE), ..Setup::default() },
            sees: Sees::Nothing,
            ..row(
                "moves",
                "somebody reloads and moves between instances 12 times (grace 3 s)",
                Bound::AT_ONCE,
                |stage| Box::pin(moves_unseen(stage)),
            )
        },
        Row {
            setup: APPEND_ONLY,
            ..row(
                "moves-away",
                "people move to other instances while Redis is away",
                Bound::TWO_HEARTBEATS,
                |stage| Box::pin(moves_in_an_outage(stage)),
            )
        },
        row(
            "moves-away-lost",
            "the same, Redis comes back empty",
            Bound::LEASE_AND_2_HEARTBEATS,
            |stage| Box::pin(moves_in_an_outage(stage)),
        ),
    ]
}

/// Goal: a person who is also on another instance stays in the count when one of his instances dies. Method: thirty people are on
/// the instance that is killed and on another one, in a room as well.
async fn half_killed(stage: &mut Stage) {
    stage.stop_churn().await;
    for number in 0..30 {
        join(stage, &format!("half-{number}"), 1, number);
        join(stage, &format!("half-{number}"), 2 * (number % 2), number + 1);
    }
    stage.ready().await;
    stage.start_churn();
    stage.visits_pass(4).await;
    stage.begin();
    stage.kill(1).await;
}

/// Goal: nobody sees a reload, or a move to another instance: not even for a moment is a number told that is lower or higher.
/// Method: one person moves on and on, and is on no instance for a moment each time, while nobody else comes or goes.
async fn moves_unseen(stage: &mut Stage) {
    stage.stop_churn().await;
    let mut mover = join(stage, "mover", 0, 0);
    stage.ready().await;
    let users = stage.crowd[0].record().shows();
    let before: Vec<_> = stage.crowd.iter().map(|guest| guest.record().mark()).collect();
    stage.begin();
    for number in 1..=MOVES {
        stage.crowd.remove(mover).leave().await;
        sleep(AWAY).await;
        // Every third time he comes back to the same instance.
        mover = join(stage, "mover", (number - number / 3) % INSTANCES, number);
        let record = stage.crowd[mover].record().clone();
        eventually("he is told a number", async || record.shows().map(drop).ok_or(String::new()))
            .await;
        assert_eq!(record.shows(), users, "{number}");
    }
    for (guest, mark) in stage.crowd.iter().zip(before).take(INSTANCES * CROWD) {
        let told = guest.record().counts_since(mark);
        assert!(told.iter().all(|told| Some(*told) == users), "{users:?}, then {told:?}");
    }
}

/// Goal: people who come to another instance while Redis is away are counted once as soon as it is back, whatever they left behind.
/// Method: in an outage one person moves from the first instance to the second one, one leaves an instance of two, one joins a second
/// instance, and one leaves both.
async fn moves_in_an_outage(stage: &mut Stage) {
    stage.stop_churn().await;
    let stays = stage.crowd.len();
    for (number, (name, place)) in
        [("mover", 0), ("halved", 0), ("gone", 0), ("gone", 1)].into_iter().enumerate()
    {
        join(stage, name, place, number);
    }
    for (name, place) in [("halved", 1), ("doubled", 2)] {
        join(stage, name, place, place);
    }
    stage.ready().await;
    stage.start_churn();
    stage.visits_pass(4).await;
    stage.begin();
    stage.redis().kill_9();
    estimates(stage, INSTANCES).await;
    let leaving: Vec<Guest> = stage.crowd.drain(stays..stays + 4).collect();
    for guest in leaving {
        guest.leave().await;
    }
    join(stage, "mover", 1, 1);
    join(stage, "doubled", 0, 2);
    stage.visits_pass(6).await;
    stage.redis().restart();
}

/// Connects a client of this person, who is in a room, too. Returns its place in the crowd.
fn join(stage: &mut Stage, name: &str, place: Place, number: usize) -> usize {
    let transport = Transport::ALL[number % Transport::ALL.len()];
    let guest = stage.open_as(Some(&key(name)), place, transport, &[member(EVERYWHERE)]);
    stage.crowd.push(guest);
    stage.crowd.len() - 1
}
