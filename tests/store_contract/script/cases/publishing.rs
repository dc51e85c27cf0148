//! Cases of what others see: the public key, its lifetime, and the channel.

use std::time::Duration;

use deadpool_redis::redis::Connection;

use super::super::{
    instance::Instance,
    stage::{CHANNEL, KEYS, LEASE, NO_ARGUMENTS, Outcome, PUBLIC, Stage, ensure, same},
};

/// Time limit for a message that must arrive.
const MESSAGE_WITHIN: Duration = Duration::from_secs(2);

const LEASE_MS: i64 = LEASE.cast_signed();

/// Reads the channel while something is played, up to the announcement of the revision that this returns. Fails if it does not
/// arrive.
fn messages_up_to(
    connection: &mut Connection,
    stage: &mut Stage<'_>,
    play: impl FnOnce(&mut Stage<'_>) -> Result<u64, String>,
) -> Result<Vec<String>, String> {
    let text = |error: deadpool_redis::redis::RedisError| error.to_string();
    let mut subscription = connection.as_pubsub();
    subscription.subscribe(CHANNEL).map_err(text)?;
    subscription.set_read_timeout(Some(MESSAGE_WITHIN)).map_err(text)?;
    let revision = play(stage)?;
    let last = format!(r#""revision":{revision}"#);
    let mut messages = Vec::new();
    loop {
        let message = subscription.get_message().map_err(text)?;
        let payload: String = message.get_payload().map_err(|error| error.to_string())?;
        let is_last = payload.contains(&last);
        messages.push(payload);
        if is_last {
            return Ok(messages);
        }
    }
}

/// Goal: the public key shows the total, whatever it contained before. Method: a wrong number, then a word,
/// then a list.
pub(super) fn public_edited(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Instance::new("a", 1);
    a.report(stage)?;
    for wrong in ["99", "many"] {
        stage.redis::<()>("SET", (PUBLIC, wrong))?;
        same("repaired", a.report(stage)?.repaired, 1)?;
        same("public", stage.public()?, 1)?;
    }
    stage.redis::<()>("DEL", PUBLIC)?;
    stage.redis::<()>("LPUSH", (PUBLIC, "x"))?;
    a.users = 2;
    same("repaired", a.report(stage)?.repaired, 1)?;
    same("public", stage.public()?, 2)
}

/// Goal: a change of the count keeps the lifetime of the public key, which only audits renew. Method: shorten
/// the lifetime by hand, then change the count up and down.
pub(super) fn public_keeps_its_ttl(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Instance::new("a", 1);
    a.report(stage)?;
    stage.redis::<()>("PEXPIRE", (PUBLIC, 3000))?;
    for users in [7, 2] {
        a.users = users;
        a.report(stage)?;
        same("public", stage.public()?, users.cast_signed())?;
    }
    let remaining = stage.remaining_ms(PUBLIC)?;
    ensure("the lifetime is the shortened one", (1..=3000).contains(&remaining))
}

/// Goal: every key expires, the public one first. Method: read the lifetimes after an audit, and after the
/// public key had to be restored between two audits.
pub(super) fn ttls(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Instance::new("a", 1);
    a.report(stage)?;
    stage.wait(700);
    a.report(stage)?;
    let remaining = stage.remaining_ms(PUBLIC)?;
    ensure("public: two leases", (1..=2 * LEASE_MS).contains(&remaining))?;
    for key in &KEYS[1..] {
        let remaining = stage.remaining_ms(key)?;
        ensure(&format!("{key}: ten minutes"), (590_000..=600_000).contains(&remaining))?;
    }
    stage.redis::<()>("DEL", PUBLIC)?;
    a.report(stage)?;
    let remaining = stage.remaining_ms(PUBLIC)?;
    ensure("public, set anew: two leases", (1..=2 * LEASE_MS).contains(&remaining))
}

/// Goal: a busy store renews lifetimes too. Method: remove the lifetime of the public key, then send only
/// frequent reports.
pub(super) fn ttl_of_a_busy_store(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Instance::new("a", 1);
    a.report(stage)?;
    stage.redis::<()>("PERSIST", PUBLIC)?;
    for _ in 0..80 {
        stage.wait(10);
        a.report(stage)?;
    }
    let remaining = stage.remaining_ms(PUBLIC)?;
    ensure("public ages again", remaining > 0)
}

/// Goal: when the last instance leaves, the public key is zero and expires. Method: a farewell.
pub(super) fn last_farewell(stage: &mut Stage<'_>) -> Outcome {
    let mut a = Instance::new("a", 3);
    a.report(stage)?;
    let answer = a.say("farewell", stage)?;
    same("instances", answer.instances, 0)?;
    same("public", stage.redis::<String>("GET", PUBLIC)?.as_str(), "0")?;
    let remaining = stage.remaining_ms(PUBLIC)?;
    ensure("it ages", remaining > 0)
}

/// Goal: announcements have the documented format. Method: compare the text, with and without the mark.
pub(super) fn announcement_format(stage: &mut Stage<'_>) -> Outcome {
    let mut connection = stage.server.connection();
    let mut stamps = Vec::new();
    let messages = messages_up_to(&mut connection, stage, |stage| {
        let mut a = Instance::new("a", 5);
        stamps.push(a.report(stage)?.stamp);
        stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        let last = a.report(stage)?;
        stamps.push(last.stamp);
        Ok(last.revision)
    })?;
    let expected = [
        format!(
            r#"{{"count":5,"revision":1,"stamp":"{}","key":"currentUsers","database":0}}"#,
            stamps[0]
        ),
        format!(
            r#"{{"count":5,"revision":2,"stamp":"{}","recovering":true,"key":"currentUsers","database":0}}"#,
            stamps[1]
        ),
    ];
    same("messages", messages, expected.to_vec())
}

/// Goal: an announcement names the database of its key. Method: a report of an instance in another database.
pub(super) fn announcement_of_another_database(stage: &mut Stage<'_>) -> Outcome {
    let mut connection = stage.server.connection();
    let mut stamp = String::new();
    let messages = messages_up_to(&mut connection, stage, |stage| {
        let mut report = Instance::new("a", 5).prepare("report");
        "15".clone_into(&mut report[8]);
        let answer = stage.send(&report)?;
        stamp = answer.stamp;
        Ok(answer.revision)
    })?;
    let expected = format!(
        r#"{{"count":5,"revision":1,"stamp":"{stamp}","key":"currentUsers","database":15}}"#
    );
    same("messages", messages, vec![expected])
}

/// Goal: announcements keep the pace that the number of instances sets, and the last one arrives. Method: 200
/// changes within 100 ms by twenty instances, which allow one announcement every 5 ms.
pub(super) fn announcements_are_paced(stage: &mut Stage<'_>) -> Outcome {
    let mut connection = stage.server.connection();
    let messages = messages_up_to(&mut connection, stage, |stage| {
        let mut instances: Vec<_> =
            (0..20).map(|index| Instance::new(format!("i{index}"), 0)).collect();
        for instance in &mut instances {
            instance.report(stage)?;
        }
        for change in 0..200 {
            stage.wait(change % 2);
            let instance = &mut instances[usize::try_from(change % 20).expect("small")];
            instance.users = change;
            instance.report(stage)?;
        }
        stage.wait(500);
        let last = instances[0].report(stage)?;
        same("announced", last.announced, last.revision)?;
        Ok(last.revision)
    })?;
    ensure("at most one each 5 ms", messages.len() <= 100 / 5 + 3)
}

/// Goal: an announcement that was held back is sent with the next report of any instance. Method: a change too
/// soon after the last announcement, then a report without a change.
pub(super) fn held_back_goes_out(stage: &mut Stage<'_>) -> Outcome {
    let mut instances: Vec<_> = (0..8).map(|index| Instance::new(format!("i{index}"), 0)).collect();
    for instance in &mut instances {
        instance.report(stage)?;
    }
    instances[0].users = 3;
    let held = instances[0].report(stage)?;
    ensure("held back", held.announced < held.revision)?;
    stage.wait(500);
    let next = instances[1].report(stage)?;
    same("announced", next.announced, held.revision)
}
