//! The flags of a peer, which are the same for all peers in Rust. This module never reads the environment.

use std::{net::SocketAddr, time::Duration};

use clap::{Parser, ValueEnum};

/// The flags.
#[derive(Clone, Debug, Parser)]
pub struct Settings {
    /// Where to listen.
    #[arg(long)]
    pub listen: SocketAddr,
    /// When to tell all clients.
    #[arg(long, value_enum, default_value = "merged")]
    pub emit: Emit,
    /// Merged and rested: the shortest time between two emissions, in milliseconds.
    #[arg(long, default_value_t = 50)]
    pub interval_ms: u64,
}

impl Settings {
    /// The shortest time between two emissions.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

/// When all clients are told the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// At every join and every leave, as the lesson does.
    Each,
    /// At most once in an interval; a new client is told at once.
    Merged,
    /// The same, and after every emission a rest of the same length, as the product has. Only the epoll peers can.
    Rested,
}
