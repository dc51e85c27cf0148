//! What every store must do, tested on both stores. What the script of the Redis store must do, tested under
//! virtual time and with each of its rules broken in turn. How the Redis store handles faults of a real
//! server.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may panic, print, sleep between two looks, and read the environment"
)]

mod commands;
mod contract;
mod entries;
mod facts;
mod faults;
mod peaks;
mod redis_rooms;
mod repeats;
mod roster;
mod script;
mod sentinel;
mod setup;
mod tls;
