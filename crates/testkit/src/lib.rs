//! Shared parts of the tests that start real processes: servers, clients, and ways to observe and to wait.
//!
//! It knows the product as a user or an operator does: its program, its addresses, its documented names in Redis and its
//! protocol. It never uses the product's library.
//!
//! - Processes: [`redis_server`], [`sentinel`] and [`sentinel_set`], [`instance`], and a whole [`cluster`] of them on a
//!   [`machine`] that tests share; [`program`] and [`repository`] say where files are.
//! - Between clients and instances: [`balancer`]; [`certificates`] of servers.
//! - Clients: [`client`] follows the protocol and [`record`]s what it sees, and so does one in several [`rooms`]; [`foreign`] runs third-party clients,
//!   [`raw`] follows no protocol, [`http`] sends single requests, [`event_stream`] reads the public stream, and
//!   [`redis_client`] asks Redis. [`tokens`] says who they are.
//! - Waiting for a condition: [`waiting`].

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the logs of a failed test are for the reader of the test's output"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the rules on tasks and on the environment are the program's, not its tests'"
)]

pub mod redis_server;
pub mod sentinel;
pub mod sentinel_set;

pub mod instance;
pub mod program;
pub mod repository;

pub mod cluster;
pub mod machine;

pub mod balancer;
pub mod certificates;

pub mod client;
pub mod event_stream;
pub mod foreign;
pub mod http;
pub mod raw;
pub mod record;
pub mod redis_client;
pub mod rooms;
pub mod tokens;
pub mod users;

pub mod open_files;
pub mod waiting;
