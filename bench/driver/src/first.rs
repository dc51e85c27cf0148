//! Section `first`: from the TCP connect to the first count. The new visitors are in a process of their own, so that they do not
//! wait for the crowd that is told of them; the three instances share one Redis.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    bench::Bench,
    churn::{Churn, Leaver},
    clients::as_float,
    crowd::Crowd,
    latency::{Filled, PATIENCE, QUIET, distribution, fill, quantile},
    process::Process,
    server::{Contender, Program},
    visitor::Way,
};

/// The section's name.
pub const NAME: &str = "first";

/// One round over all rates and contenders.
///
/// # Errors
/// If the product fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    for joins in bench.plan.churns.clone() {
        for contender in bench.contenders(vec![Contender::merged(Program::Node)]) {
            let visitors = bench.plan.visitors;
            bench.say(&format!("first counts: {joins} joins/s, {}", contender.name()));
            let figures = measure(bench, &contender, joins);
            let size = [("joins_per_s", joins), ("clients", visitors)];
            bench.keep(NAME, &contender, &size, figures)?;
        }
    }
    Ok(())
}

fn measure(bench: &Bench, contender: &Contender, joins: u64) -> Result<Vec<(&'static str, f64)>> {
    let Filled { redis: _redis, servers, mut crowd } = fill(bench, contender)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["come", &joins.to_string(), &bench.plan.churn_seconds.to_string()]);
    command.args(servers.iter().map(|server| server.address.to_string()));
    let mut process = Process::start(&mut command, "a process with new visitors")?;
    let output = process.take_output().context("its output is piped")?;
    let said = std::thread::spawn(move || BufReader::new(output).lines().next());
    while !said.is_finished() {
        crowd.stay(Duration::from_millis(20))?;
    }
    let line = said.join().ok().flatten().context("the new visitors said nothing")??;
    let mut words = line.split_whitespace().map(str::parse::<f64>);
    let mut figure =
        || words.next().context("the new visitors said too little")?.context("no number");
    Ok(vec![
        ("p50_ms", figure()?),
        ("p99_ms", figure()?),
        ("told", figure()?),
        ("untold", figure()?),
        ("lost", as_float(crowd.heard.lost)),
    ])
}

/// The process with the new visitors: prints the median and p99 of their waits in milliseconds, and how many were told a count
/// and how many were not.
///
/// # Errors
/// If a socket cannot be opened.
pub fn come(joins: u64, seconds: u64, servers: &[SocketAddr]) -> Result<()> {
    let mut crowd = Crowd::new(Way::Websocket)?;
    let time = Duration::from_secs(seconds);
    let churn = Churn { joins_per_second: joins, time, leaver: Leaver::Oldest };
    let came = churn.run(&mut crowd, servers, &mut VecDeque::new())?;
    crowd.until_quiet(QUIET, PATIENCE)?;
    let waits = crowd.take_full_waits();
    let told = waits.len() as u64;
    let waits = distribution(&waits)?;
    println!("{} {} {told} {}", quantile(&waits, 0.5), quantile(&waits, 0.99), came - told);
    Ok(())
}
