//! How a peer is started: the same flags for all peers in Rust. It never reads the environment.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, ValueEnum};

/// The flags.
#[derive(Clone, Debug, Parser)]
pub struct Settings {
    /// Where to listen.
    #[arg(long)]
    pub listen: SocketAddr,
    /// When to tell everybody.
    #[arg(long, value_enum, default_value = "merged")]
    pub emit: Emit,
    /// Merged: the least time between two emissions, in milliseconds.
    #[arg(long, default_value_t = 50)]
    pub interval_ms: u64,
}

impl Settings {
    /// The least time between two emissions.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

/// When everybody is told the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// At each join and each leave, as the lesson does.
    Each,
    /// At most once an interval; a newcomer is told at once.
    Merged,
}
