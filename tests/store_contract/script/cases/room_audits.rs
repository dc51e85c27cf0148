//! Cases of rooms that were edited or lost in part: audits and reports put them right.

use super::super::{
    instance::{Holder, ROOMS, beat, counts},
    stage::{META, NO_ARGUMENTS, Outcome, Stage, ensure, same},
};

const PEOPLE: &str = "{currentUsers}:people:/p";

/// Two instances with rooms. The sums are not checked, since the case edits them.
fn pair(stage: &mut Stage<'_>) -> Result<(Holder, Holder), String> {
    let (mut a, mut b) = (Holder::new("a", 1), Holder::new("b", 2));
    a.set("/p", 5).set("/q", 1).report(stage)?;
    b.join("/p", "u").report(stage)?;
    stage.sums = false;
    Ok((a, b))
}

/// Goal: an audit counts rooms again. Method: wrong counts, a word, and a room that nobody is in.
pub(super) fn edited_rooms(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    stage.redis::<()>("HSET", (ROOMS, "/p", "99", "/q", "x", "/ghost", "4", "/", "7"))?;
    beat(stage, 4, &mut [&mut a, &mut b])?;
    stage.sums = true;
    a.report(stage)?;
    counts(stage, "/p", 6)?;
    same("rooms", stage.redis::<u64>("HLEN", ROOMS)?, 2)
}

/// Goal: every room is audited in turn. Method: 100 rooms with wrong counts, in hashes that are scanned in parts and as a whole.
pub(super) fn every_room_is_audited(stage: &mut Stage<'_>) -> Outcome {
    for entries in ["128", "2"] {
        stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        stage.redis::<()>("CONFIG", ("SET", "hash-max-listpack-entries", entries))?;
        stage.sums = true;
        let mut a = Holder::new("a", 0);
        for room in 0..100 {
            a.set(&format!("/p{room}"), 1);
        }
        a.report(stage)?;
        stage.sums = false;
        for room in 0..100 {
            stage.redis::<()>("HSET", (ROOMS, format!("/p{room}"), 9))?;
        }
        for _ in 0..40 {
            stage.wait(700);
            a.report(stage)?;
        }
        stage.sums = true;
        a.report(stage)?;
    }
    stage.redis::<()>("CONFIG", ("SET", "hash-max-listpack-entries", "128"))
}

/// Goal: an audit removes tags and users that nobody has. Method: a stranger's tag, a tag twice, a user of whom a live instance
/// knows nothing, and a value that is no tag.
pub(super) fn edited_users(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    let (own, stranger) = (b.tag(), "stranger-tag");
    let value = format!("{own}{own}{stranger}{{}}");
    stage.redis::<()>("HSET", (PEOPLE, "u", value, "v", stranger, "w", a.tag(), "x", "y"))?;
    beat(stage, 4, &mut [&mut a, &mut b])?;
    stage.sums = true;
    a.report(stage)?;
    counts(stage, "/p", 6)?;
    same("the user", stage.redis::<String>("HGET", (PEOPLE, "u"))?, format!("{own}{{}}"))
}

/// Goal: users of the site are audited, too. Method: a stranger among them.
pub(super) fn edited_users_of_the_site(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    a.join("/", "u").report(stage)?;
    stage.redis::<()>("HSET", ("{currentUsers}:people:/", "v", "stranger-tag"))?;
    beat(stage, 4, &mut [&mut a, &mut b])?;
    stage.sums = true;
    same("count", a.report(stage)?.count, 4)
}

/// Goal: a count that is missing is found again when one of its parts is said again, even if how many counts there were is lost, too.
/// Method: delete the field of a room; then also what is known of all rooms.
pub(super) fn a_lost_count_is_found(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    for is_number_lost in [false, true] {
        stage.redis::<()>("HDEL", (ROOMS, "/p"))?;
        if is_number_lost {
            stage.redis::<()>("HDEL", (META, "wide"))?;
        }
        let answer = a.set("/p", 5).report(stage)?;
        same("counts", answer.rooms.map(|rooms| rooms.counts), Some(vec![6]))?;
        ensure("it is told as repaired", answer.repaired > 0)?;
    }
    Ok(())
}

