//! Section `redis`: the cost of the cluster for its Redis, by joins a second and by instances. Visitors leave
//! as soon as they were told a count, so that the servers have little other work.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use anyhow::Result;

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
pub const NAME: &str = "redis";
/// The wait before measuring: connections are made, scripts are loaded, and leases of earlier instances are
/// looked for.
const WARM_UP: Duration = Duration::from_secs(2);

/// One round over all rates, sizes and contenders.
///
/// # Errors
/// If a server fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    for instances in bench.plan.instances.clone() {
        for joins in bench.plan.joins.clone() {
            let peers = vec![Contender::merged(Program::Node), Contender::each(Program::Node)];
            for contender in bench.contenders(peers) {
                let name = contender.name();
                bench.say(&format!("{instances} instances of {name}, {joins} joins/s"));
                let figures = work(bench, &contender, instances, joins);
                let size = [("instances", instances), ("joins_per_s", joins)];
                bench.keep(NAME, &contender, &size, figures)?;
            }
        }
    }
    Ok(())
}

fn work(
    bench: &Bench,
    contender: &Contender,
    instances: u64,
    joins: u64,
) -> Result<Vec<(&'static str, f64)>> {
    let mut redis = Redis::start()?;
    let terms = Terms { interval: INTERVAL, redis: Some(redis.address) };
    let start = |_| Server::start(contender, &bench.places, terms);
    let servers = (0..instances).map(start).collect::<Result<Vec<_>>>()?;
    let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
    let mut crowd = Crowd::new(Way::Websocket)?;
    let mut churn = Churn { joins_per_second: joins, time: WARM_UP, leaver: Leaver::Newcomer };
    churn.run(&mut crowd, &addresses, &mut VecDeque::new())?;
    churn.time = Duration::from_secs(bench.plan.churn_seconds) / 2;
    let before = redis.work()?;
    drop(crowd.take_waits());
    churn.run(&mut crowd, &addresses, &mut VecDeque::new())?;
    let told = crowd.take_waits().len() as u64;
    let work = redis.work()?.since(&before);
    let seconds = churn.time.as_secs_f64();
    Ok(vec![
        ("commands_per_s", as_float(work.commands) / seconds),
        ("cpu_percent", work.cpu.as_secs_f64() / seconds * 100.0),
        ("received_bytes_per_s", as_float(work.received_bytes) / seconds),
        ("sent_bytes_per_s", as_float(work.sent_bytes) / seconds),
        ("cpu_us_per_join", work.cpu.as_secs_f64() * 1e6 / as_float(told.max(1))),
        ("told_per_s", as_float(told) / seconds),
    ])
}
