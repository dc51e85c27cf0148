//! Sockets: where connections enter, and one that was accepted. Nothing here knows what is said on them.

pub mod connection;
pub mod listener;
