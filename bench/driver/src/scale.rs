//! Section `scale`: up to a thousand instances without sockets on one Redis (`bench/scale` is the program).
//! It measures their cost for Redis, and how long news takes to reach all of them.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Lines},
    process::{ChildStdout, Command},
};

use anyhow::{Context, Result, bail};

use crate::{
    bench::Bench,
    clients::as_float,
    process::Process,
    redis::Redis,
    server::{Contender, Program},
};

/// The section's name.
pub const NAME: &str = "scale";

/// One round over all sizes.
///
/// # Errors
/// If an instance or Redis fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    for joins in bench.plan.scale_joins.clone() {
        for instances in bench.plan.scale.clone() {
            bench.say(&format!("{instances} instances without sockets, {joins} joins/s on each"));
            let figures = work(bench, instances, joins)?;
            let figures: Vec<_> =
                figures.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            let size = [("instances", instances), ("joins_per_s_each", joins)];
            bench.record(NAME, &Contender::merged(Program::Headcount), &size, &figures);
        }
    }
    Ok(())
}

fn work(bench: &Bench, instances: u64, joins: u64) -> Result<BTreeMap<String, f64>> {
    let mut redis = Redis::start()?;
    let mut command = Command::new(bench.places.release.join("bench-scale"));
    command.args(["--redis-url", &format!("redis://{}", redis.address)]);
    command.args(["--instances", &instances.to_string()]);
    command.args(["--joins-per-second", &joins.to_string()]);
    command.args(["--seconds", &bench.plan.scale_seconds.to_string()]);
    let mut process = Process::start(&mut command, "bench-scale")?;
    let output = process.take_output().context("its output is piped")?;
    let mut lines = BufReader::new(output).lines();
    let steady = line(&mut lines, &mut process)?;
    if steady != "steady" {
        bail!("bench-scale said: {steady}");
    }
    let (before, own) = (redis.work()?, process.cpu()?);
    let record = line(&mut lines, &mut process)?;
    // The last seconds are quiet, until the last news has reached all instances.
    let work = redis.work()?.since(&before);
    let mut figures: BTreeMap<String, f64> =
        serde_json::from_str(&record).with_context(|| format!("bench-scale said: {record}"))?;
    let seconds = figures.remove("observed_s").context("bench-scale does not say how long")?;
    let share = |cpu: std::time::Duration| cpu.as_secs_f64() / seconds * 100.0;
    figures.insert("redis_cpu_percent".to_owned(), share(work.cpu));
    figures.insert("commands_per_s".to_owned(), as_float(work.commands) / seconds);
    figures.insert("sent_bytes_per_s".to_owned(), as_float(work.sent_bytes) / seconds);
    figures.insert("received_bytes_per_s".to_owned(), as_float(work.received_bytes) / seconds);
    let used = process.cpu().map(|cpu| cpu.total.saturating_sub(own.total)).unwrap_or_default();
    figures.insert("simulator_cpu_percent".to_owned(), share(used));
    Ok(figures)
}

fn line(lines: &mut Lines<BufReader<ChildStdout>>, process: &mut Process) -> Result<String> {
    match lines.next() {
        Some(line) => Ok(line?),
        None => {
            process.check()?;
            bail!("bench-scale ended without a word")
        }
    }
}
