//! Who may come in, and how much of anything a client may have: the operators' token and the names of their console, web origins, permits
//! for sessions, rates.

pub mod admin_hosts;
pub mod admin_token;
pub mod guesses;
pub mod origin;
pub mod permits;
pub mod rate_limit;
pub mod rooms;
