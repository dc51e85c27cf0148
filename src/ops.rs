//! What operators use of a running instance: the admin listener, and the drain when it stops.

pub mod admin;
pub mod drain;
