//! Loss of each key about rooms and people, and each of those about rooms made a key of another type.

use std::time::{Duration, Instant};

use headcount_testkit::{
    redis_client::{CONNECTIONS, ROOMS, SITE_PEOPLE},
    waiting::PATIENCE,
};
use tokio::time::sleep;

use super::super::{
    rooms::{HUNDRED_ROOMS, open, watch},
    row,
};
use crate::{
    checker::Sees,
    row::{Bound, OfRooms, Row},
    stage::Stage,
};

/// All rows about the keys of rooms.
pub(super) fn rows() -> Vec<Row> {
    [parts(), people(), lists()].concat()
}

const HOLDERS: &str = "{currentUsers}:holders";
const DEAD: &str = "{currentUsers}:dead";
const UNANNOUNCED: &str = "{currentUsers}:unannounced";

/// An audit, each third of a lease, finds that the counts are lost. Then it is as if all data were lost.
const AUDITED: Bound = Bound {
    formula: "lease × 4/3 + 2 heartbeats",
    time: Bound::LEASE_AND_2_HEARTBEATS.time.saturating_add(Duration::from_millis(667)),
};

/// Counts look right until they are counted again. The public is told of the site only, which sees nothing of it.
fn parts() -> Vec<Row> {
    let lost = |bound, name, fault, play| Row {
        of_rooms: OfRooms { bound, sees: Some(Sees::Anything) },
        ..row(name, fault, Bound::LEASE_AND_2_HEARTBEATS, play)
    };
    vec![
        lost(Some(AUDITED), "rooms-del", "the hash of rooms deleted", |stage| {
            Box::pin(change(stage, ROOMS, DELETE))
        }),
        lost(Some(AUDITED), "rooms-type", "the hash of rooms made a string", |stage| {
            Box::pin(change(stage, ROOMS, MAKE_STRING))
        }),
        lost(None, "at-del", "the hash of one instance's rooms deleted", |stage| {
            Box::pin(change_at(stage, DELETE))
        }),
        lost(None, "at-type", "the hash of one instance's rooms made a string", |stage| {
            Box::pin(change_at(stage, MAKE_STRING))
        }),
    ]
}

/// Who is there looks right until the instances say it again, or until it is audited.
fn people() -> Vec<Row> {
    let lost = |name, fault, play| Row {
        sees: Sees::Anything,
        ..row(name, fault, Bound::LEASE_AND_2_HEARTBEATS, play)
    };
    vec![
        lost("people-del", "the hash of the site's people deleted", |stage| {
            Box::pin(change(stage, SITE_PEOPLE, DELETE))
        }),
        lost("of-del", "the set of one instance's people deleted", |stage| {
            Box::pin(change_of(stage, DELETE))
        }),
    ]
}

/// Lists of what is to be done hold no counts.
fn lists() -> Vec<Row> {
    let unseen = |name, fault, play| Row {
        sees: Sees::Nothing,
        ..row(name, fault, Bound::ONE_SECOND, play)
    };
    let of_dead = |name, fault, play| Row {
        setup: HUNDRED_ROOMS,
        ..row(name, fault, Bound::LEASE_AND_2_HEARTBEATS, play)
    };
    let of_many = |row| Row { setup: HUNDRED_ROOMS, ..row };
    vec![
        unseen("holders-del", "the set of instances with rooms deleted", |stage| {
            Box::pin(change(stage, HOLDERS, DELETE))
        }),
        unseen("holders-type", "the set of instances with rooms made a string", |stage| {
            Box::pin(change(stage, HOLDERS, MAKE_STRING))
        }),
        of_dead(
            "dead-del",
            "the hash of the dead deleted while their rooms are taken away",
            |stage| Box::pin(change_dead(stage, DELETE)),
        ),
        of_dead("dead-type", "the hash of the dead made a string meanwhile", |stage| {
            Box::pin(change_dead(stage, MAKE_STRING))
        }),
        of_many(unseen(
            "unannounced-del",
            "the set of unannounced rooms deleted while 1,000 rooms change",
            |stage| Box::pin(change_unannounced(stage, DELETE)),
        )),
        of_many(unseen(
            "unannounced-type",
            "the set of unannounced rooms made a string meanwhile",
            |stage| Box::pin(change_unannounced(stage, MAKE_STRING)),
        )),
    ]
}

/// A script that deletes a key if it exists.
const DELETE: &str = "return redis.call('DEL', KEYS[1])";
/// A script that puts a string in the place of a key if it exists.
const MAKE_STRING: &str = "if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('SET', KEYS[1], 'rubbish')
return 1";

/// Goal: a lost or useless key of rooms is noticed, and its content is restored. Method: delete or replace it as soon as
/// it exists.
async fn change(stage: &mut Stage, key: &str, script: &str) {
    stage.begin();
    change_once(stage, key, script).await;
}

/// Goal: the same for the key of one instance. Method: that of any instance with users.
async fn change_at(stage: &mut Stage, script: &str) {
    let key = format!("{{currentUsers}}:at:{}", any_instance(stage).await);
    change(stage, &key, script).await;
}

/// Goal: the same for its people. Method: the same.
async fn change_of(stage: &mut Stage, script: &str) {
    let key = format!("{{currentUsers}}:of:{}", any_instance(stage).await);
    change(stage, &key, script).await;
}

async fn any_instance(stage: &Stage) -> String {
    let instances = stage.redis_client.instances().await.expect("Redis runs");
    instances.into_keys().next().expect(CONNECTIONS)
}

/// Goal: rooms of the dead are taken away although it is lost who is dead. Method: kill an instance with many rooms, and
/// change the key while they are taken away.
async fn change_dead(stage: &mut Stage, script: &str) {
    const ROOMS: usize = 5_000;
    stage.stop_churn().await;
    watch(stage, 0, 0..100);
    open(stage, 1, 0..ROOMS);
    stage.ready().await;
    stage.begin();
    stage.kill(1).await;
    change_once(stage, DEAD, script).await;
}

/// Goal: everybody hears of changes although it is lost which rooms have changed. Method: so many rooms change that their
/// announcement takes several messages, and the key is changed between them. All rooms are watched on another instance.
async fn change_unannounced(stage: &mut Stage, script: &str) {
    const ROOMS: usize = 1_000;
    stage.stop_churn().await;
    watch(stage, 2, 0..ROOMS);
    stage.ready().await;
    stage.begin();
    open(stage, 1, 0..ROOMS);
    change_once(stage, UNANNOUNCED, script).await;
}

async fn change_once(stage: &Stage, key: &str, script: &str) {
    let until = Instant::now() + PATIENCE;
    // Some of these keys exist only for a moment.
    while stage.redis_client.evaluate(script, key).await.expect("Redis runs") == 0 {
        assert!(Instant::now() < until, "there is no {key}");
        sleep(LOOK_GAP).await;
    }
}

/// The time between two looks whether a key exists.
const LOOK_GAP: Duration = Duration::from_millis(1);
