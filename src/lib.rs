//! Headcount tells every visitor of a site how many people are online right now, on any number of servers.
//!
//! Data moves one way round:
//!
//! ```text
//!  browser ──connect──▶ sockets ──▶ tally ──changed──▶ reporter ──report──▶ store (Redis | embedded)
//!     ▲                             (local count)          ▲  │ reply            │ announcement
//!     │                                                    │  ▼                  ▼
//!     └────────── broadcaster ◀──────────── view ◀─────────┴──────── announcements (pub/sub)
//!  http: reads the view and the metrics, never writes
//! ```
//!
//! Every hop holds only the latest value, so a burst costs memory and messages in proportion to time, not to
//! events. The modules are listed in reading order: first the pure heart, which knows no clock and no I/O, then
//! the store, the tasks of the ring, what touches the network, and last what puts everything together.

pub mod count;
pub mod tally;
pub mod view;

pub mod frame;
pub mod handshake;
pub mod inlet;
pub mod origin;
pub mod outlet;
pub mod pace;
pub mod packet;
pub mod rate;
pub mod sweep;

pub mod store;

pub mod reporter;

pub mod announcements;

pub mod cluster;

pub mod connection;
pub mod pings;
pub mod session;
pub mod stay;
pub mod stragglers;

pub mod admission;
pub mod library;
pub mod websocket;

pub mod gate;
pub mod handover;
pub mod listener;

pub mod broadcaster;
pub mod sockets;

pub mod web;

pub mod socketioxide;

pub mod admin;
pub mod metrics;

pub mod config;

pub mod drain;
pub mod memory;
pub mod server;

pub mod health;
pub mod load;
pub mod status;

pub use cluster::member::{Counts, JoinError, Member, MemberFailure, UserCount};
pub use config::{ConfigError, MemberSettings};

#[cfg(test)]
mod mangled;
