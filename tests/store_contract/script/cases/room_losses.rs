//! Cases of a store with rooms that lost data: reporters are told to begin again, and marks last long enough.

use super::super::{
    instance::{Holder, ROOMS, beat, counts, nothing_is_left},
    stage::{
        CONNECTIONS, LEASE, LEASES, META, NO_ARGUMENTS, Outcome, SEQUENCE, Stage, ensure, same,
    },
};
use super::room_pages::pages;

/// Two instances with rooms, which have seen the newest revision.
fn pair(stage: &mut Stage<'_>) -> Result<(Holder, Holder), String> {
    let (mut a, mut b) = (Holder::new("a", 1), Holder::new("b", 2));
    a.set("/p", 5).report(stage)?;
    b.join("/p", "u").report(stage)?;
    a.report(stage)?;
    b.report(stage)?;
    Ok((a, b))
}

/// Goal: after a flush everybody begins again, the counts are marked until all have, and are right then. Method: flush, and let
/// both report.
pub(super) fn rooms_after_a_flush(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
    let told = a.say("report", stage)?;
    ensure("told to begin again, and marked", told.resend && told.recovering)?;
    same("nothing was applied", told.instances, 0)?;
    a.begin_again();
    a.report(stage)?;
    b.report(stage)?;
    same("counts", (stage.public()?, b.ask("/p").report(stage)?.recovering), (3, true))?;
    counts(stage, "/p", 6)?;
    beat(stage, 6, &mut [&mut a, &mut b])?;
    ensure("the mark is gone", !a.report(stage)?.recovering)?;
    counts(stage, "/p", 6)
}

/// Goal: a store that went back behind an acknowledged report says so, even if its revision tells nothing. Method: roll back by
/// one report that changed no count.
pub(super) fn behind_is_marked(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    let old = stage.snapshot()?;
    a.report(stage)?;
    stage.restore(&old)?;
    let told = a.say("report", stage)?;
    ensure("told to begin again, and marked", told.resend && told.recovering)?;
    let again = a.say("report", stage)?;
    ensure("told again", again.resend)?;
    stage.wait(500);
    a.begin_again();
    let answer = a.report(stage)?;
    ensure("applied, and still marked", answer.applied && answer.recovering)
}

/// Goal: a revision that was made twice is noticed by its stamp, whatever the counts. Method: B knows a revision that was lost,
/// and that a newcomer has made again.
pub(super) fn stamps_tell_revisions_apart(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    let old = stage.snapshot()?;
    let lost = a.set("/p", 6).report(stage)?;
    (b.seen_revision, b.stamp) = (lost.revision, lost.stamp.clone());
    stage.restore(&old)?;
    let remade = Holder::new("c", 0).set("/p", 1).report(stage)?;
    same("the same revision", remade.revision, lost.revision)?;
    let answer = b.report(stage)?;
    ensure("marked, above it", answer.recovering && answer.revision > lost.revision)
}

/// Goal: a report that makes the same revision twice, since the data was lost between, makes two stamps, so whoever knows the first
/// revision notices the loss. Method: B hears what a report of A has made; then a flush, and the report arrives again.
pub(super) fn a_report_again_after_a_flush(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    a.users = 0;
    let late = a.prepare("report");
    let made = stage.send(&late)?;
    ensure("exact", made.applied && !made.recovering)?;
    (b.seen_revision, b.seen_count, b.stamp) = (made.revision, made.count, made.stamp.clone());
    stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
    let remade = stage.send(&late)?;
    same("the revision", remade.revision, made.revision)?;
    ensure("another count, and marked", remade.count != made.count && remade.recovering)?;
    let answer = b.say("report", stage)?;
    ensure("marked, above it", answer.recovering && answer.revision > made.revision)
}

