//! Section `rooms-redis`: what reports cost Redis, with rooms and without, and presence in a large room beside other layouts
//! (`bench/script` is the program); and the commands of an instance that has nothing to say.

use std::{collections::BTreeMap, io::Read, process::Command, thread, time::Duration};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{
    bench::{Bench, INTERVAL},
    clients::as_float,
    process::Process,
    redis::Redis,
    server::{Contender, Program, Server, Terms},
};

/// The section's name.
pub const NAME: &str = "rooms-redis";
/// The size of the comparison of layouts.
pub const CROWD: &str = "users_in_one_room";
/// The instance makes connections, loads scripts, and looks for leases of earlier ones.
const WARM_UP: Duration = Duration::from_secs(4);
/// Over which commands are counted: as long as 20 heartbeats.
const HEARTBEATS: u32 = 20;
const HEARTBEAT: Duration = Duration::from_millis(500);

/// What `bench/script` prints.
#[derive(Deserialize)]
struct Measured {
    /// Figures of the product by name.
    figures: BTreeMap<String, f64>,
    /// Figures of a large room, by the layout.
    presence: BTreeMap<String, BTreeMap<String, f64>>,
}

/// One round.
///
/// # Errors
/// If a program fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    bench.say("reports to Redis, with rooms and without");
    let redis = Redis::start()?;
    let mut command = Command::new(bench.places.release.join("bench-script"));
    command.args(["--redis-url", &format!("redis://{}", redis.address)]);
    let sizes: Vec<String> = bench.plan.stored.iter().map(u64::to_string).collect();
    command.args(["--sizes", &sizes.join(","), "--reaped", &bench.plan.reaped.to_string()]);
    command.args(["--crowd", &bench.plan.crowd.to_string()]);
    command.args(["--portions", &bench.plan.portions.to_string()]);
    let mut process = Process::start(&mut command, "bench-script")?;
    let mut text = String::new();
    process.take_output().context("its output is piped")?.read_to_string(&mut text)?;
    let Measured { mut figures, presence } =
        serde_json::from_str(&text).context("bench-script failed")?;
    figures.insert("heartbeat_commands".to_owned(), heartbeat(bench)?);
    let size = [("rooms", bench.plan.stored[0]), ("rooms_at_most", bench.plan.stored[1])];
    let product = Contender::merged(Program::Headcount);
    bench.record(NAME, &product, &size, &borrowed(&figures));
    let size = [(CROWD, bench.plan.crowd)];
    for (layout, figures) in presence {
        bench.record_of(NAME, layout, &size, &borrowed(&figures));
    }
    Ok(())
}

fn borrowed(figures: &BTreeMap<String, f64>) -> Vec<(&str, f64)> {
    figures.iter().map(|(name, value)| (name.as_str(), *value)).collect()
}

/// The commands that Redis executes in a heartbeat of an instance without clients, those in scripts too.
fn heartbeat(bench: &Bench) -> Result<f64> {
    let mut redis = Redis::start()?;
    let terms = Terms { interval: INTERVAL, redis: Some(redis.address) };
    let product = Contender::merged(Program::Headcount);
    let _server = Server::start(&product, &bench.places, terms)?;
    thread::sleep(WARM_UP);
    let before = redis.work()?;
    thread::sleep(HEARTBEAT * HEARTBEATS);
    let work = redis.work()?.since(&before);
    // One of the two questions is counted.
    Ok(as_float(work.commands - 1) / f64::from(HEARTBEATS))
}
