//! The cluster as its users and operators see it: real `headcount` processes, a real Redis, real clients.
//!
//! Every test has a Redis and instances of its own on free ports, ends them by their ids, and shows their
//! logs only if it fails. Nothing here looks into the program: its addresses, its documented names in Redis
//! and the wire are all it knows.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "measured times and the logs of a failed test are for the reader of the test's output"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the rules on tasks and on the environment are the program's, not its tests'"
)]

mod behind;
mod conformance;
mod counting;
mod handshakes;
mod proxies;
mod transports;

mod storm;

mod crashes;
mod farewell;
mod log_lines;
mod names;
mod neighbours;
mod outages;
mod permissions;
mod sentinel;

mod adapter;

mod lesson;
mod load;
mod output;
mod settings;
mod web;

mod application;
mod cluster;
mod instance;
mod outsider;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../support/redis_server.rs"]
mod redis_server;
#[path = "../support/sentinel_set.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod sentinel_set;

mod balancer;
mod client;
mod foreign;

mod http;
#[allow(dead_code, reason = "attacks, another test program, use the rest of it")]
#[path = "../attacks/raw.rs"]
mod raw;
mod record;
mod waiting;
