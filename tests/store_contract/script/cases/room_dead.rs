//! Cases of incarnations that end while they are in rooms.

use super::super::{
    instance::{Holder, ROOMS, beat, counts, nothing_is_left},
    stage::{LEASES, Outcome, Stage, ensure, same},
};

const DEAD: &str = "{currentUsers}:dead";
const HOLDERS: &str = "{currentUsers}:holders";

/// Goal: a farewell takes the instance out of its rooms. Method: connections and a user, of whom another instance has one.
pub(super) fn farewell_leaves_rooms(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Holder::new("a", 1), Holder::new("b", 1));
    a.set("/p", 5).join("/q", "u").report(stage)?;
    b.join("/q", "u").report(stage)?;
    let answer = a.say("farewell", stage)?;
    same("dead, and count", (answer.dead, answer.count), (0, 1))?;
    counts(stage, "/p", 0)?;
    counts(stage, "/q", 1)?;
    b.say("farewell", stage)?;
    stage.wait(100);
    let mut c = Holder::new("c", 0);
    c.report(stage)?;
    nothing_is_left(stage)
}

/// Goal: the rooms of a dead instance are taken away in portions, the counts are the sums of their parts all the time, and the
/// reporter is told until it is done. Method: an instance with 350 rooms and 600 users of a large room dies.
pub(super) fn the_dead_leave_in_portions(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut dead) = (Holder::new("a", 0), Holder::new("dead", 0));
    stage.sums = false;
    for from in (0..350).step_by(175) {
        for room in from..from + 175 {
            dead.set(&format!("/p{room}"), 1);
        }
        dead.report(stage)?;
    }
    for from in (0..600).step_by(200) {
        let names: Vec<_> = (from..from + 200).map(|user| format!("u{user}")).collect();
        let users: Vec<_> = names.iter().map(|name| (name.as_str(), "+")).collect();
        dead.group("/large", "", &users).report(stage)?;
    }
    a.join("/large", "u1").report(stage)?;
    beat(stage, 4, &mut [&mut a])?;
    stage.wait(500);
    stage.sums = true;
    let mut steps = Vec::new();
    for _ in 0..8 {
        steps.push((a.report(stage)?.dead, stage.redis::<u64>("HLEN", ROOMS)?));
    }
    ensure(&format!("in portions: {steps:?}"), steps[0].0 == 1 && steps[0].1 > 1)?;
    same("in the end", steps[7], (0, 1))?;
    counts(stage, "/large", 1)?;
    let left = (stage.redis::<u64>("EXISTS", DEAD)?, stage.redis::<u64>("SCARD", HOLDERS)?);
    same("dead, and holders", left, (0, 1))
}

/// Goal: a portion of the dead is smaller beside a report with many entries. Method: compare how much is taken away.
pub(super) fn full_reports_take_less_away(stage: &mut Stage<'_>) -> Outcome {
    stage.sums = false;
    let mut taken = Vec::new();
    for entries in [0, 250] {
        stage.redis::<()>("FLUSHALL", super::super::stage::NO_ARGUMENTS)?;
        let (mut a, mut dead) = (Holder::new("a", 0), Holder::new("dead", 0));
        for from in (0..2000).step_by(250) {
            for room in from..from + 250 {
                dead.set(&format!("/p{room}"), 1);
            }
            dead.report(stage)?;
        }
        let farewell = dead.say("farewell", stage)?;
        same("dead", farewell.dead, 1)?;
        let before: u64 = stage.redis("HLEN", ROOMS)?;
        for room in 0..entries {
            a.ask(&format!("/p{room}"));
        }
        a.report(stage)?;
        taken.push(before - stage.redis::<u64>("HLEN", ROOMS)?);
    }
    ensure(&format!("less with a full report: {taken:?}"), taken[1] > 0 && 2 * taken[1] < taken[0])
}

/// Goal: only a dead instance's own tag goes, with what is known of the user left. Method: a user of two instances, of which one
/// dies.
pub(super) fn the_dead_take_only_their_own(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut dead) = (Holder::new("a", 0), Holder::new("dead", 0));
    dead.group("/p", "3", &[("u", r#"+{"n":1}"#), ("v", "+")]).report(stage)?;
    a.join("/p", "u").report(stage)?;
    beat(stage, 6, &mut [&mut a])?;
    counts(stage, "/p", 1)?;
    let value: String = stage.redis("HGET", ("{currentUsers}:people:/p", "u"))?;
    same("the user", value, format!(r#"{}{{"n":1}}"#, a.tag()))
}

/// Goal: a first report that arrives when its sender has died and is being taken away is not applied. Method: one is held back.
pub(super) fn late_first_of_the_dead(stage: &mut Stage<'_>) -> Outcome {
    stage.sums = false;
    let (mut a, mut dead) = (Holder::new("a", 0), Holder::new("dead", 0));
    let late = dead.set("/late", 1).prepare("report");
    for from in (0..2000).step_by(250) {
        for room in from..from + 250 {
            dead.set(&format!("/p{room}"), 1);
        }
        dead.report(stage)?;
    }
    a.report(stage)?;
    beat(stage, 5, &mut [&mut a])?;
    same("dead", stage.redis::<u64>("HLEN", DEAD)?, 1)?;
    ensure("it is stale", !stage.send(&late)?.applied)?;
    same("dead", stage.redis::<u64>("HLEN", DEAD)?, 1)?;
    counts(stage, "/late", 0)
}

/// Goal: whoever is counted in the site is not dead, whatever a key says. Method: declare a live instance dead by hand, and count
/// the reports until nobody is told of dead any more.
pub(super) fn the_living_are_not_dead(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Holder::new("a", 1), Holder::new("b", 0));
    a.set("/p", 5).report(stage)?;
    b.report(stage)?;
    stage.redis::<()>("HSET", (DEAD, a.incarnation(), "0"))?;
    stage.wait(700);
    b.report(stage)?;
    same("dead", b.report(stage)?.dead, 0)?;
    counts(stage, "/p", 5)
}

/// Goal: an audit finds the rooms of an instance that was counted out without them, as versions without rooms do. Method: remove
/// an instance from the keys of the site by hand.
pub(super) fn counted_out_without_rooms(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut lost) = (Holder::new("a", 1), Holder::new("lost", 0));
    a.report(stage)?;
    lost.set("/p", 5).join("/q", "u").report(stage)?;
    for key in ["{currentUsers}:connections", "{currentUsers}:sequence"] {
        stage.redis::<()>("HDEL", (key, lost.incarnation()))?;
    }
    stage.redis::<()>("ZREM", (LEASES, lost.incarnation()))?;
    stage.wait(700);
    a.report(stage)?;
    counts(stage, "/p", 0)?;
    counts(stage, "/q", 0)?;
    let told = lost.say("report", stage)?;
    ensure("it must begin again", told.resend)
}
