//! The memory that rooms, instances and users take in Redis.

use anyhow::Result;

use crate::{
    Figures,
    redis::Redis,
    reporter::{ENTRIES_MAX, Group, Reporter, Script, user_name},
};

/// Measures it with this number of rooms, and of users in one room.
///
/// # Errors
/// If a report fails.
pub fn measure(redis: &mut Redis, label: &str, size: usize, figures: &mut Figures) -> Result<()> {
    let script = Script::of_product(redis)?;
    redis.clear()?;
    let all: Vec<usize> = (0..size).collect();
    let mut former = None;
    for (number, name) in ["room", "instance"].into_iter().enumerate() {
        let mut reporter = Reporter::new(&script, number);
        reporter.settle(redis)?;
        let before = redis.used_bytes()?;
        for rooms in all.chunks(ENTRIES_MAX) {
            let groups: Vec<_> = rooms.iter().map(|room| Group::of_connections(*room, 1)).collect();
            reporter.report(redis, &groups)?;
        }
        reporter.settle(redis)?;
        figures
            .insert(format!("{name}_{label}_bytes"), (redis.used_bytes()? - before) / size as f64);
        // Its lease must not end before the measurement does.
        former = former.or(Some(reporter));
    }
    redis.clear()?;
    let mut reporter = Reporter::new(&script, 9);
    reporter.settle(redis)?;
    let before = redis.used_bytes()?;
    for users in all.chunks(ENTRIES_MAX - 1) {
        let users = users.iter().map(|user| (user_name(*user), true)).collect();
        reporter.report(redis, &[Group::of_users(0, users)])?;
    }
    reporter.settle(redis)?;
    figures.insert(format!("user_{label}_bytes"), (redis.used_bytes()? - before) / size as f64);
    Ok(())
}
