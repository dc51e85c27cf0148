//! The cluster as its users and operators see it: real `headcount` processes, a real Redis, real clients.
//!
//! Every test has its own Redis and instances on free ports. It ends them by their process ids, and shows
//! their logs only if it fails. The tests know nothing of the implementation. They use only addresses,
//! documented names in Redis, and the protocol.

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
mod lists;
mod people;
mod privacy;
mod proxies;
mod rooms;
mod transports;

mod storm;

mod crashes;
mod drains;
mod farewell;
mod log_lines;
mod moments;
mod names;
mod neighbours;
mod outages;
mod peaks;
mod permissions;
mod rolling;
mod sentinel;
mod service_manager;

mod adapter;

mod lesson;
mod load;
mod output;
mod settings;
mod web;

mod application;
