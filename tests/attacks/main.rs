//! What the internet does to a server that is put on it: every test attacks a running instance beside 200
//! well-behaved clients, whose count must stay right and whose connections must stay open.
//!
//! It shares its instances, clients and records with the cluster tests, and knows as little of the inside:
//! what it sends is bytes, what it asks are the documented pages.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "measured times and the logs of a failed test are for the reader of the test's output"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the rules on tasks and on the environment are the program's, not its tests'"
)]

mod floods;
mod footprint;
mod handshakes;
mod malformed;
mod memory;
mod origins;
mod posts;
mod silent;
mod sizes;
mod slow;
mod tabs;

mod descriptors;

mod drain;
mod metrics;
mod operators;

mod besieged;
#[path = "../../crates/testkit/src/raw.rs"]
mod raw;

#[path = "../../crates/testkit/src/balancer.rs"]
mod balancer;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../crates/testkit/src/client.rs"]
mod client;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../crates/testkit/src/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../crates/testkit/src/foreign.rs"]
mod foreign;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../crates/testkit/src/http.rs"]
mod http;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../crates/testkit/src/instance.rs"]
mod instance;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../crates/testkit/src/outsider.rs"]
mod outsider;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../crates/testkit/src/record.rs"]
mod record;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../crates/testkit/src/redis_server.rs"]
mod redis_server;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../crates/testkit/src/waiting.rs"]
mod waiting;