/// Goal: the same after a rollback, when the revision is not even marked. Method: a report that also counts out an instance when it
/// arrives again, as time has passed. Then B reports, and its count must become the true one.
pub(super) fn a_report_again_after_a_rollback(stage: &mut Stage<'_>) -> Outcome {
    Holder::new("dies", 9).report(stage)?;
    let (mut a, mut b) = pair(stage)?;
    beat(stage, 3, &mut [&mut a, &mut b])?;
    let old = stage.snapshot()?;
    a.users = 4;
    let late = a.prepare("report");
    let made = stage.send(&late)?;
    (b.seen_revision, b.seen_count, b.stamp) = (made.revision, made.count, made.stamp.clone());
    stage.restore(&old)?;
    stage.wait(LEASE / 2 - 400);
    let remade = stage.send(&late)?;
    same("the revision", remade.revision, made.revision)?;
    same("the counts", (made.count, remade.count), (4 + 2 + 9, 4 + 2))?;
    ensure("both exact", !made.recovering && !remade.recovering)?;
    let answer = b.say("report", stage)?;
    ensure("marked, above it", answer.recovering && answer.revision > made.revision)
}

/// Goal: an instance that was away for longer than its lease begins again, without a mark. Method: it pauses, and continues.
pub(super) fn paused_begins_again(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    beat(stage, 6, &mut [&mut b])?;
    counts(stage, "/p", 1)?;
    let told = a.say("report", stage)?;
    ensure("told to begin again, unmarked", told.resend && !told.recovering)?;
    a.begin_again();
    let answer = a.report(stage)?;
    ensure("unmarked", !answer.recovering)?;
    same("public", stage.public()?, 3)?;
    counts(stage, "/p", 6)
}

/// Goal: the former incarnation is counted out in the same step in which the new one is counted, and says nothing more. Method:
/// an instance that begins again although it is stored, and a late report of its former life.
pub(super) fn the_former_is_buried(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    let late = a.group("/p", "50", &[]).prepare("report");
    a.begin_again();
    let answer = a.join("/q", "u").report(stage)?;
    same("count, and instances", (answer.count, answer.instances), (3, 2))?;
    counts(stage, "/p", 6)?;
    ensure("the late report is stale", !stage.send(&late)?.applied)?;
    same(
        "its sequence",
        stage.redis::<String>("HGET", (SEQUENCE, &late[0]))?,
        "9007199254740991".to_owned(),
    )?;
    same("no crash", beat_and_sum(stage, &mut a, &mut b)?, 0)?;
    counts(stage, "/p", 6)
}

/// Lets both report until a tombstone has ended. Returns how many crashes were told.
fn beat_and_sum(stage: &mut Stage<'_>, a: &mut Holder, b: &mut Holder) -> Result<u64, String> {
    let mut crashes = 0;
    for _ in 0..6 {
        stage.wait(500);
        crashes += a.report(stage)?.crashed + b.report(stage)?.crashed;
    }
    Ok(crashes)
}

/// Goal: what the former incarnation had of a user is not elsewhere. Method: an instance with a user in each of 200 rooms begins
/// again. The report that buries the former incarnation takes away only a part of them.
pub(super) fn the_former_is_not_elsewhere(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 1);
    for from in [0, 100] {
        for room in from..from + 100 {
            a.join(&format!("/p{room}"), "u");
        }
        a.report(stage)?;
    }
    a.begin_again();
    let mut report = a.prepare("report");
    report.truncate(14 + 50 * 5);
    let answer = stage.send(&report)?;
    same("dead", answer.dead, 1)?;
    same("elsewhere", answer.rooms.map(|rooms| rooms.elsewhere), Some(vec![0; 50]))
}

/// Goal: the mark lasts while an instance is still telling its rooms. Method: a flush, and an instance that needs longer than a
/// lease.
pub(super) fn resending_keeps_the_mark(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
    b.resending = true;
    for _ in 0..8 {
        a.report(stage)?;
        ensure("marked", b.report(stage)?.recovering)?;
        stage.wait(500);
    }
    b.resending = false;
    beat(stage, 6, &mut [&mut a, &mut b])?;
    ensure("the mark is gone", !b.report(stage)?.recovering)
}

