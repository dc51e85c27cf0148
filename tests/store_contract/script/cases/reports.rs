//! Cases of a store that loses nothing: the fence, the lease clock, and when instances are removed.

use super::super::{
    instance::Instance,
    stage::{CONNECTIONS, LEASE, META, NO_ARGUMENTS, Outcome, Stage, ensure, same},
};

/// Goal: an invalid report changes nothing. Method: damage each argument of a valid one in turn.
pub(super) fn bad_arguments(stage: &mut Stage<'_>) -> Outcome {
    let good = Instance::new("a", 5).prepare("report");
    let too_long = "x".repeat(129);
    let bad: &[(usize, &str)] = &[
        (0, ""),
        (0, &too_long),
        (1, "-1"),
        (1, "1.5"),
        (1, "x"),
        (2, "1000000001"),
        (2, "nan"),
        (3, "99"),
        (3, "300001"),
        (4, "9007199254740991"),
        (5, "inf"),
        (6, "hello"),
    ];
    for &(place, value) in bad {
        let mut report = good.clone();
        value.clone_into(&mut report[place]);
        let refused = stage.send(&report).is_err_and(|error| error.contains("bad argument"));
        ensure(&format!("argument {place} = {value:?} is refused"), refused)?;
    }
    same("keys", stage.redis::<u64>("DBSIZE", NO_ARGUMENTS)?, 0)
}

/// Goal: a server that is out of memory does not stop in the middle of a report. Method: report with
/// `maxmemory` at one byte.
pub(super) fn out_of_memory(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Instance::new("a", 3);
    a.report(stage)?;
    stage.redis::<()>("CONFIG", ("SET", "maxmemory", "1"))?;
    a.users = 5;
    let plain = a.report(stage);
    stage.wait(700);
    let audit = a.say("audit", stage);
    stage.redis::<()>("CONFIG", ("SET", "maxmemory", "0"))?;
    plain.and(audit)?;
    same("public", stage.public()?, 5)
}

/// Goal: large numbers stay exact. Method: a reporter that has seen revision 10^15, with 10^9 users.
pub(super) fn great_numbers(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Instance::new("a", 1_000_000_000);
    a.seen_revision = 1_000_000_000_000_000;
    let answer = a.report(stage)?;
    same("revision", answer.revision, a.seen_revision)?;
    same("is one more", answer.revision, 1_000_000_000_000_001)?;
    let stored: String = stage.redis("HGET", (META, "revision"))?;
    same("stored revision", stored.as_str(), "1000000000000001")
}

/// Goal: a report that arrives late changes nothing. Method: send a newer one first.
pub(super) fn late_report(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Instance::new("a", 9);
    a.report(stage)?;
    let late = a.prepare("report");
    a.users = 2;
    let newer = a.report(stage)?;
    let answer = stage.send(&late)?;
    ensure("the late report is stale", !answer.applied)?;
    same("the fence", answer.stored_sequence, 3)?;
    same("revision", answer.revision, newer.revision)?;
    same("public", stage.public()?, 2)
}

/// Goal: a report that arrives twice is applied once. Method: send exactly the same one again.
pub(super) fn repeated_report(stage: &mut Stage<'_>) -> Outcome {
    let report = Instance::new("a", 9).prepare("report");
    let first = stage.send(&report)?;
    let second = stage.send(&report)?;
    ensure("only the first is applied", first.applied && !second.applied)?;
    same("count", second.count, 9)
}

/// Goal: a stale report changes nothing and renews nothing. Method: send one when a lease has expired, and
/// compare all keys before and after it.
pub(super) fn stale_changes_nothing(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut dead) = (Instance::new("a", 1), Instance::new("dead", 4));
    dead.report(stage)?;
    let late = a.prepare("report");
    a.report(stage)?;
    stage.wait(2600);
    let before = stage.snapshot()?;
    let answer = stage.send(&late)?;
    ensure("it is stale", !answer.applied)?;
    ensure("nothing changed", stage.snapshot()? == before)
}

/// Goal: an instance that left does not return with a late report. Method: a farewell, then an older report.
pub(super) fn tombstone(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Instance::new("a", 9), Instance::new("b", 1));
    a.report(stage)?;
    b.report(stage)?;
    let late = a.prepare("report");
    a.say("farewell", stage)?;
    stage.wait(900);
    b.report(stage)?;
    stage.wait(900);
    ensure("the late report is stale", !stage.send(&late)?.applied)?;
    same("public", stage.public()?, 1)?;
    same("instances", b.report(stage)?.instances, 1)
}

/// Goal: an instance without users is alive. Method: two instances without users.
pub(super) fn idle_is_alive(stage: &mut Stage<'_>) -> Outcome {
    Instance::new("a", 0).report(stage)?;
    same("instances", Instance::new("b", 0).report(stage)?.instances, 2)
}

