//! What the program's subcommands need beside the server: asking an instance or the store, signals, and the terminal.

pub mod health;
pub mod signals;
pub mod status;
pub mod terminal;
