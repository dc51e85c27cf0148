//! Section `latency`: three instances on one Redis with a steady rate of joins and leaves. It measures how
//! long a new visitor waits for its first count, what all the emissions cost, and how many visitors have a
//! wrong number at the end.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::{
    bench::{Bench, INTERVAL},
    churn::{Churn, Leaver},
    clients::as_float,
    crowd::Crowd,
    redis::Redis,
    server::{Contender, Program, Server, Terms},
    visitor::Way,
};

/// The section's name.
pub const NAME: &str = "latency";
const INSTANCES: usize = 3;
/// Few at a time: these joins are not measured.
const WINDOW: usize = 32;
/// A run is over when no count has come for this long.
pub const QUIET: Duration = Duration::from_secs(1);
/// A cluster that is still sending after this time has collapsed, and that is the finding.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One round over all rates and contenders.
///
/// # Errors
/// If a server fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    for joins in bench.plan.churns.clone() {
        let mut peers = vec![Contender::merged(Program::Node)];
        if joins <= bench.plan.churn_each_max {
            peers.push(Contender::each(Program::Node));
        }
        for contender in bench.contenders(peers) {
            let visitors = bench.plan.visitors;
            bench.say(&format!("{visitors} visitors, {joins} joins/s, {}", contender.name()));
            let figures = churn(bench, &contender, joins);
            let size = [("joins_per_s", joins), ("clients", visitors)];
            bench.keep(NAME, &contender, &size, figures)?;
        }
    }
    Ok(())
}

fn churn(bench: &Bench, contender: &Contender, joins: u64) -> Result<Vec<(&'static str, f64)>> {
    let Filled { redis: _redis, servers, mut crowd } = fill(bench, contender)?;
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let mut standing: VecDeque<_> = crowd.take_arrivals().into();
    drop(crowd.take_waits());
    let (counts, cpu) = (crowd.heard.counts, used(&servers)?);
    let time = Duration::from_secs(bench.plan.churn_seconds);
    let churn = Churn { joins_per_second: joins, time, leaver: Leaver::Oldest };
    let joined = churn.run(&mut crowd, &addresses, &mut standing)?;
    crowd.until_quiet(QUIET, PATIENCE)?;
    let used = used(&servers)?.saturating_sub(cpu);
    let waits = distribution(&crowd.take_waits())?;
    let told = crowd.told() as u64;
    Ok(vec![
        ("p50_ms", quantile(&waits, 0.5)),
        ("p99_ms", quantile(&waits, 0.99)),
        ("p999_ms", quantile(&waits, 0.999)),
        ("joins", as_float(joined)),
        ("cpu_s", used.as_secs_f64()),
        ("counts", as_float(crowd.heard.counts - counts)),
        ("wrong_at_the_end", as_float(crowd.disagreeing(told) as u64)),
    ])
}

/// Three instances on one Redis, and the visitors that are there before any is measured.
#[derive(Debug)]
pub struct Filled {
    /// The visitors.
    pub crowd: Crowd,
    /// The instances.
    pub servers: Vec<Server>,
    /// What the instances share.
    pub redis: Redis,
}

/// Starts the instances, and lets the visitors of the plan join them.
///
/// # Errors
/// If a server fails.
pub fn fill(bench: &Bench, contender: &Contender) -> Result<Filled> {
    let redis = Redis::start()?;
    let terms = Terms { interval: INTERVAL, redis: Some(redis.address) };
    let start = |_| Server::start(contender, &bench.places, terms);
    let servers = (0..INSTANCES).map(start).collect::<Result<Vec<_>>>()?;
    let mut crowd = Crowd::new(Way::Websocket)?;
    let share = usize::try_from(bench.plan.visitors)? / INSTANCES;
    for server in &servers {
        crowd.join_many(server.address, share, WINDOW)?;
    }
    crowd.until_quiet(QUIET, PATIENCE).context("while the first visitors came")?;
    Ok(Filled { crowd, servers, redis })
}

fn used(servers: &[Server]) -> Result<Duration> {
    servers.iter().map(|server| Ok(server.process.cpu()?.total)).sum()
}

/// A distribution of waits: in microseconds, with three significant digits.
///
/// # Errors
/// If a wait is too long to be counted.
pub fn distribution(waits: &[Duration]) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new(3)?;
    for wait in waits {
        histogram.record(u64::try_from(wait.as_micros())?)?;
    }
    Ok(histogram)
}

/// A quantile in milliseconds.
pub fn quantile(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    as_float(histogram.value_at_quantile(quantile)) / 1e3
}
