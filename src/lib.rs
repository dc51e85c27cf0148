//! Headcount tells every visitor of a site how many people are online right now, on any number of servers.
//!
//! Most sites run the program, `headcount serve`, and need no Rust code. This library is for applications with their own
//! Socket.IO server, built on [socketioxide](https://docs.rs/socketioxide): they join the same cluster as a [`Member`], and
//! [`socketioxide::count`] counts their sockets.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use headcount::{Member, MemberSettings};
//! use socketioxide::SocketIo;
//!
//! // HEADCOUNT_REDIS_URL names the Redis of the cluster. Without it this application counts for itself.
//! let member = Member::join(MemberSettings::from_env()?).await?;
//! let (layer, io) = SocketIo::new_layer();
//! headcount::socketioxide::count(&io, "/", &member)?;
//! let app: axum::Router = axum::Router::new().layer(layer);
//! // axum::serve(listener, app).await?;
//!
//! assert_eq!(member.count().users, 0);
//! member.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! `docs/embed-in-your-app.md` explains the rest, and `examples/lesson.rs` is a complete application.
//!
//! Everything else that is public is for the program, its tests and its benchmarks. It is hidden here and may change at any
//! time.

pub use cluster::{
    counts::{Counts, UserCount},
    member::{JoinError, Member, MemberFailure},
};
pub use config::{member::MemberSettings, setting::ConfigError};

// The layers, the lowest floor first. A layer imports only from the floors above it in this list, which
// `tests/tidy/layers.rs` checks.

#[doc(hidden)]
pub mod core;
#[doc(hidden)]
pub mod memory;
#[doc(hidden)]
pub mod net;
#[doc(hidden)]
pub mod protocol;
#[doc(hidden)]
pub mod telemetry;

#[doc(hidden)]
pub mod access;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod store;

#[doc(hidden)]
pub mod identity;

#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod engine;
#[doc(hidden)]
pub mod web;

#[doc(hidden)]
pub mod broadcast;
#[doc(hidden)]
pub mod cluster;
#[doc(hidden)]
pub mod http;

#[doc(hidden)]
pub mod ops;
pub mod socketioxide;

#[doc(hidden)]
pub mod server;

#[cfg(test)]
mod fixtures;

#[cfg(doctest)]
#[doc = include_str!("../docs/embed-in-your-app.md")]
struct EmbedInYourApp;
