//! What happens while an emission is under way.

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::broadcast::fan_out::{READ_AHEAD, WRITES_AT_ONCE};

/// Goal: a newcomer during an emission gets the newest count at once, and the other clients get it next. Method: many
/// sessions; a client joins after the first part of the emission.
#[tokio::test]
async fn a_newcomer_does_not_wait_for_an_emission() {
    const CROWD: u64 = 3 * WRITES_AT_ONCE as u64;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let (mut stage, mut crowd) = Stage::with_crowd(CROWD).await;
    stage.acknowledged(CROWD + 1);
    let (connection, client) = pair().await;
    let mut newcomer = None;
    stage
        .act_beside(10_000, async |stage| {
            let told = stage.metrics.emitted_packets.get();
            newcomer = Some(stage.enters(connection, client, 10_000));
            stage.acknowledged(CROWD + 2);
            yield_now().await;
            assert_eq!(stage.metrics.emitted_packets.get(), told + 1, "the newcomer");
            assert_eq!(stage.emissions(), 1, "the second is not over");
        })
        .await;
    assert_eq!(stage.emissions(), 2);
    stage.acknowledged(CROWD + 1);
    stage.act(20_000).await;
    assert_eq!(stage.emissions(), 3, "the newcomer was told another number than all others");
    newcomer.expect("it came").hears(&[CROWD + 2, CROWD + 1]).await;
    for guest in &mut crowd {
        guest.hears(&[CROWD, CROWD + 1, CROWD + 1]).await;
    }
}

/// Goal: a client that got a newer count during an emission does not get the emission's older count afterwards. Method:
/// many sessions; after the first part of the emission, the client whose turn is last joins again.
#[tokio::test]
async fn who_joins_again_during_an_emission_hears_no_older_count() {
    const CROWD: u64 = (WRITES_AT_ONCE + READ_AHEAD) as u64;
    let (mut stage, mut crowd) = Stage::with_crowd(CROWD).await;
    stage.acknowledged(CROWD + 1);
    let last = &mut crowd[0];
    stage
        .act_beside(10_000, async |stage| {
            stage.rejoins(last, 10_000);
            stage.acknowledged(CROWD + 2);
        })
        .await;
    crowd[0].hears(&[CROWD, CROWD + 2]).await;
    crowd[1].hears(&[CROWD, CROWD + 1]).await;
}

/// What may happen while an emission lets others do something. Who leaves or joins again is drawn by a number.
#[derive(Clone, Copy, Debug)]
enum Event {
    Joins,
    Leaves(usize),
    Rejoins(usize),
    /// The store counts all who are there.
    Counted,
    /// The emission goes on.
    Pause,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Joins),
        any::<usize>().prop_map(Event::Leaves),
        any::<usize>().prop_map(Event::Rejoins),
        Just(Event::Counted),
        Just(Event::Pause),
    ]
}

/// One emission for each list of events.
async fn check_order(emissions: &[Vec<Event>]) {
    const CROWD: u64 = (WRITES_AT_ONCE + READ_AHEAD) as u64;
    let (mut stage, mut crowd) = Stage::with_crowd(CROWD).await;
    let (mut users, mut at_millis) = (CROWD, 0);
    for events in emissions {
        let mut doors = Vec::new();
        for _ in events.iter().filter(|event| matches!(event, Event::Joins)) {
            doors.push(pair().await);
        }
        users += 1;
        at_millis += 10_000;
        stage.acknowledged(users);
        stage
            .act_beside(at_millis, async |stage| {
                for event in events {
                    let present = crowd.len();
                    match *event {
                        Event::Joins => {
                            let (connection, client) = doors.pop().expect("one for each");
                            crowd.push(stage.enters(connection, client, at_millis));
                        }
                        Event::Leaves(who) => drop(crowd.swap_remove(who % present)),
                        Event::Rejoins(who) => stage.rejoins(&mut crowd[who % present], at_millis),
                        Event::Counted => {
                            users += 1;
                            stage.acknowledged(users);
                        }
                        Event::Pause => yield_now().await,
                    }
                }
            })
            .await;
    }
    users += 1;
    stage.acknowledged(users);
    stage.act(at_millis + 10_000).await;
    stage.act(at_millis + 20_000).await;
    for guest in &mut crowd {
        let told = guest.told_until(users).await;
        assert!(told.is_sorted(), "{told:?}");
    }
}

/// Goal: clients that join, leave and join again during emissions never get a count after a newer one, and all get the last
/// count in the end. Method: counts that only grow, and random events during each emission.
#[test]
fn counts_come_in_order_whatever_happens_meanwhile() {
    const CASES: u32 = 32;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let emissions = proptest::collection::vec(proptest::collection::vec(event(), 0..12), 1..4);
    // Each case takes hundreds of sockets, so the number of cases for pure code is not for this one.
    let config =
        ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&emissions, |emissions| {
        runtime.block_on(check_order(&emissions));
        Ok(())
    });
    outcome.unwrap();
}
