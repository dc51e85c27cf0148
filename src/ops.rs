//! What operators use of a running instance: the admin listener, what the service manager is told, and the drain
//! when it stops.

pub mod admin;
pub mod drain;
pub mod notify;
