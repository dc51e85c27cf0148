//! A server that does only what the count needs: the limit against which all others are measured.
//!
//! It owns a minimal Socket.IO handshake and one epoll loop. It checks only what the benchmark's own
//! clients send, has no timeouts, and must not be used on a network.

pub mod client;
pub mod pace;
pub mod rooms;
pub mod server;
pub mod settings;
pub mod wire;
