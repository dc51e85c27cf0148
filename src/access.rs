//! Who may come in, and how much of anything a client may have: web origins, permits for sessions, rates.

pub mod origin;
pub mod permits;
pub mod rate_limit;
