//! What presence costs Redis if every client refreshes it, in the layouts of other servers. It is measured as the product is.

use std::{
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use redis::Pipeline;

use crate::{
    Figures, Presence,
    crowd::{INSTANCES, MINUTE_US, MOVING, SINGLE_CALLS, SINGLES_FROM, named},
    layouts::Layout,
    redis::{Redis, quickest_quarter},
};

/// Clients whose commands are sent together.
const TOGETHER: usize = 250;
/// Refreshes in a portion.
const REFRESHES: usize = 1000;
/// How long those who expire have been silent, in seconds: longer than any of the layouts allows.
const SILENCE_S: u64 = 600;

/// Measures all layouts, for this number of users in one room.
///
/// # Errors
/// If a command fails.
pub fn measure(
    redis: &mut Redis,
    users: usize,
    portions: usize,
    presence: &mut Presence,
) -> Result<()> {
    for layout in Layout::all(redis)? {
        let figures = measure_one(redis, &layout, users, portions)?;
        presence.insert(layout.name.to_owned(), figures);
    }
    redis.clear()
}

fn measure_one(
    redis: &mut Redis,
    layout: &Layout,
    users: usize,
    portions: usize,
) -> Result<Figures> {
    redis.clear()?;
    // The same for all, however long the measurement takes.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let before = redis.used_bytes()?;
    send(redis, 0..users, |commands, user| layout.join(commands, user, now))?;
    let bytes = (redis.used_bytes()? - before) / users as f64;
    let kept = redis.fields(&layout.kept_in())?;
    ensure!(kept == users, "{} keeps {kept} of {users} users", layout.name);
    let [mut alone, mut together, mut refreshes] = [Vec::new(), Vec::new(), Vec::new()];
    for portion in 0..portions {
        let others = SINGLES_FROM + portion * MOVING..SINGLES_FROM + (portion + 1) * MOVING;
        let cpu_us = redis.cpu_of(|redis| {
            send(redis, others.clone(), |commands, user| layout.join(commands, user, now))?;
            send(redis, others.clone(), |commands, user| layout.leave(commands, user))
        })?;
        together.push(cpu_us / (2 * MOVING) as f64);
        let singles = others.start..others.start + SINGLE_CALLS;
        let cpu_us = redis.cpu_of(|redis| {
            singles.clone().try_for_each(|user| {
                send(redis, user..user + 1, |commands, user| layout.join(commands, user, now))
            })
        })?;
        alone.push(cpu_us / SINGLE_CALLS as f64);
        send(redis, singles, |commands, user| layout.leave(commands, user))?;
        // All over the room, as the clients' clocks are.
        let stride = (users / REFRESHES).max(1);
        let cpu_us = redis.cpu_of(|redis| {
            send(redis, 0..REFRESHES, |commands, number| {
                layout.refresh(commands, (number * stride + portion) % users, now);
            })
        })?;
        refreshes.push(cpu_us / REFRESHES as f64);
    }
    let dead = users.div_ceil(INSTANCES);
    let gone = take_away(redis, layout, 0..dead, now)?;
    let kept = redis.fields(&layout.kept_in())?;
    ensure!(kept == users - dead, "{} keeps {kept} of {users} users after a crash", layout.name);
    let minute_us = quickest_quarter(refreshes) * 60.0 / layout.refresh_s;
    let figures = named([
        ("user_bytes", bytes),
        ("alone_us", quickest_quarter(alone)),
        ("together_us", quickest_quarter(together)),
        ("minute_us", minute_us),
        ("rest_percent", minute_us * users as f64 / MINUTE_US * 100.0),
        ("gone_ms", gone.all_ms),
        ("gone_max_ms", gone.longest_ms),
    ]);
    Ok(figures.collect())
}

struct Gone {
    all_ms: f64,
    longest_ms: f64,
}

/// The users of an instance that died are found, and taken away.
fn take_away(redis: &mut Redis, layout: &Layout, users: Range<usize>, now: u64) -> Result<Gone> {
    let then = now - SILENCE_S;
    send(redis, users.clone(), |commands, user| layout.refresh(commands, user, then))?;
    let mut found = Pipeline::new();
    layout.find_expired(&mut found, now);
    let longest_ms = redis.cpu_of(|redis| redis.send(&found))? / 1e3;
    let mut all_ms = longest_ms;
    if layout.leaves_one_by_one() {
        let leave = |commands: &mut Pipeline, user| layout.leave(commands, user);
        all_ms += redis.cpu_of(|redis| send(redis, users, leave))? / 1e3;
    }
    Ok(Gone { all_ms, longest_ms })
}

/// Sends the commands of these users, many at a time.
fn send(
    redis: &mut Redis,
    users: Range<usize>,
    write: impl Fn(&mut Pipeline, usize),
) -> Result<()> {
    for from in users.clone().step_by(TOGETHER) {
        let mut commands = Pipeline::new();
        (from..users.end.min(from + TOGETHER)).for_each(|user| write(&mut commands, user));
        redis.send(&commands)?;
    }
    Ok(())
}
