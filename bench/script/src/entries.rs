//! Full reports: rooms that changed, users of one large room, and a user in each of many rooms; and the longest call.

use anyhow::Result;

use crate::{
    Figures,
    redis::{Cost, Redis, quickest},
    reporter::{ENTRIES_MAX, Group, Reporter, Script, user_name},
};

/// Full reports in one portion.
const CALLS: usize = 4;
/// Instances with the same rooms, for the longest call: a room is counted again from all its parts.
const INSTANCES: usize = 10;
/// The calls among which the longest is looked for.
const SINGLE_CALLS: usize = 300;

/// Measures them in a store with this number of rooms, or of users in the large room.
///
/// # Errors
/// If a report fails.
pub fn measure(
    redis: &mut Redis,
    size: usize,
    portions: usize,
    figures: &mut Figures,
) -> Result<()> {
    let script = Script::of_product(redis)?;
    let before = Script::before_rooms(redis)?;
    let per_call = ENTRIES_MAX as f64;
    type Write = fn(usize, usize) -> Vec<Group>;
    let kinds: [(&str, Write, f64); 3] = [
        ("room", changed_rooms, per_call),
        ("user", users_of_one_room, per_call - 1.0),
        ("user_and_room", users_of_many_rooms, per_call / 2.0),
    ];
    for (kind, write, entries) in kinds {
        redis.clear()?;
        let mut reporter = Reporter::new(&script, 1);
        let mut turn = fill(redis, &mut reporter, write, size)?;
        let mut former = Reporter::new(&before, 1);
        let (mut costs, mut units): (Vec<Cost>, Vec<Cost>) = (Vec::new(), Vec::new());
        for _ in 0..portions {
            units.push(redis.cost(|redis| changing_site(redis, &mut former))?);
            costs.push(redis.cost(|redis| {
                for _ in 0..CALLS {
                    turn += 1;
                    reporter.report(redis, &write(turn, size))?;
                }
                Ok(())
            })?);
        }
        let (cost, unit) = (quickest(&costs), quickest(&units));
        figures.insert(format!("entry_{kind}_us"), cost.script_us / entries);
        figures.insert(format!("entry_{kind}_cpu_us"), cost.cpu_us / entries);
        figures.insert(format!("full_{kind}_units"), cost.script_us / unit.script_us);
        figures.insert(format!("full_{kind}_unit_us"), unit.script_us);
    }
    longest(redis, &script, size, figures)
}

fn changing_site(redis: &mut Redis, reporter: &mut Reporter) -> Result<()> {
    for _ in 0..20 {
        reporter.users = 10 + (reporter.users + 1) % 7;
        reporter.report(redis, &[])?;
    }
    Ok(())
}

/// Reports until the store has as many as it should, all announced. Returns the number of turns.
fn fill(
    redis: &mut Redis,
    reporter: &mut Reporter,
    write: fn(usize, usize) -> Vec<Group>,
    size: usize,
) -> Result<usize> {
    let turns = 2 * size.div_ceil(ENTRIES_MAX / 2);
    for turn in 0..turns {
        reporter.report(redis, &write(turn, size))?;
    }
    reporter.settle(redis)?;
    Ok(turns)
}

/// All rooms are named in turn, each time with another number.
fn changed_rooms(turn: usize, size: usize) -> Vec<Group> {
    let rooms = (0..ENTRIES_MAX).map(|index| (turn * ENTRIES_MAX + index) % size);
    rooms.map(|room| Group::of_connections(room, 1 + (turn % 7) as u64)).collect()
}

/// Half of them join and the other half, which joined some turns before, leave.
fn users_of_one_room(turn: usize, size: usize) -> Vec<Group> {
    vec![Group::of_users(0, users(turn, size, ENTRIES_MAX - 1).collect())]
}

/// A user in each room; half join and half leave.
fn users_of_many_rooms(turn: usize, size: usize) -> Vec<Group> {
    let users = users(turn, size, ENTRIES_MAX / 2);
    users
        .enumerate()
        .map(|(index, user)| {
            let room = (turn * ENTRIES_MAX / 2 + index) % size;
            Group::of_users(room, vec![user])
        })
        .collect()
}

fn users(turn: usize, size: usize, number: usize) -> impl Iterator<Item = (String, bool)> {
    let half = number / 2;
    let stay = 2 * size / number; // turns
    let joins = (0..number - half).map(move |index| (user_name(turn * number + index), true));
    let left = turn.checked_sub(stay).into_iter();
    let leaves = left.flat_map(move |turn| {
        (0..half).map(move |index| (user_name(turn * number + index), false))
    });
    joins.chain(leaves)
}

/// Full reports with everything that one call can do besides: a page of rooms and an audit.
fn longest(redis: &mut Redis, script: &Script, size: usize, figures: &mut Figures) -> Result<()> {
    redis.clear()?;
    let new = |number| Reporter::new(script, number);
    let mut reporters: Vec<Reporter> = (0..INSTANCES).map(new).collect();
    for reporter in &mut reporters {
        fill(redis, reporter, changed_rooms, size)?;
    }
    let mut idle = Vec::new();
    for _ in 0..SINGLE_CALLS {
        idle.push(redis.cpu_of(|_| Ok(()))?);
    }
    let asking = quantile(&mut idle, 0.5);
    let mut calls = Vec::new();
    for turn in 0..SINGLE_CALLS {
        let groups = changed_rooms(turn, size);
        let cpu_us = redis.cpu_of(|redis| {
            reporters[turn % INSTANCES].audit(redis, &groups)?;
            Ok(())
        })?;
        calls.push((cpu_us - asking) / 1e3);
    }
    figures.insert("full_call_p50_ms".to_owned(), quantile(&mut calls, 0.5));
    figures.insert("full_call_p99_ms".to_owned(), quantile(&mut calls, 0.99));
    figures.insert("full_call_max_ms".to_owned(), quantile(&mut calls, 1.0));
    Ok(())
}

/// A quantile of these values, which it sorts.
///
/// # Panics
/// If there are none.
pub fn quantile(values: &mut [f64], quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() - 1) as f64 * quantile;
    values[place.round() as usize]
}
