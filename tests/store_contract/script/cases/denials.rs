//! Cases of a user that may not run a command or may not access a key. No key is lost because of it, and all is right
//! again once the permission is there.

use super::super::{
    instance::Instance,
    stage::{
        CONNECTIONS, KEYS, LEASES, META, NO_ARGUMENTS, Outcome, PUBLIC, SEQUENCE, Stage, ensure,
        same,
    },
};

/// The commands that every report runs. Without one of them every report must fail.
const ALWAYS: [&str; 6] = ["hmget", "hincrby", "hget", "zadd", "hset", "get"];

/// The commands that only some reports run. The report of a case may succeed without them.
const SOMETIMES: [&str; 16] = [
    "hdel",
    "zcard",
    "zrangebyscore",
    "hlen",
    "publish",
    "hgetall",
    "zrange",
    "hexists",
    "pexpire",
    "set",
    "incrby",
    "del",
    "exists",
    "zrem",
    "hmset",
    "eval",
];

const USER: &str = "limited";
const EVERYBODY: &str = "default";

/// Goal: without a permission a report fails with a clear error. No key and no instance is lost, and the count is
/// right after the first audit of a permitted user. Method: a user that lacks one command after the other sends
/// reports, farewells and audits. Then permitted users report.
pub(super) fn denied_commands(stage: &mut Stage<'_>) -> Outcome {
    for kind in ["report", "audit", "farewell"] {
        for command in ALWAYS.into_iter().chain(SOMETIMES) {
            let rule = format!("-{command}");
            let without = format!("a {kind} without {command}");
            let said = denied(stage, &rule, kind).map_err(|why| format!("{without}: {why}"))?;
            let must_fail = ALWAYS.contains(&command) || command == "publish";
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

/// Goal: the same as [`denied_commands`] for keys. Method: a user that may access all keys except one.
pub(super) fn denied_keys(stage: &mut Stage<'_>) -> Outcome {
    for key in [PUBLIC, CONNECTIONS, SEQUENCE, LEASES, META] {
        let others = KEYS.iter().filter(|other| **other != key);
        let rule = others.fold("resetkeys".to_owned(), |rule, other| format!("{rule} ~{other}"));
        let said = denied(stage, &rule, "audit").map_err(|why| format!("without {key}: {why}"))?;
        ensure(&format!("without {key} it fails"), said.is_some())?;
    }
    Ok(())
}

/// Lets an instance report as a user with this rule in addition to "everything". Checks that nothing was lost, and
/// returns the error of the server if it refused.
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
