//! What a store says of itself, for operators. Plain data; nothing is decided by it.

use std::time::Duration;

use crate::telemetry::escaped::Escaped;

/// What a store says of itself. Text of the server is escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFacts {
    /// The program and its version, such as `Redis 7.0.15`.
    pub program: Escaped,
    /// What it is among others of its kind.
    pub role: StoreRole,
    /// How long it has been running.
    pub up: Duration,
    /// Memory in use, in bytes.
    pub memory_used: u64,
    /// The most memory that it may use, in bytes; `None` if there is no limit.
    pub memory_max: Option<u64>,
}

/// What a server is among others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRole {
    /// It takes writes. Holds the number of its replicas.
    Primary(u64),
    /// It copies another server.
    Replica,
}
