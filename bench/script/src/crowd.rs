//! Very many users in one room, spread over instances: memory, reports of many users and of one, a time without news, and the
//! death of an instance. This module never compares.

use anyhow::{Result, ensure};

use crate::{
    Figures, Presence,
    entries::quantile,
    reaping,
    redis::{Cost, Redis, quickest},
    reporter::{ENTRIES_MAX, Group, Reporter, Script, user_name},
};

/// Instances that share the users.
pub const INSTANCES: usize = 20;
/// Users who join with a full report, while as many leave.
pub const MOVING: usize = (ENTRIES_MAX - 1) / 2;
/// Reports with one user each in a portion.
pub const SINGLE_CALLS: usize = 20;
/// The number of the first of those who join one at a time. No other user has such a number.
pub const SINGLES_FROM: usize = 90_000_000;
/// Heartbeats of each instance in a portion of rest. With the default settings that is two seconds.
const HEARTBEATS: usize = 4;
/// Audits in the same time, of all instances together: three in a lease, which takes two seconds by default.
const AUDITS: usize = 3;
/// Portions of rest in a minute.
const RESTS: f64 = 30.0;
/// A minute of a core.
pub const MINUTE_US: f64 = 60e6;
/// Unchanged users that an instance repeats in a heartbeat: `SWEPT_MAX` of the product.
const SWEPT: usize = 16;

struct Crowd {
    reporters: Vec<Reporter>,
    users: usize,
    turn: usize,
}

/// What one call costs of each kind, and a minute of all instances without news.
struct Costs {
    full: Cost,
    join: Cost,
    leave: Cost,
    minute_us: f64,
}

/// Measures it for this number of users.
///
/// # Errors
/// If a report fails, or the store does not have the users.
pub fn measure(
    redis: &mut Redis,
    users: usize,
    portions: usize,
    figures: &mut Figures,
    presence: &mut Presence,
) -> Result<()> {
    let script = Script::of_product(redis)?;
    redis.clear()?;
    let reporters = (0..INSTANCES).map(|number| Reporter::new(&script, number)).collect();
    let mut crowd = Crowd { reporters, users, turn: 0 };
    crowd.settle(redis)?;
    let before = redis.used_bytes()?;
    crowd.gather(redis)?;
    crowd.settle(redis)?;
    let bytes = (redis.used_bytes()? - before) / users as f64;
    let kept = redis.fields(&script.users_of(0))?;
    ensure!(kept == users, "the store has {kept} of {users} users");
    let Costs { full, join, leave, minute_us } = crowd.costs(redis, portions)?;
    let left = redis.fields(&script.users_of(0))? - crowd.share() - MOVING;
    let (dying, survivors) = crowd.reporters.split_first_mut().expect("there are some");
    let mut gone = reaping::take_away(redis, dying, survivors)?;
    let kept = redis.fields(&script.users_of(0))?;
    ensure!(kept == left, "the store has {kept} users instead of {left} after a crash");
    let entries = (2 * MOVING) as f64;
    let (calls, gone_ms): (_, f64) = (gone.len() as f64, gone.iter().sum());
    let longest_ms = quantile(&mut gone, 1.0);
    figures.extend(named([
        ("crowd_bytes", bytes),
        ("crowd_entry_us", full.script_us / entries),
        ("crowd_entry_cpu_us", full.cpu_us / entries),
        ("crowd_full_ms", full.cpu_us / 1e3),
        ("crowd_join_us", join.script_us),
        ("crowd_leave_us", leave.script_us),
        ("crowd_minute_ms", minute_us / 1e3),
        ("crowd_gone_calls", calls),
        ("crowd_gone_ms", gone_ms),
        ("crowd_gone_max_ms", longest_ms),
    ]));
    let beside = named([
        ("user_bytes", bytes),
        ("alone_us", join.cpu_us),
        ("together_us", full.cpu_us / entries),
        ("minute_us", minute_us / users as f64),
        ("rest_percent", minute_us / MINUTE_US * 100.0),
        ("gone_ms", gone_ms),
        ("gone_max_ms", longest_ms),
    ]);
    presence.insert("headcount".to_owned(), beside.collect());
    Ok(())
}

