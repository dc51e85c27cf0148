//! Reports of the site alone, by both scripts in turn.

use std::thread;

use anyhow::Result;

use crate::{
    Figures,
    redis::{Cost, Redis, quickest},
    reporter::{Reporter, Script},
};

/// Calls in one portion: few enough that many portions are undisturbed.
const CALLS: usize = 50;
/// Audits, which run three times in a lease, are part of the mean cost.
const LEASE_MS: u64 = 20_000;
/// Subscribers of each channel where there are any.
const SUBSCRIBERS: usize = 4;

/// Measures all cases.
///
/// # Errors
/// If a report fails.
pub fn measure(redis: &mut Redis, portions: usize, figures: &mut Figures) -> Result<()> {
    let scripts = [Script::of_product(redis)?, Script::before_rooms(redis)?];
    for has_subscribers in [false, true] {
        for script in &scripts {
            if has_subscribers {
                (0..SUBSCRIBERS).try_for_each(|_| subscribe(redis, &script.channel))?;
            }
        }
        for instances in [1, 20] {
            for is_changing in [false, true] {
                let subscribed = if has_subscribers { "_subscribed" } else { "" };
                let change = if is_changing { "changing" } else { "same" };
                let case = format!("site_{instances}_{change}{subscribed}");
                let [now, before] = in_turn(redis, &scripts, instances, is_changing, portions)?;
                figures.insert(format!("{case}_us"), now.script_us);
                figures.insert(format!("{case}_before_us"), before.script_us);
                figures.insert(format!("{case}_ratio"), now.script_us / before.script_us);
                figures.insert(format!("{case}_cpu_ratio"), now.cpu_us / before.cpu_us);
            }
        }
    }
    Ok(())
}

/// The cost of one call of each script.
fn in_turn(
    redis: &mut Redis,
    scripts: &[Script; 2],
    instances: usize,
    is_changing: bool,
    portions: usize,
) -> Result<[Cost; 2]> {
    redis.clear()?;
    let all = |script| (0..instances).map(|number| Reporter::new(script, number)).collect();
    let mut reporters: [Vec<Reporter>; 2] = scripts.each_ref().map(all);
    // As long as that of the product would be too short for a busy machine.
    reporters.iter_mut().flatten().for_each(|reporter| reporter.lease_ms = LEASE_MS);
    let mut costs = [Vec::new(), Vec::new()];
    for portion in 0..portions + 2 {
        for (reporters, costs) in reporters.iter_mut().zip(&mut costs) {
            let cost = redis.cost(|redis| some_reports(redis, reporters, is_changing))?;
            // In the first ones the instances are new.
            if portion >= 2 {
                costs.push(cost);
            }
        }
    }
    Ok(costs.map(|costs| quickest(&costs)))
}

fn some_reports(redis: &mut Redis, reporters: &mut [Reporter], is_changing: bool) -> Result<()> {
    let instances = reporters.len();
    for call in 0..CALLS {
        let reporter = &mut reporters[call % instances];
        if is_changing {
            reporter.users = 10 + (reporter.users + 1) % 7;
        }
        reporter.report(redis, &[])?;
    }
    Ok(())
}

/// Somebody who hears the channel for as long as the Redis runs.
fn subscribe(redis: &Redis, channel: &str) -> Result<()> {
    let mut connection = redis.another()?;
    let channel = channel.to_owned();
    thread::spawn(move || {
        let mut heard = connection.as_pubsub();
        heard.subscribe(channel)?;
        loop {
            heard.get_message()?;
        }
        #[expect(unreachable_code, reason = "it gives the closure its type")]
        Ok::<(), redis::RedisError>(())
    });
    Ok(())
}
