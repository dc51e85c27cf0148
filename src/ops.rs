//! What operators use of a running instance: the admin listener with its console, what the service manager is told, and the drain
//! when it stops.

pub mod admin;
pub mod console;
pub mod drain;
mod drift;
mod names;
pub mod notify;
mod runbook;
pub mod sign_in;
