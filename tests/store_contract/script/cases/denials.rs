//! Cases of a user that may not run a command, or may not touch a key: no key is deleted for it, and all is right
//! again with the permission.

use super::super::stage::{
    CONNECTIONS, Instance, KEYS, LEASES, META, NO_ARGUMENTS, Outcome, PUBLIC, SEQUENCE, Stage,
    ensure, same,
};

/// The commands that every report runs, so that it must fail without one of them.
const ALWAYS: [&str; 8] =
    ["hdel", "hmget", "hget", "zcard", "zadd", "hset", "get", "zrangebyscore"];

/// Those that only some reports run: this one may pass without.
const SOMETIMES: [&str; 13] = [
    "hlen", "publish", "hgetall", "zrange", "hexists", "pexpire", "set", "incrby", "del", "exists",
    "zrem", "hmset", "eval",
];

const USER: &str = "limited";
const EVERYBODY: &str = "default";

/// Goal: without a permission a report fails and says so; no key is lost, no instance is forgotten, and the count
/// is right with the first audit that is allowed. Method: a user that lacks one command after the other, with
/// plain reports, farewells and audits; then reports of users that have the permission.
pub(super) fn denied_commands(stage: &mut Stage<'_>) -> Outcome {
    for kind in ["report", "audit", "farewell"] {
        for command in ALWAYS.into_iter().chain(SOMETIMES) {
            let rule = format!("-{command}");
            let without = format!("a {kind} without {command}");
            let said = denied(stage, &rule, kind).map_err(|why| format!("{without}: {why}"))?;
            let must_fail = ALWAYS.contains(&command) || command == "hlen" || command == "publish";
            ensure(&format!("{without} fails"), !must_fail || said.is_some())?;
            let is_told = said.as_ref().is_none_or(|said| {
                let names_it = said.contains(&format!("({})", command.to_uppercase()));
                let denials = ["NOPERM", "can't run this command", "ACL failure in script"];
                names_it && denials.iter().any(|denial| said.contains(denial))
            });
            ensure(&format!("{without} is told as it is: {said:?}"), is_told)?;
        }
    }
    Ok(())
}

/// Goal: the same for keys. Method: a user that may touch all keys but one.
pub(super) fn denied_keys(stage: &mut Stage<'_>) -> Outcome {
    for key in [PUBLIC, CONNECTIONS, SEQUENCE, LEASES, META] {
        let others = KEYS.iter().filter(|other| **other != key);
        let rule = others.fold("resetkeys".to_owned(), |rule, other| format!("{rule} ~{other}"));
        let said = denied(stage, &rule, "audit").map_err(|why| format!("without {key}: {why}"))?;
        ensure(&format!("without {key} it fails"), said.is_some())?;
    }
    Ok(())
}

/// Lets an instance report as a user for whom this rule holds beside "everything"; gives what the server said, if it
/// refused, once it is sure that nothing was lost.
fn denied(stage: &mut Stage<'_>, rule: &str, kind: &str) -> Result<Option<String>, String> {
    stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
    stage.sums = false;
    let (mut a, mut b) = (Instance::new("a", 5), Instance::new("b", 3));
    a.report(stage)?;
    b.report(stage)?;
    stage.wait(500);
    a.users = 6;
    let rules: Vec<_> =
        ["reset", "on", "nopass", "~*", "&*", "+@all"].into_iter().chain(rule.split(' ')).collect();
    stage.redis::<()>("ACL", ("SETUSER", USER, rules))?;
    stage.redis::<()>("AUTH", (USER, "any"))?;
    let said = a.say_deaf(kind, stage).err();
    stage.redis::<()>("AUTH", (EVERYBODY, "any"))?;

    same("keys that are left", stage.redis("EXISTS", &KEYS[..])?, KEYS.len())?;
    same("what the other had reported", stage.redis("HGET", (CONNECTIONS, "b"))?, 3)?;
    stage.wait(500);
    a.say("audit", stage)?;
    let answer = b.say("audit", stage)?;
    same("the count afterwards", (stage.public()?, answer.count), (9, 9))?;
    ensure("nothing was lost meanwhile", !answer.recovering)?;
    Ok(said)
}