/// Goal: after the counts of all rooms are lost, nobody who joins a room is told too few, before any audit. Method: delete them; then
/// another instance comes into the room, and the first one leaves it.
pub(super) fn lost_counts_are_counted_again(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    stage.redis::<()>("DEL", ROOMS)?;
    let mut c = Holder::new("c", 1);
    let answer = c.set("/p", 1).report(stage)?;
    same("counts", answer.rooms.map(|rooms| rooms.counts), Some(vec![7]))?;
    a.set("/p", 0).report(stage)?;
    counts(stage, "/p", 2)
}

/// Goal: a part that was edited is put right when it is said again, and the count with it. Method: too much, too little, no number.
pub(super) fn a_part_is_said_again(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    for wrong in ["50", "1", "x"] {
        stage.redis::<()>("HSET", (a.key("at"), "/p", wrong))?;
        stage.wait(10);
        a.set("/p", 5).say("audit", stage)?;
        counts(stage, "/p", 6)?;
    }
    Ok(())
}

/// Goal: an audit on demand counts the rooms of its report again, since a report before it may have ended in its middle. Method:
/// parts without their counts.
pub(super) fn audits_count_their_rooms(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    for room in 0..200 {
        b.set(&format!("/other{room}"), 1);
    }
    b.report(stage)?;
    // The rolling audit counts 16 rooms, whichever come first: not all of these.
    let rooms = ["/p", "/other0", "/other99", "/other199"];
    for room in rooms {
        stage.redis::<()>("HSET", (a.key("at"), room, 7))?;
        a.set(room, 7);
    }
    let answer = a.say("audit", stage)?;
    same("counts", answer.rooms.map(|rooms| rooms.counts), Some(vec![8; rooms.len()]))
}

/// Goal: numbers of the store that cannot be do no harm, and nobody reports for them again and again. Method: each number of `wide`
/// too large, then nonsense.
pub(super) fn impossible_wide(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    // Until nothing waits to be announced.
    beat(stage, 2, &mut [&mut a, &mut b])?;
    let good: String = stage.redis("HGET", (META, "wide"))?;
    let numbers: Vec<_> = good.split(' ').collect();
    let mut bad: Vec<String> = (0..numbers.len())
        .map(|place| {
            let mut numbers = numbers.clone();
            numbers[place] = "4503599627370495";
            numbers.join(" ")
        })
        .collect();
    bad.extend(["x", "", "1 2 3", "-1 0 0 0 0 0 0 0 0 0"].map(str::to_owned));
    for wide in bad {
        stage.redis::<()>("HSET", (META, "wide", &wide))?;
        beat(stage, 4, &mut [&mut a, &mut b])?;
        a.set("/p", 5);
        beat(stage, 6, &mut [&mut a, &mut b])?;
        let answer = a.report(stage)?;
        let wide_now: String = stage.redis("HGET", (META, "wide"))?;
        let calm = answer.dead == 0 && !answer.unannounced && !answer.recovering;
        ensure(&format!("calm after {wide:?}: {answer:?}, {wide_now:?}"), calm)?;
        ensure(&format!("paged after {wide:?}"), answer.paged <= answer.revision)?;
        counts(stage, "/p", 6)?;
        (a, b) = (a.clone(), b.clone());
    }
    Ok(())
}

/// Goal: every key of rooms expires, and users before what names their owners. Method: read the lifetimes after an audit.
pub(super) fn lifetimes_of_rooms(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    let users = stage.remaining_ms(PEOPLE)?;
    ensure("users expire", users > 0)?;
    stage.wait(700);
    a.set("/p", 6).report(stage)?;
    b.report(stage)?;
    for key in stage.keys()? {
        ensure(&format!("{key} expires"), stage.remaining_ms(&key)? > 0)?;
    }
    for key in [ROOMS.to_owned(), a.key("at"), b.key("of"), "{currentUsers}:holders".to_owned()] {
        ensure(&format!("{key} stays longer"), stage.remaining_ms(&key)? > users + 1_000_000)?;
    }
    Ok(())
}

/// Goal: a server that is out of memory does not stop in the middle of a report of rooms. Method: report with `maxmemory` at one
/// byte.
pub(super) fn rooms_need_no_memory(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 3);
    a.set("/p", 1).report(stage)?;
    stage.redis::<()>("CONFIG", ("SET", "maxmemory", "1"))?;
    let answer = a.set("/p", 2).join("/q", "u").report(stage);
    stage.redis::<()>("CONFIG", ("SET", "maxmemory", "0"))?;
    answer?;
    counts(stage, "/p", 2)?;
    counts(stage, "/q", 1)
}
