//! Taking away the rooms of an instance that died.

use std::{slice, thread, time::Duration};

use anyhow::Result;

use crate::{
    Figures,
    entries::quantile,
    redis::Redis,
    reporter::{ENTRIES_MAX, Group, Reporter, Script, user_name},
};

/// The shortest lease that the script accepts.
const SHORT_LEASE_MS: u64 = 100;

/// Measures it for an instance that has this number of rooms, users of one room, or users in a room each.
///
/// # Errors
/// If a report fails.
pub fn measure(redis: &mut Redis, entries: usize, figures: &mut Figures) -> Result<()> {
    let script = Script::of_product(redis)?;
    type Write = fn(&[usize]) -> Vec<Group>;
    let kinds: [(&str, Write, usize); 3] = [
        (
            "rooms",
            |part| part.iter().map(|room| Group::of_connections(*room, 1)).collect(),
            ENTRIES_MAX,
        ),
        (
            "users",
            |part| vec![Group::of_users(0, part.iter().map(user).collect())],
            ENTRIES_MAX - 1,
        ),
        (
            "users_and_rooms",
            |part| part.iter().map(|n| Group::of_users(*n, vec![user(n)])).collect(),
            ENTRIES_MAX / 2,
        ),
    ];
    let all: Vec<usize> = (0..entries).collect();
    for (kind, write, most) in kinds {
        redis.clear()?;
        let mut dying = Reporter::new(&script, 1);
        let mut survivor = Reporter::new(&script, 2);
        for part in all.chunks(most) {
            dying.report(redis, &write(part))?;
        }
        dying.settle(redis)?;
        let mut calls = take_away(redis, &mut dying, slice::from_mut(&mut survivor))?;
        figures.insert(format!("reaping_{kind}_calls"), calls.len() as f64);
        figures.insert(format!("reaping_{kind}_cpu_ms"), calls.iter().sum());
        figures.insert(format!("reaping_{kind}_p50_ms"), quantile(&mut calls, 0.5));
        figures.insert(format!("reaping_{kind}_max_ms"), quantile(&mut calls, 1.0));
    }
    Ok(())
}

/// Lets an instance die, and the others report in turn until nothing of it is left. Returns the CPU of each of their calls, in
/// milliseconds.
///
/// # Errors
/// If a report fails.
pub fn take_away(
    redis: &mut Redis,
    dying: &mut Reporter,
    survivors: &mut [Reporter],
) -> Result<Vec<f64>> {
    dying.lease_ms = SHORT_LEASE_MS;
    dying.report(redis, &[])?;
    survivors[0].report(redis, &[])?;
    // Not a wait for an event: the lease has to end.
    thread::sleep(Duration::from_millis(2 * SHORT_LEASE_MS));
    let mut calls = Vec::new();
    for turn in 0.. {
        let survivor = &mut survivors[turn % survivors.len()];
        let mut dead = 0;
        let cpu_us = redis.cpu_of(|redis| {
            dead = survivor.report(redis, &[])?.dead;
            Ok(())
        })?;
        calls.push(cpu_us / 1e3);
        if dead == 0 {
            break;
        }
    }
    Ok(calls)
}

fn user(number: &usize) -> (String, bool) {
    (user_name(*number), true)
}
