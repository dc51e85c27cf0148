//! HTTP connections, and Socket.IO's endpoint. Pages and the API are in [`crate::web`].
//!
//! ```text
//!  connection ──▶ fast path ──plain requests to the endpoint──▶ engine
//!                     │ anything else                            ▲
//!                     ▼                                          │
//!                 HTTP server ──▶ router ──▶ endpoint ───────────┘
//! ```

pub mod answer;
pub mod endpoint;
pub mod fast_path;
mod idle;
pub mod serve;
pub mod timeouts;
