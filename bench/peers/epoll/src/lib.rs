//! A server that does nothing but what the count needs: the limit beside which all others are measured.
//!
//! It owns a minimal Socket.IO handshake and one epoll loop. It never checks what a client sends beyond what
//! the benchmark's own clients need, knows no timeouts, and must not be shown to a network.

pub mod client;
pub mod pace;
pub mod server;
pub mod settings;
pub mod wire;
