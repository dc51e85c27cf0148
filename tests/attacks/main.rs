//! Attacks that a server on the internet must expect. Every test attacks a running instance that also
//! serves 200 well-behaved clients. Their count must stay right and their connections must stay open.
//!
//! The instances, clients and records are the same as in the cluster tests. The tests know nothing of the
//! implementation: they send bytes, and read the documented pages.

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
mod lists;
mod malformed;
mod memory;
mod origins;
mod people;
mod posts;
mod rooms;
mod silent;
mod sizes;
mod slow;
mod tabs;

mod descriptors;

mod drain;
mod metrics;
mod operators;

mod besieged;
