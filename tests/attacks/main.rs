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