/// Goal: a dead instance that came back with old data is taken away before any count is unmarked. Method: a dead instance with
/// many rooms, restored with everything.
pub(super) fn the_dead_keep_the_mark(stage: &mut Stage<'_>) -> Outcome {
    stage.sums = false; // It takes too long for so many rooms.
    let (mut a, mut dead) = (Holder::new("a", 1), Holder::new("dead", 0));
    for from in (0..3000).step_by(250) {
        for room in from..from + 250 {
            dead.set(&format!("/p{room}"), 1);
        }
        dead.report(stage)?;
    }
    a.report(stage)?;
    let old = stage.snapshot()?;
    a.report(stage)?;
    stage.restore(&old)?;
    let mut partly = 0;
    for _ in 0..20 {
        stage.wait(400);
        let answer = a.report(stage)?;
        let left: u64 = stage.redis("HLEN", ROOMS)?;
        ensure("marked while ghosts are left", answer.recovering || left == 0)?;
        partly += u32::from(left > 0 && left < 3000);
    }
    ensure("it was taken away in portions", partly > 0)?;
    ensure("the mark is gone", !a.report(stage)?.recovering)
}

/// Goal: a lost hash of rooms is noticed by an audit: everybody says everything again. Method: delete it, with some rooms of two
/// instances.
pub(super) fn rooms_lost(stage: &mut Stage<'_>) -> Outcome {
    stage.sums = false;
    let (mut a, mut b) = pair(stage)?;
    for room in ["/x", "/y", "/z"] {
        a.set(room, 1);
        b.join(room, "u");
        a.report(stage)?;
        b.report(stage)?;
    }
    stage.redis::<()>("DEL", ROOMS)?;
    beat(stage, 10, &mut [&mut a, &mut b])?;
    stage.sums = true;
    a.report(stage)?;
    for (room, count) in [("/p", 6), ("/x", 2), ("/y", 2), ("/z", 2)] {
        counts(stage, room, count)?;
    }
    same("public", stage.public()?, 3)
}

/// Goal: nobody's rooms survive whatever key of the site is lost. Method: lose each in turn, then let all die but one.
pub(super) fn no_key_keeps_a_ghost(stage: &mut Stage<'_>) -> Outcome {
    for key in [SEQUENCE, LEASES, META, "{currentUsers}:dead", "{currentUsers}:holders"] {
        stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        stage.sums = false;
        let (mut a, _dead) = pair(stage)?;
        stage.redis::<()>("DEL", key)?;
        for _ in 0..16 {
            a.set("/p", 5);
            beat(stage, 1, &mut [&mut a])?;
        }
        counts(stage, "/p", 5).map_err(|why| format!("without {key}: {why}"))?;
        a.set("/p", 0);
        beat(stage, 2, &mut [&mut a])?;
        nothing_is_left(stage).map_err(|why| format!("without {key}: {why}"))?;
    }
    Ok(())
}

/// Goal: what cannot be of rooms costs nothing and stops nothing. Method: a list in the place of each key of rooms.
pub(super) fn wrong_types_of_rooms(stage: &mut Stage<'_>) -> Outcome {
    stage.sums = false;
    let (mut a, mut b) = pair(stage)?;
    let keys = stage.keys()?;
    for key in keys.iter().filter(|key| key.contains("}:")) {
        stage.redis::<()>("DEL", key)?;
        stage.redis::<()>("RPUSH", (key, "x"))?;
    }
    for _ in 0..16 {
        a.set("/p", 5);
        b.join("/p", "u");
        beat(stage, 1, &mut [&mut a, &mut b])?;
    }
    stage.sums = true;
    a.report(stage)?;
    counts(stage, "/p", 6)?;
    same("public", stage.public()?, 3)
}

