//! Cases of a store that lost data: all of it, its newest part, a key, or the right value of a key.

use super::super::{
    instance::Instance,
    stage::{
        CONNECTIONS, KEYS, LEASE, LEASES, META, NO_ARGUMENTS, Outcome, PUBLIC, SEQUENCE, Stage,
        ensure, same,
    },
};

/// Two instances that have reported and know of each other.
fn pair(stage: &mut Stage<'_>) -> Result<(Instance, Instance), String> {
    let (mut a, mut b) = (Instance::new("a", 5), Instance::new("b", 3));
    a.report(stage)?;
    b.report(stage)?;
    a.report(stage)?;
    Ok((a, b))
}

/// Goal: when a store that was rolled back uses a revision again, the different count reveals it. Method: B saw
/// the count 6 with a revision that later has the count 5.
pub(super) fn rolled_back_to_the_same_revision(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Instance::new("a", 5), Instance::new("b", 0));
    a.report(stage)?;
    b.report(stage)?;
    a.report(stage)?;
    let old = stage.snapshot()?;
    a.users = 6;
    let lost = a.say_deaf("report", stage)?;
    (b.seen_revision, b.seen_count) = (lost.revision, lost.count);
    stage.restore(&old)?;
    a.users = 7;
    a.say_deaf("report", stage)?;
    a.users = 5;
    let answer = b.report(stage)?;
    ensure("a greater revision", answer.revision > lost.revision)?;
    ensure("it is marked", answer.recovering)
}

/// Goal: after a rollback the count is marked until all instances have reported. Method: restore a state from
/// before B existed.
pub(super) fn rolled_back(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Instance::new("a", 5), Instance::new("b", 3));
    a.report(stage)?;
    let old = stage.snapshot()?;
    b.report(stage)?;
    a.report(stage)?;
    stage.restore(&old)?;
    stage.wait(40_000);
    let first = a.report(stage)?;
    ensure("it is marked", first.recovering)?;
    ensure("a greater revision", first.revision > b.seen_revision)?;
    b.report(stage)?;
    for _ in 0..5 {
        stage.wait(500);
        a.report(stage)?;
        b.report(stage)?;
    }
    let last = b.report(stage)?;
    ensure("the mark is gone", !last.recovering)?;
    same("count", last.count, 8)?;
    same("announced", last.announced, last.revision)
}

/// Goal: a report of an instance that knew of the lost data reveals the loss, even if no living instance knew of
/// it. Method: a farewell is under way while the store is rolled back and only a newcomer lives.
pub(super) fn late_report_reveals_a_loss(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Instance::new("a", 5), Instance::new("b", 3));
    a.report(stage)?;
    let old = stage.snapshot()?;
    b.report(stage)?;
    stage.restore(&old)?;
    let late = b.prepare("farewell");
    let mut newcomer = Instance::new("c", 0);
    ensure("the newcomer knows of no loss", !newcomer.report(stage)?.recovering)?;
    let revealed = stage.send(&late)?;
    ensure("it is marked", revealed.recovering)?;
    ensure("a greater revision", revealed.revision > b.seen_revision)?;
    for _ in 0..2 * LEASE / 500 {
        stage.wait(500);
        newcomer.report(stage)?;
    }
    let last = newcomer.report(stage)?;
    ensure("the mark is gone", !last.recovering)?;
    same("count", last.count, 0)
}

/// Goal: the count of an emptied store is marked until all instances have reported, also across an outage. Method:
/// flush, one report, an outage of fifty seconds, then the other report.
pub(super) fn emptied(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
    ensure("marked at once", a.report(stage)?.recovering)?;
    stage.wait(50_300);
    ensure("marked after the outage", a.report(stage)?.recovering)?;
    ensure("marked for the other", b.report(stage)?.recovering)?;
    for _ in 0..3 {
        stage.wait(500);
        ensure("marked for a lease", a.report(stage)?.recovering)?;
        b.report(stage)?;
    }
    for _ in 0..3 {
        stage.wait(500);
        a.report(stage)?;
        b.report(stage)?;
    }
    let last = b.report(stage)?;
    ensure("the mark is gone", !last.recovering)?;
    same("count", last.count, 8)?;
    same("revision", last.revision, b.seen_revision)
}

