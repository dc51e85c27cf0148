//! Who may come in, and how much of anything a client may have: the operators' token, web origins, permits
//! for sessions, rates.

pub mod admin_token;
pub mod origin;
pub mod permits;
pub mod rate_limit;
pub mod rooms;
