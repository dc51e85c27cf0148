//! Headcount tells every visitor of a site how many people are online right now, on any number of servers.
//!
//! Data moves one way round:
//!
//! ```text
//!  browser ──connect──▶ engine  ──▶ tally ──changed──▶ reporter ──report──▶ store (Redis | embedded)
//!     ▲                             (local count)          ▲  │ reply            │ announcement
//!     │                                                    │  ▼                  ▼
//!     └────────── broadcaster ◀──────────── view ◀─────────┴──────── announcements (pub/sub)
//!  tally ──observer──▶ view: the local count, whether or not anybody reports
//!  http: reads the view and the metrics, never writes
//! ```
//!
//! Every hop holds only the latest value, so a burst costs memory and messages in proportion to time, not to
//! events. The modules are listed in reading order: first the pure heart, which knows no clock and no I/O, then
//! the store, the tasks of the ring, what touches the network, and last what puts everything together.

pub mod count;
pub mod tally;
pub mod view;

pub mod origin;
pub mod pace;
pub mod protocol;
pub mod rate;
pub mod sweep;

pub mod store;

pub mod observer;
pub mod reporter;

pub mod announcements;

pub mod metrics;

pub mod net;

pub mod engine;

pub mod broadcast;

pub mod web;

pub mod http;

pub mod admin;

pub mod config;

pub mod drain;
pub mod logging;
pub mod memory;
pub mod server;

pub mod health;
pub mod load;
pub mod status;

#[cfg(test)]
mod mangled;
