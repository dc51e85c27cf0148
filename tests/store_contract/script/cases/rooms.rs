//! Cases of rooms while nothing is lost: counts, users, the fence, and what replies say.

use super::super::{
    instance::{Holder, ROOMS, counts, nothing_is_left},
    stage::{NO_ARGUMENTS, Outcome, Stage, ensure, same},
};

/// Two instances that have reported.
fn pair(stage: &mut Stage<'_>) -> Result<(Holder, Holder), String> {
    let (mut a, mut b) = (Holder::new("a", 0), Holder::new("b", 0));
    a.report(stage)?;
    b.report(stage)?;
    Ok((a, b))
}

/// Goal: the count of a room is the sum of what all instances say of it. Method: two instances, of which one changes its
/// count, and a third that asks.
pub(super) fn rooms_are_sums(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    a.set("/p", 2).report(stage)?;
    let answer = b.set("/p", 3).set("/q", 1).report(stage)?;
    same("counts", answer.rooms.map(|rooms| rooms.counts), Some(vec![5, 1]))?;
    a.set("/p", 1).report(stage)?;
    let answer = Holder::new("c", 0).ask("/p").ask("/nobody").report(stage)?;
    let rooms = answer.rooms.unwrap_or_default();
    same("counts", rooms.counts, vec![4, 0])?;
    same("what it holds", (rooms.rooms_held, rooms.users_held), (0, 0))
}

/// Goal: the same change twice changes nothing, and each change has a revision. Method: repeat a count, then change it.
pub(super) fn rooms_have_revisions(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    let first = a.set("/p", 2).report(stage)?;
    let again = a.set("/p", 2).report(stage)?;
    same("revision", again.revision, first.revision)?;
    stage.wait(500);
    let paged = a.report(stage)?;
    let changed = a.set("/p", 3).report(stage)?;
    ensure("a greater revision", changed.revision > paged.revision)?;
    let maker = changed.stamp.split('.').next().unwrap_or_default().to_owned();
    same("whose revision it is", maker, a.incarnation()[28..].to_owned())
}

/// Goal: a user is counted once, on however many instances, and until the last of them says that the user has gone. Method:
/// one user on two instances, beside another user and connections without identity.
pub(super) fn users_count_once(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    a.set("/p", 2).report(stage)?;
    a.join("/p", "u").report(stage)?;
    b.group("/p", "", &[("u", "+"), ("v", "+")]).report(stage)?;
    counts(stage, "/p", 4)?;
    a.join("/p", "u").report(stage)?;
    counts(stage, "/p", 4)?;
    a.leave("/p", "u").report(stage)?;
    counts(stage, "/p", 4)?;
    b.leave("/p", "u").report(stage)?;
    b.leave("/p", "nobody").report(stage)?;
    counts(stage, "/p", 3)
}

/// Goal: users of the site are part of its count. Method: the same user on two instances, beside connections.
pub(super) fn users_of_the_site(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (Holder::new("a", 2), Holder::new("b", 1));
    a.join("/", "u").report(stage)?;
    let answer = b.join("/", "u").report(stage)?;
    same("count", (answer.count, stage.public()?), (4, 4))?;
    same("counts", answer.rooms.map(|rooms| rooms.counts), Some(vec![4]))?;
    stage.wait(700);
    same("after an audit", a.report(stage)?.count, 4)?;
    a.leave("/", "u").report(stage)?;
    same("count", b.leave("/", "u").report(stage)?.count, 3)?;
    same("the site is no room", stage.redis::<u64>("HEXISTS", (ROOMS, "/"))?, 0)
}

/// Goal: the reply tells of each user whether another instance has it, too. Method: a user who joins and leaves on two.
pub(super) fn elsewhere(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    let mut told = Vec::new();
    for answer in [
        a.join("/p", "u").report(stage)?,
        b.join("/p", "u").report(stage)?,
        a.join("/p", "u").report(stage)?,
        a.leave("/p", "u").report(stage)?,
        b.join("/p", "u").report(stage)?,
        b.leave("/p", "u").report(stage)?,
    ] {
        told.extend(answer.rooms.unwrap_or_default().elsewhere);
    }
    same("elsewhere", told, vec![0, 1, 1, 1, 0, 0])
}

/// Goal: the reply says how much of an instance the store has. Method: rooms and users that come and go.
pub(super) fn what_is_held(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    let held = |answer: super::super::stage::Answer| {
        answer.rooms.map(|rooms| (rooms.rooms_held, rooms.users_held))
    };
    a.set("/p", 2).set("/q", 1).join("/r", "u");
    same("held", held(a.report(stage)?), Some((2, 1)))?;
    a.set("/q", 0).group("/p", "", &[("u", "+"), ("v", "+")]);
    same("held", held(a.report(stage)?), Some((1, 3)))?;
    a.leave("/r", "u");
    same("held", held(a.report(stage)?), Some((1, 2)))
}

/// Goal: nothing of a room is left when all have left it. Method: connections and users of two instances come and go.
pub(super) fn empty_rooms_vanish(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = pair(stage)?;
    a.set("/p", 2).join("/q", "u").report(stage)?;
    b.set("/p", 1).join("/q", "u").report(stage)?;
    b.set("/p", 0).leave("/q", "u").report(stage)?;
    a.set("/p", 0).leave("/q", "u").report(stage)?;
    stage.wait(500);
    a.report(stage)?;
    nothing_is_left(stage)
}