/// Figures with names that they can keep.
pub fn named<const N: usize>(figures: [(&str, f64); N]) -> impl Iterator<Item = (String, f64)> {
    figures.into_iter().map(|(name, value)| (name.to_owned(), value))
}

impl Crowd {
    /// Measures all kinds of reports in turn.
    fn costs(&mut self, redis: &mut Redis, portions: usize) -> Result<Costs> {
        self.move_many(redis)?; // from now on as many leave as join
        let [mut full, mut joins, mut leaves, mut rests] = [const { Vec::new() }; 4];
        for portion in 0..portions {
            full.push(redis.cost(|redis| self.move_many(redis))?);
            let from = SINGLES_FROM + portion * SINGLE_CALLS;
            let users = from..from + SINGLE_CALLS;
            joins.push(redis.cost(|redis| self.one_at_a_time(redis, users.clone(), true))?);
            leaves.push(redis.cost(|redis| self.one_at_a_time(redis, users, false))?);
            rests.push(redis.cost(|redis| self.rest(redis, portion))?);
        }
        let minute_us = quickest(&rests).cpu_us * (HEARTBEATS * INSTANCES) as f64 * RESTS;
        let [full, join, leave] = [full, joins, leaves].map(|costs| quickest(&costs));
        Ok(Costs { full, join, leave, minute_us })
    }

    /// Lets all users join. The instances report in turn, so that no lease ends meanwhile.
    fn gather(&mut self, redis: &mut Redis) -> Result<()> {
        let all: Vec<usize> = (0..self.users).collect();
        let shares: Vec<&[usize]> = all.chunks(self.share()).collect();
        for from in (0..self.share()).step_by(ENTRIES_MAX - 1) {
            for (reporter, share) in self.reporters.iter_mut().zip(&shares) {
                let part = share.iter().skip(from).take(ENTRIES_MAX - 1);
                let users = part.map(|user| (user_name(*user), true)).collect();
                reporter.report(redis, &[Group::of_users(0, users)])?;
            }
        }
        Ok(())
    }

    /// The users of each instance; the last one may have fewer.
    fn share(&self) -> usize {
        self.users.div_ceil(INSTANCES)
    }

    fn settle(&mut self, redis: &mut Redis) -> Result<()> {
        self.reporters.iter_mut().try_for_each(|reporter| reporter.settle(redis))
    }

    /// A full report of each instance: other users join, and those leave who joined with its report before.
    fn move_many(&mut self, redis: &mut Redis) -> Result<()> {
        for index in 0..INSTANCES {
            let of = |turn: usize| self.users + turn * MOVING..self.users + (turn + 1) * MOVING;
            let joins = of(self.turn).map(|user| (user_name(user), true));
            let left = self.turn.checked_sub(INSTANCES).into_iter().flat_map(of);
            let users = joins.chain(left.map(|user| (user_name(user), false))).collect();
            self.reporters[index].report(redis, &[Group::of_users(0, users)])?;
            self.turn += 1;
        }
        Ok(())
    }

    /// A report for each of these users, who joins or leaves.
    fn one_at_a_time(
        &mut self,
        redis: &mut Redis,
        users: impl Iterator<Item = usize>,
        is_here: bool,
    ) -> Result<()> {
        for (user, index) in users.zip((0..INSTANCES).cycle()) {
            let users = vec![(user_name(user), is_here)];
            self.reporters[index].report(redis, &[Group::of_users(0, users)])?;
        }
        Ok(())
    }

    /// Heartbeats without news.
    fn rest(&mut self, redis: &mut Redis, portion: usize) -> Result<()> {
        let share = self.share();
        for heartbeat in 0..HEARTBEATS {
            for index in 0..INSTANCES {
                let number = 1 + heartbeat * INSTANCES + index;
                let first = (portion * HEARTBEATS + heartbeat) * SWEPT;
                let users = (first..first + SWEPT).map(|user| index * share + user % share);
                let known = users.filter(|user| *user < self.users);
                let users = known.map(|user| (user_name(user), true)).collect();
                let groups = [Group::of_users(0, users)];
                let reporter = &mut self.reporters[index];
                if number.is_multiple_of(HEARTBEATS * INSTANCES / AUDITS) {
                    reporter.audit(redis, &groups)?;
                } else {
                    reporter.report(redis, &groups)?;
                }
            }
        }
        Ok(())
    }
}