/// Goal: a store that lost the site's users alone says so before anything follows from it. Method: delete them; then a report of
/// another user, of one who leaves, or none until an audit. All begin again, and the count is exact and right in the end.
pub(super) fn lost_users_of_the_site(stage: &mut Stage<'_>) -> Outcome {
    for case in 0..3 {
        stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        let (mut a, mut b) = (Holder::new("a", 1), Holder::new("b", 2));
        for user in ["u", "v", "w"] {
            a.join("/", user).report(stage)?;
        }
        b.join("/", "x").report(stage)?;
        beat(stage, 6, &mut [&mut a, &mut b])?;
        same("before", (a.report(stage)?.count, stage.public()?), (7, 7))?;
        stage.redis::<()>("DEL", "{currentUsers}:people:/")?;
        match case {
            0 => drop(b.join("/", "y")),
            1 => drop(b.leave("/", "x")),
            _ => stage.wait(LEASE / 2),
        }
        let told = b.say("report", stage)?;
        ensure(
            &format!("{case}: told to begin again, and marked"),
            told.resend && told.recovering,
        )?;
        b.begin_again();
        b.report(stage)?;
        ensure(&format!("{case}: marked"), a.report(stage)?.recovering)?;
        beat(stage, 8, &mut [&mut a, &mut b])?;
        let answer = a.report(stage)?;
        let expected = [8, 6, 7][case];
        same(&format!("{case}: the count"), (answer.count, answer.recovering), (expected, false))?;
    }
    Ok(())
}

/// Goal: a list of what an incarnation has may be lost: when it says its users again, its former life has none of them. Method:
/// delete the list; its instance begins again, and one of its users leaves.
pub(super) fn a_lost_list_keeps_nobody(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Holder::new("a", 1), Holder::new("b", 2));
    a.report(stage)?;
    for user in ["u", "v"] {
        b.join("/", user).join("/p", user).report(stage)?;
    }
    stage.redis::<()>("DEL", b.key("of"))?;
    b.begin_again();
    b.report(stage)?;
    let answer = b.leave("/", "u").leave("/p", "u").report(stage)?;
    same("the site", answer.count, 1 + 2 + 1)?;
    counts(stage, "/p", 1)
}

/// Goal: an audit that becomes due in the middle of a report counts the site's users, too. Method: users of the site, and no rooms; the
/// leases are lost, or the part of an instance is edited. Another instance reports without a word about users.
pub(super) fn sudden_audits_count_users(stage: &mut Stage<'_>) -> Outcome {
    for is_edited in [false, true] {
        stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        let (mut a, mut b) = (Holder::new("a", 3), Holder::new("b", 0));
        for user in ["u", "v", "w", "x"] {
            b.join("/", user).report(stage)?;
        }
        a.report(stage)?;
        beat(stage, 3, &mut [&mut a, &mut b])?;
        a.report(stage)?;
        if is_edited {
            stage.redis::<()>("HSET", (CONNECTIONS, a.incarnation(), "x"))?;
        } else {
            stage.redis::<()>("DEL", LEASES)?;
        }
        same("the count", a.report(stage)?.count, 7)?;
    }
    Ok(())
}

/// Goal: a late report of an instance that has said farewell stays refused when all others are told to begin again. Method: the first
/// report is delayed; after the farewell the site's users are lost, and it arrives.
pub(super) fn tombstones_outlive_a_loss(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Holder::new("a", 1), Holder::new("b", 5));
    a.join("/", "u").report(stage)?;
    let late = b.prepare("report");
    b.say("report", stage)?;
    b.say("farewell", stage)?;
    stage.redis::<()>("DEL", "{currentUsers}:people:/")?;
    let told = a.join("/", "v").say("report", stage)?;
    ensure("it is noticed", told.resend)?;
    ensure("the late report is stale", !stage.send(&late)?.applied)?;
    a.begin_again();
    same("the count", a.report(stage)?.count, 3)
}

/// Goal: after the counts of all rooms are lost, no page says that a room is empty. Method: delete them while a change waits for its page.
pub(super) fn lost_counts_are_not_told_as_none(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Holder::new("a", 0), Holder::new("b", 0));
    let told = pages(stage, |stage| {
        a.set("/p", 5).report(stage)?;
        b.set("/p", 1).report(stage)?;
        stage.redis::<()>("DEL", ROOMS)?;
        stage.sums = false;
        stage.wait(10);
        a.report(stage)?;
        Ok(())
    })?;
    let counts: Vec<u64> = told.iter().filter_map(|page| page.rooms.get("/p")).copied().collect();
    same("counts", counts, vec![6])
}