/// Goal: what is known of a user is stored, stays until something else is said, and goes with the user, or with the last who has said
/// it. What is only repeated replaces nothing. Method: say it, say nothing, leave on one of two instances, say nothing again, repeat
/// it, repeat something else, say something else.
pub(super) fn information(stage: &mut Stage<'_>) -> Outcome {
    const PEOPLE: &str = "{currentUsers}:people:/p";
    let (mut a, mut b) = pair(stage)?;
    let value = |stage: &mut Stage<'_>| stage.redis::<Option<String>>("HGET", (PEOPLE, "u"));
    a.group("/p", "", &[("u", r#"+{"n":1}"#)]).report(stage)?;
    b.join("/p", "u").report(stage)?;
    same("both", value(stage)?, Some(format!(r#"{}{}{{"n":1}}"#, a.tag(), b.tag())))?;
    a.leave("/p", "u").report(stage)?;
    same("one", value(stage)?, Some(format!(r#"{}{{"n":1}}"#, b.tag())))?;
    b.group("/p", "", &[("u", "+")]).report(stage)?;
    same("nothing", value(stage)?, Some(b.tag()))?;
    for repeated in [r#"~{"n":1}"#, r#"~{"n":3}"#] {
        b.group("/p", "", &[("u", repeated)]).report(stage)?;
        same(repeated, value(stage)?, Some(format!(r#"{}{{"n":1}}"#, b.tag())))?;
    }
    b.group("/p", "", &[("u", r#"+{"n":2}"#)]).report(stage)?;
    same("changed", value(stage)?, Some(format!(r#"{}{{"n":2}}"#, b.tag())))?;
    b.leave("/p", "u").report(stage)?;
    same("gone", value(stage)?, None)
}

/// Goal: an invalid group changes nothing. Method: one of each kind, at the end of a valid report.
pub(super) fn bad_groups(stage: &mut Stage<'_>) -> Outcome {
    let good = Holder::new("a", 1).prepare("report");
    let (long_name, long_word) =
        (format!("/{}", "x".repeat(128)), format!("+{{{}", "x".repeat(512)));
    let bad: &[&[&str]] = &[
        &["/p", "1"],
        &["/p", "1", "0", "/p", "2", "0"],
        &["/p", "x", "0"],
        &["/p", "-1", "0"],
        &["/p", "1.5", "0"],
        &["/p", "1000000001", "0"],
        &["/p", "", "x"],
        &["/p", "", "-1"],
        &["/p", "1", "2", "u", "+"],
        &["/p", "1", "1", "u", "?"],
        &["/p", "1", "1", "u", "+x"],
        &["/p", "1", "1", "u", "~"],
        &["/p", "1", "1", "u", "~x"],
        &["/p", "1", "1", "u", ""],
        &["/p", "1", "1", "", "+"],
        &["/p", "1", "1", "a\nb", "+"],
        &["/p", "1", "1", "u", &long_word],
        &["/p", "1", "1", &long_name, "+"],
        &["/p", "1", "2", "u", "+", "u", "-"],
        &["a\nb", "1", "0"],
        &["", "1", "0"],
        &[&long_name, "1", "0"],
        &["/", "1", "0"],
    ];
    let many: Vec<String> =
        (0..257).flat_map(|n| [format!("/p{n}"), "1".into(), "0".into()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for groups in bad.iter().copied().chain([&many[..]]) {
        let report: Vec<_> =
            good.iter().cloned().chain(groups.iter().map(|&it| it.to_owned())).collect();
        let refused = stage.send(&report).is_err_and(|error| error.contains("bad argument"));
        ensure(&format!("{:?} is refused", &groups[..groups.len().min(8)]), refused)?;
    }
    let mut short = good.clone();
    "a".clone_into(&mut short[0]);
    short.extend(["/p", "1", "0"].map(str::to_owned));
    ensure("a name without room for a tag", stage.send(&short).is_err())?;
    for (place, wrong) in [(11, "1"), (11, "x"), (13, "2"), (12, good[0].as_str())] {
        let mut report = good.clone();
        wrong.clone_into(&mut report[place]);
        ensure(&format!("argument {place} = {wrong:?}"), stage.send(&report).is_err())?;
    }
    same("keys", stage.redis::<u64>("DBSIZE", NO_ARGUMENTS)?, 0)
}

/// Goal: the most entries of one report are accepted. Method: 128 rooms with one user each.
pub(super) fn full_report(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Holder::new("a", 0);
    for n in 0..128 {
        a.group(&format!("/p{n}"), "1", &[("u", "+")]);
    }
    let rooms = a.report(stage)?.rooms.unwrap_or_default();
    same("held", (rooms.rooms_held, rooms.users_held), (128, 128))?;
    same("counts", rooms.counts, vec![2; 128])
}

/// Goal: reports about rooms that are late or repeated change nothing, and one that was lost is made up for by the next.
/// Method: each of them.
pub(super) fn fenced_rooms(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, _) = pair(stage)?;
    let late = a.set("/p", 5).join("/q", "u").prepare("report");
    let lost = a.set("/p", 7).prepare("report");
    a.set("/p", 2).join("/q", "v").report(stage)?;
    let before = stage.snapshot()?;
    for report in [&late, &lost] {
        ensure("stale", !stage.send(report)?.applied)?;
    }
    ensure("nothing changed", stage.snapshot()? == before)?;
    counts(stage, "/p", 2)?;
    a.set("/p", 3).say_deaf(stage)?;
    let answer = a.set("/p", 4).report(stage)?;
    ensure("applied although a reply was lost", answer.applied)?;
    counts(stage, "/p", 4)
}
