//! Cases of what instances say of themselves: operators see who is who, and nobody who is gone; whatever becomes of that,
//! the count does not suffer.

use super::super::{
    instance::Instance,
    stage::{
        ABOUT, CONNECTIONS, KEYS, LEASES, NO_ARGUMENTS, Outcome, SEQUENCE, Stage, ensure, same,
    },
};

/// An instance that says its name.
fn named(name: &str) -> Instance {
    let mut instance = Instance::new(name, 1);
    instance.about = said(name);
    instance
}

fn said(name: &str) -> String {
    format!("{{\"host\":\"{name}\"}}")
}

/// Who has said something.
fn told(stage: &mut Stage<'_>) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = stage.redis("HKEYS", ABOUT)?;
    names.sort_unstable();
    Ok(names)
}

/// Goal: what is said stands until something else is said, and is kept as long as the rest. Method: two who say something,
/// of whom one says nothing more, and then something else.
pub(super) fn what_is_said_stands(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (named("a"), named("b"));
    a.report(stage)?;
    b.report(stage)?;
    a.about.clear();
    a.say("audit", stage)?;
    same("what A said", stage.redis::<String>("HGET", (ABOUT, "a"))?, said("a"))?;
    a.about = said("other");
    a.report(stage)?;
    same("what A says now", stage.redis::<String>("HGET", (ABOUT, "a"))?, said("other"))?;
    same("who is told of", told(stage)?, vec!["a".to_owned(), "b".to_owned()])?;
    let remaining = stage.remaining_ms(ABOUT)?;
    ensure("ten minutes", (590_000..=600_000).contains(&remaining))
}

/// Goal: who says farewell is gone from the list, whatever the farewell says. Method: one of three leaves, of whom another
/// has said nothing.
pub(super) fn farewell_takes_what_was_said(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (named("a"), named("b"));
    Instance::new("c", 1).report(stage)?;
    a.report(stage)?;
    b.report(stage)?;
    b.say("farewell", stage)?;
    same("who is told of", told(stage)?, vec!["a".to_owned()])
}

/// Goal: so is who died. Method: one of two falls silent.
pub(super) fn reaping_takes_what_was_said(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (named("a"), named("b"));
    a.report(stage)?;
    b.report(stage)?;
    for _ in 0..5 {
        stage.wait(500);
        a.report(stage)?;
    }
    same("who is told of", told(stage)?, vec!["a".to_owned()])
}

/// Goal: what an instance of another version left, when it counted somebody out, goes with the next audit, or when somebody
/// new says who it is. Method: entries of nobody; then one of nobody while another is missing.
pub(super) fn strangers_go(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (named("a"), named("b"));
    a.report(stage)?;
    b.report(stage)?;
    stage.redis::<()>("HSET", (ABOUT, "nobody", "x", "no one", "y"))?;
    a.about.clear();
    b.about.clear();
    stage.wait(100);
    a.say("audit", stage)?;
    same("who is told of", told(stage)?, vec!["a".to_owned(), "b".to_owned()])?;
    stage.redis::<()>("HDEL", (ABOUT, "a"))?;
    stage.redis::<()>("HSET", (ABOUT, "nobody", "x"))?;
    a.about = said("a");
    stage.wait(10);
    a.report(stage)?;
    same("who is told of", told(stage)?, vec!["a".to_owned(), "b".to_owned()])
}

/// Goal: whatever stands there instead is put right and costs nothing. Method: a list, before a report that says something,
/// before an audit that says nothing, and before a farewell.
pub(super) fn a_list_instead(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (named("a"), named("b"));
    a.report(stage)?;
    b.report(stage)?;
    b.about.clear();
    for kind in ["report", "audit", "farewell"] {
        stage.wait(10);
        stage.redis::<()>("DEL", ABOUT)?;
        stage.redis::<()>("RPUSH", (ABOUT, "x"))?;
        let teller = if kind == "report" { &mut a } else { &mut b };
        let answer = teller.say(kind, stage)?;
        same(&format!("repaired by a {kind}"), answer.repaired, 1)?;
        ensure("nothing was lost", !answer.recovering)?;
        let type_now: String = stage.redis("TYPE", ABOUT)?;
        ensure(&format!("after a {kind} it is a {type_now}"), type_now != "list")?;
    }
    a.report(stage)?;
    same("who is told of", told(stage)?, vec!["a".to_owned()])
}

/// Goal: a Redis user without rights on the key of the names still counts, and its name is stored once it has the rights. Method:
/// reports, an audit and a farewell of such a user; then with the rights.
pub(super) fn counting_needs_no_introduction(stage: &mut Stage<'_>) -> Outcome {
    let (mut a, mut b) = (named("a"), named("b"));
    let keys = KEYS.map(|key| format!("~{key}"));
    let rules = ["reset", "on", "nopass", "&*", "+@all"].map(str::to_owned);
    stage.redis::<()>("ACL", ("SETUSER", "limited", &rules[..], &keys[..]))?;
    stage.redis::<()>("AUTH", ("limited", "any"))?;
    let counted = (|| {
        a.report(stage)?;
        b.report(stage)?;
        stage.wait(700);
        let audited = a.say("audit", stage)?;
        let left = b.say("farewell", stage)?;
        Ok::<_, String>((audited.count, left.count))
    })();
    stage.redis::<()>("AUTH", ("default", "any"))?;
    same("counts", counted?, (2, 1))?;
    same("who is told of", told(stage)?, vec![])?;
    a.report(stage)?;
    same("who is told of", told(stage)?, vec!["a".to_owned()])
}

/// Goal: a report that says nothing new costs nothing for it, and an audit one command. Method: count the calls of commands
/// that touch the key.
pub(super) fn silence_costs_nothing(stage: &mut Stage<'_>) -> Outcome {
    let mut a = named("a");
    a.report(stage)?;
    a.about.clear();
    let mut calls = [0, 0, 0];
    for (kind, calls) in ["report", "audit", "report that repeats"].into_iter().zip(&mut calls) {
        if kind == "report that repeats" {
            a.about = said("a");
        }
        stage.redis::<()>("CONFIG", "RESETSTAT")?;
        stage.wait(10);
        a.say(kind.split(' ').next().unwrap_or(kind), stage)?;
        let info: String = stage.redis("INFO", "commandstats")?;
        let hlen = info.lines().find_map(|line| line.strip_prefix("cmdstat_hlen:calls="));
        *calls = hlen.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0);
        ensure("no HKEYS", !info.contains("cmdstat_hkeys"))?;
    }
    same("HLEN of a report, of an audit, and of a name that was known", calls, [0, 1, 0])
}

/// Goal: all that is kept is there for the living. Method: all keys but the tombstones are gone with the last instance.
pub(super) fn nobody_leaves_nothing_said(stage: &mut Stage<'_>) -> Outcome {
    let mut a = named("a");
    a.report(stage)?;
    a.say("farewell", stage)?;
    same("what was said", stage.redis::<u64>("EXISTS", &[ABOUT, CONNECTIONS][..])?, 0)?;
    same("tombstones", stage.redis::<u64>("EXISTS", &[SEQUENCE, LEASES][..])?, 2)?;
    stage.redis("FLUSHALL", NO_ARGUMENTS)
}