/// Goal: the end of a recovery reaches views that accept only greater revisions. Method: let a recovery end
/// without a change of the count.
pub(super) fn end_of_recovery_is_a_revision(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Instance::new("a", 5);
    a.report(stage)?;
    stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
    let marked = a.report(stage)?;
    let mut last = marked.clone();
    for _ in 0..6 {
        stage.wait(500);
        last = a.report(stage)?;
    }
    ensure("the mark is gone", marked.recovering && !last.recovering)?;
    ensure("a greater revision", last.revision > marked.revision)
}

/// Goal: a dead instance that returns with old data is never part of an exact count. Method: take a snapshot with
/// an instance that then dies. Restore it on a server whose clock was set back, so that its lease has not aged.
pub(super) fn mark_outlasts_ghosts(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut dead) = (Instance::new("a", 1), Instance::new("dead", 4));
    a.report(stage)?;
    dead.report(stage)?;
    let (old, then) = (stage.snapshot()?, stage.now);
    for _ in 0..6 {
        stage.wait(500);
        a.report(stage)?;
    }
    stage.restore(&old)?;
    stage.now = then;
    ensure("marked", a.report(stage)?.recovering)?;
    for _ in 0..5 {
        stage.wait(500);
        let answer = a.report(stage)?;
        ensure("marked, or right", answer.recovering || answer.count == 1)?;
    }
    ensure("the mark is gone", !a.report(stage)?.recovering)
}

/// Goal: the loss of the lease clock removes no live instance and keeps no dead one. Method: delete meta after
/// twenty seconds, when all leases are far above a clock that starts again.
pub(super) fn meta_lost(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut dead) = (Instance::new("a", 1), Instance::new("dead", 4));
    for _ in 0..40 {
        stage.wait(500);
        a.report(stage)?;
        dead.report(stage)?;
    }
    stage.redis::<()>("DEL", META)?;
    same("count", a.report(stage)?.count, 5)?;
    for _ in 0..5 {
        stage.wait(500);
        a.report(stage)?;
    }
    same("public", stage.public()?, 1)
}

/// Goal: a key of another type does not stop reports. Method: replace each key by a list in turn, then all of
/// them.
pub(super) fn wrong_types(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    let each = KEYS.iter().map(std::slice::from_ref).chain([&KEYS[..]]);
    for keys in each {
        for key in keys {
            stage.redis::<()>("DEL", key)?;
            stage.redis::<()>("LPUSH", (key, "x"))?;
        }
        a.report(stage)?;
        b.report(stage)?;
        same(&format!("public after {keys:?}"), stage.public()?, 8)?;
    }
    Ok(())
}

/// Goal: a count without the parts of the others is marked. Method: replace the connections by a list.
pub(super) fn wrong_type_is_marked(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    let mut newcomer = Instance::new("newcomer", 1);
    stage.redis::<()>("DEL", CONNECTIONS)?;
    stage.redis::<()>("LPUSH", (CONNECTIONS, "x"))?;
    ensure("marked for a newcomer", newcomer.report(stage)?.recovering)?;
    ensure("and for the others", a.report(stage)?.recovering)
}

/// Goal: the next audit removes a part that belongs to no instance. Method: add one by hand.
pub(super) fn edited_part(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    stage.sums = false;
    stage.redis::<()>("HSET", (CONNECTIONS, "ghost", 7))?;
    stage.wait(700);
    let answer = a.report(stage)?;
    same("instances", answer.instances, 2)?;
    same("public", stage.public()?, 8)?;
    same("the part", stage.redis::<u64>("HEXISTS", (CONNECTIONS, "ghost"))?, 0)
}

/// Goal: a part that is not a number is ignored, and a count without it is marked. Method: damage one by hand.
pub(super) fn spoilt_part(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    stage.sums = false;
    stage.redis::<()>("HSET", (CONNECTIONS, "b", "many"))?;
    let answer = a.say("audit", stage)?;
    same("count", answer.count, 5)?;
    ensure("marked", answer.recovering)?;
    same("count again", b.report(stage)?.count, 8)
}

/// Goal: an invalid sequence does not fence any reporter, because no reporter could ever exceed it. Method: damage
/// one by hand.
pub(super) fn spoilt_sequence(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    for spoilt in ["inf", "1e300", "9007199254740992", "nan", "-5", "1.5", "x", ""] {
        stage.redis::<()>("HSET", (SEQUENCE, "a", spoilt))?;
        let answer = a.report(stage)?;
        ensure(&format!("applied in spite of {spoilt:?}"), answer.applied)?;
        same("the sequence before", answer.stored_sequence, 0)?;
        let fenced = a.sequence;
        same("stored", stage.redis("HGET", (SEQUENCE, "a"))?, fenced)?;
    }
    Ok(())
}

