//! The cost of reports for one real Redis: the product's own script, and beside it the script before there were rooms, in turn.
//! It prints one line of JSON with the figures. The program that started it started the Redis too, which must be empty and used
//! by nobody else.

mod entries;
mod memory;
mod reaping;
mod redis;
mod reporter;
mod site;

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Parser;

use crate::redis::Redis;

/// The flags.
#[derive(Debug, Parser)]
struct Settings {
    /// The Redis, as `redis://host:port`.
    #[arg(long)]
    redis_url: String,
    /// Rooms and users in the small and in the large store.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 200_000])]
    sizes: Vec<usize>,
    /// Entries of an instance that dies.
    #[arg(long, default_value_t = 50_000)]
    reaped: usize,
    /// How many portions of calls every case is measured in. The quickest quarter counts.
    #[arg(long, default_value_t = 40)]
    portions: usize,
}

/// Figures by name; the name ends in the unit.
type Figures = BTreeMap<String, f64>;

fn main() -> Result<()> {
    let settings = Settings::parse();
    let mut redis = Redis::connect(&settings.redis_url)?;
    let mut figures = Figures::new();
    site::measure(&mut redis, settings.portions, &mut figures)?;
    entries::measure(&mut redis, settings.sizes[0], settings.portions, &mut figures)?;
    for (label, size) in ["small", "large"].into_iter().zip(&settings.sizes) {
        memory::measure(&mut redis, label, *size, &mut figures)?;
    }
    reaping::measure(&mut redis, settings.reaped, &mut figures)?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
