//! The subcommands for operators: they ask an instance or the store, and change nothing.

pub mod health;
pub mod status;