/// Goal: an audit recounts on request. Method: edit a part by hand, then request an audit at once.
pub(super) fn audit_on_demand(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    stage.sums = false;
    stage.redis::<()>("HSET", (CONNECTIONS, "b", 4))?;
    same("count before", a.report(stage)?.count, 8)?;
    let answer = a.say("audit", stage)?;
    same("count after", answer.count, 9)?;
    same("repaired", answer.repaired, 1)
}

/// Goal: impossible values in meta are corrected in time, although each is a whole number. Method: marks, audits
/// and announcements in the future, a clock far in the past, and enormous revisions.
pub(super) fn impossible_meta(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    for (field, value) in [
        ("recovering", "1000000000"),
        ("audited", "1000000000"),
        ("announced_at", "1000000000"),
        ("clock", "0"),
        ("revision", "9007199254740990"),
        ("revision", "4503599627370497"),
    ] {
        stage.redis::<()>("HSET", (META, field, value))?;
        stage.redis::<()>("HSET", (CONNECTIONS, "ghost", 7))?;
        a.users += 1;
        stage.sums = false;
        for _ in 0..6 {
            stage.wait(500);
            a.report(stage)?;
            b.report(stage)?;
        }
        stage.sums = true;
        let last = a.report(stage)?;
        let what = |what: &str| format!("{what} after {field} was {value}");
        same(&what("count"), last.count, a.users + b.users)?;
        same(&what("announced"), last.announced, last.revision)?;
        ensure(&what("no mark"), !last.recovering)?;
        ensure(&what("room for more revisions"), last.revision < 1 << 52)?;
    }
    Ok(())
}

/// Goal: an impossible total is recounted at once. Method: a total that falls below zero with the next leave, and
/// one that exceeds the range with the next join.
pub(super) fn impossible_total(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    for (total, users) in [("1", 0), ("9007199254740990", 9)] {
        stage.redis::<()>("HSET", (META, "total", total))?;
        a.users = users;
        same("count", a.report(stage)?.count, users + 3)?;
    }
    Ok(())
}

/// Goal: the loss of all parts is marked at once. Method: delete the connections while two instances live.
pub(super) fn connections_deleted(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    stage.redis::<()>("DEL", CONNECTIONS)?;
    ensure("marked", a.report(stage)?.recovering)?;
    let answer = b.report(stage)?;
    same("count", answer.count, 8)?;
    for _ in 0..5 {
        stage.wait(500);
        a.report(stage)?;
        b.report(stage)?;
    }
    let last = a.report(stage)?;
    same("count", last.count, 8)?;
    ensure("the mark is gone", !last.recovering)
}

/// Goal: the loss of all leases removes no live instance and keeps no dead one. Method: delete them, request an
/// audit, and let one instance stop reporting.
pub(super) fn leases_deleted(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    stage.redis::<()>("DEL", LEASES)?;
    same("count", a.say("audit", stage)?.count, 8)?;
    for _ in 0..5 {
        stage.wait(500);
        a.report(stage)?;
    }
    same("count of the living", a.report(stage)?.count, 5)?;
    same("sequences", stage.redis::<u64>("HLEN", SEQUENCE)?, 1)?;
    same("public", stage.redis::<String>("GET", PUBLIC)?.as_str(), "5")
}

/// Goal: an instance whose lease alone is lost is not dead. Method: remove the latest lease and request an audit.
pub(super) fn one_lease_deleted(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    stage.redis::<()>("ZREMRANGEBYRANK", (LEASES, -1, -1))?;
    same("count", a.say("audit", stage)?.count, 8)?;
    same("leases", stage.redis::<u64>("ZCARD", LEASES)?, 2)
}

/// Goal: no instance is dropped as unknown when leases and sequences are lost together, as after an eviction.
/// Method: delete both. A report of one instance must not cost the other its users.
pub(super) fn leases_and_sequences_deleted(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    stage.redis::<()>("DEL", LEASES)?;
    stage.redis::<()>("DEL", SEQUENCE)?;
    same("count", a.report(stage)?.count, 8)?;
    same("leases", stage.redis::<u64>("ZCARD", LEASES)?, 2)
}
