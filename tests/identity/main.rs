//! Tokens and keys that others made, and servers that others run: what Headcount verifies must be what the usual libraries and
//! programs issue.
//!
//! The servers are on free ports of this machine. They are ended by their process ids.

#![allow(clippy::unwrap_used, reason = "what cannot be prepared for a test fails the test")]
#![allow(
    clippy::disallowed_methods,
    reason = "the rules on tasks and on the environment are the program's, not its tests'"
)]

mod documented;
mod interoperability;
mod issuers;
mod tls;

mod server;
mod setup;
