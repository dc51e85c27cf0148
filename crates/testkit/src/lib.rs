//! What the tests that start real processes share: servers to start, clients to connect, and ways to look and to wait.
//!
//! It knows the product as a user or an operator does: by its program, its addresses, its documented names in Redis and the
//! wire. It never uses the product's library.
//!
//! - Processes: [`redis_server`], [`sentinel`] and [`sentinel_set`], [`instance`], and a whole [`cluster`] of them on a
//!   [`machine`] that tests share; [`program`] and [`repository`] say where files are.
//! - Between clients and instances: [`balancer`].
//! - Clients: [`client`] keeps to the protocol and [`record`]s what it sees, [`foreign`] ones are real clients that others
//!   wrote, [`raw`] keeps to no protocol, [`http`] asks single questions,
//!   [`event_stream`] reads the public one, and [`redis_client`] asks Redis.
//! - Waiting for something to become true: [`waiting`].

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

pub mod client;
pub mod event_stream;
pub mod foreign;
pub mod http;
pub mod raw;
pub mod record;
pub mod redis_client;

pub mod open_files;
pub mod waiting;
