//! Many instances of the product without their sockets, in one process, on one real Redis. The reporters, the
//! subscribers to announcements and the tallies are the product's own code.
//!
//! It prints "steady" once all instances know each other, and at the end one line of JSON with the results.
//! Then it waits for its standard input to end. The program that started it measures the cost for Redis.

mod cluster;
mod instance;
mod record;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use cluster::Cluster;

/// The flags.
#[derive(Debug, Parser)]
struct Settings {
    /// The Redis, as `redis://host:port`.
    #[arg(long)]
    redis_url: String,
    /// The number of instances.
    #[arg(long, default_value_t = 10)]
    instances: u32,
    /// Joins a second on every instance, and as many leaves.
    #[arg(long, default_value_t = 5)]
    joins_per_second: u32,
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::parse();
    rlimit::increase_nofile_limit(u64::MAX).context("failed to raise the file limit")?;
    let mut cluster = Cluster::start(&settings.redis_url, settings.instances)?;
    cluster.until_complete().await?;
    println!("steady");
    let time = Duration::from_secs(settings.seconds);
    let record = cluster.bustle(settings.joins_per_second, time).await?;
    println!("{}", record.to_json());
    // The CPU time of this process can be read from outside only while it exists.
    drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    Ok(())
}