/// Goal: after an outage no instance is removed because another one was faster. Method: a newcomer reports
/// three times before the old ones return.
pub(super) fn newcomer_first(stage: &mut Stage<'_>) -> Outcome {
    Instance::new("a", 5).report(stage)?;
    Instance::new("b", 3).report(stage)?;
    stage.wait(5000);
    let mut newcomer = Instance::new("newcomer", 0);
    newcomer.report(stage)?;
    stage.wait(10);
    newcomer.report(stage)?;
    stage.wait(10);
    same("count", newcomer.report(stage)?.count, 8)
}

/// Goal: a pause that is longer than the rest of one lease, but not of another, removes no instance. Method:
/// 1800 ms of silence, when one lease has 2000 ms left and the other 1600.
pub(super) fn paused_for_less_than_a_lease(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Instance::new("a", 5), Instance::new("b", 3));
    b.report(stage)?;
    stage.wait(400);
    a.report(stage)?;
    stage.wait(1800);
    same("count", a.report(stage)?.count, 8)
}

/// Goal: a second outage soon after the first removes no instance either. Method: only one instance reports
/// between them.
pub(super) fn away_twice(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Instance::new("a", 5), Instance::new("b", 3));
    b.report(stage)?;
    a.report(stage)?;
    stage.wait(5000);
    a.report(stage)?;
    stage.wait(300);
    a.report(stage)?;
    stage.wait(60_000);
    same("count", a.report(stage)?.count, 8)
}

/// Goal: an instance that was stopped for longer than its lease does not keep a dead one counted. Method: it
/// continues when the lease of another one has just expired.
pub(super) fn late_reporter_keeps_no_ghost(stage: &mut Stage<'_>) -> Outcome {
    let [mut a, mut b, mut dead] =
        [("a", 1), ("b", 2), ("dead", 4)].map(|(n, u)| Instance::new(n, u));
    dead.report(stage)?;
    a.report(stage)?;
    b.report(stage)?;
    for _ in 0..3 {
        stage.wait(500);
        b.report(stage)?;
    }
    stage.wait(510);
    a.report(stage)?;
    b.report(stage)?;
    stage.wait(490);
    b.report(stage)?;
    same("instances", b.report(stage)?.instances, 2)
}

/// Goal: few dead instances of a crash loop stay counted. Method: forty instances that die after one report
/// each, with no other instance.
pub(super) fn one_report_each(stage: &mut Stage<'_>) -> Outcome {
    for life in 0..40 {
        Instance::new(format!("life-{life}"), 10).report(stage)?;
        stage.wait(3000);
    }
    let entries: u64 = stage.redis("HLEN", CONNECTIONS)?;
    ensure("at most ten ghosts", entries <= 10)
}

/// Goal: a jump of the server's time removes no live instance and keeps no dead one. Method: an hour back,
/// then heartbeats.
pub(super) fn time_jumps_back(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut dead) = (Instance::new("a", 1), Instance::new("dead", 4));
    a.report(stage)?;
    dead.report(stage)?;
    stage.now -= 3_600_000;
    a.report(stage)?;
    for _ in 0..5 {
        stage.wait(500);
        a.report(stage)?;
    }
    same("public", stage.public()?, 1)
}

/// Goal: a dead instance is removed within a heartbeat after its lease. Method: one instance continues to
/// report, another does not.
pub(super) fn dead_are_reaped(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut dead) = (Instance::new("a", 1), Instance::new("dead", 4));
    a.report(stage)?;
    dead.report(stage)?;
    for _ in 0..LEASE / 500 {
        stage.wait(500);
        same("count", a.report(stage)?.count, 5)?;
    }
    stage.wait(500);
    let answer = a.report(stage)?;
    same("reaped, and still counted", (answer.reaped, answer.crashed), (1, 1))?;
    same("public", stage.public()?, 1)
}

/// Goal: the end of a farewell's tombstone is not counted as a crash, but the death of an instance without users is. Method:
/// one instance leaves, one without users dies, and a third continues to report.
pub(super) fn farewell_is_no_crash(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut leaving) = (Instance::new("a", 1), Instance::new("leaving", 4));
    a.report(stage)?;
    leaving.report(stage)?;
    leaving.say("farewell", stage)?;
    stage.wait(500);
    Instance::new("idle", 0).report(stage)?;
    let (mut reaped, mut crashed) = (0, 0);
    for _ in 0..LEASE / 250 {
        stage.wait(500);
        let answer = a.report(stage)?;
        reaped += answer.reaped;
        crashed += answer.crashed;
    }
    same("reaped, and still counted", (reaped, crashed), (2, 1))
}

/// Goal: many deaths at once delay the server for a limited time only. Method: three hundred dead instances,
/// of which each call may remove 128 at most.
pub(super) fn many_dead(stage: &mut Stage<'_>) -> Outcome {
    for index in 0..300 {
        Instance::new(format!("dead-{index}"), 1).report(stage)?;
    }
    let mut a = Instance::new("a", 1);
    a.report(stage)?;
    for _ in 0..4 {
        stage.wait(490);
        a.report(stage)?;
    }
    stage.wait(100);
    for expected in [128, 128, 44, 0] {
        stage.wait(10);
        same("reaped", a.report(stage)?.reaped, expected)?;
    }
    same("public", stage.public()?, 1)
}
