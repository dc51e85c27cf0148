//! The cost of reports for one real Redis: the product's own script, and beside it the script before there were rooms, in turn;
//! and the cost of presence in a large room, beside layouts that every client refreshes.
//! It prints one line of JSON with the figures. The program that started it started the Redis too, which must be empty and used
//! by nobody else.

mod crowd;
mod entries;
mod layouts;
mod memory;
mod reaping;
mod redis;
mod refreshed;
mod reporter;
mod site;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Parser;
use serde_json::json;

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
    /// Users in one room, for the comparison with other layouts.
    #[arg(long, default_value_t = 1_000_000)]
    crowd: usize,
    /// How many portions of calls every case is measured in. The quickest quarter counts.
    #[arg(long, default_value_t = 40)]
    portions: usize,
}

/// Figures by name; the name ends in the unit.
type Figures = BTreeMap<String, f64>;

/// Figures of the large room, by the layout.
type Presence = BTreeMap<String, Figures>;

fn main() -> Result<()> {
    let settings = Settings::parse();
    let mut redis = Redis::connect(&settings.redis_url)?;
    let (figures, presence) = measure(&mut redis, &settings)?;
    println!("{}", json!({ "figures": figures, "presence": presence }));
    Ok(())
}

fn measure(redis: &mut Redis, settings: &Settings) -> Result<(Figures, Presence)> {
    let (mut figures, mut presence) = (Figures::new(), Presence::new());
    let portions = settings.portions;
    site::measure(redis, portions, &mut figures)?;
    entries::measure(redis, settings.sizes[0], portions, &mut figures)?;
    for (label, size) in ["small", "large"].into_iter().zip(&settings.sizes) {
        memory::measure(redis, label, *size, &mut figures)?;
    }
    reaping::measure(redis, settings.reaped, &mut figures)?;
    crowd::measure(redis, settings.crowd, portions, &mut figures, &mut presence)?;
    refreshed::measure(redis, settings.crowd, portions, &mut presence)?;
    Ok((figures, presence))
}
