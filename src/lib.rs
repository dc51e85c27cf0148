//! Headcount tells every visitor of a site how many people are online right now, on any number of servers.
//!
//! Most sites run the program, `headcount serve`, and need no line of Rust. This library is for applications that have a
//! Socket.IO server of their own, built on [socketioxide](https://docs.rs/socketioxide): they join the same cluster as a
//! [`Member`], and have their sockets counted by [`socketioxide::count`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use headcount::{Member, MemberSettings};
//! use socketioxide::SocketIo;
//!
//! // HEADCOUNT_REDIS_URL says where the others are; without it this application counts for itself.
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
//! `docs/embed-in-your-app.md` tells the rest, and `examples/lesson.rs` is a whole application.
//!
//! All else that is public serves the program, its tests and its benchmarks, is hidden here, and may change at any time.

pub mod socketioxide;

pub use cluster::{
    counts::{Counts, UserCount},
    member::{JoinError, Member, MemberFailure},
};
pub use config::{ConfigError, MemberSettings};

// The parts, in reading order: first the pure ones, which know no clock and no I/O, then the store, the tasks that share the
// count, what touches the network, and last what puts everything together.

#[doc(hidden)]
pub mod escaped;

#[doc(hidden)]
pub mod count;
#[doc(hidden)]
pub mod tally;
#[doc(hidden)]
pub mod view;

#[doc(hidden)]
pub mod log_limit;
#[doc(hidden)]
pub mod origin;
#[doc(hidden)]
pub mod pace;
#[doc(hidden)]
pub mod protocol;
#[doc(hidden)]
pub mod rate;
#[doc(hidden)]
pub mod sweep;

#[doc(hidden)]
pub mod store;

#[doc(hidden)]
pub mod observer;
#[doc(hidden)]
pub mod reporter;

#[doc(hidden)]
pub mod announcements;

#[doc(hidden)]
pub mod metrics;

#[doc(hidden)]
pub mod cluster;

#[doc(hidden)]
pub mod net;

#[doc(hidden)]
pub mod memory;
#[doc(hidden)]
pub mod places;

#[doc(hidden)]
pub mod engine;

#[doc(hidden)]
pub mod broadcast;

#[doc(hidden)]
pub mod web;

#[doc(hidden)]
pub mod http;

#[doc(hidden)]
pub mod admin;

#[doc(hidden)]
pub mod config;

#[doc(hidden)]
pub mod drain;
#[doc(hidden)]
pub mod logging;
#[doc(hidden)]
pub mod server;

#[doc(hidden)]
pub mod health;
#[doc(hidden)]
pub mod status;

#[cfg(test)]
mod mangled {
    pub(crate) use headcount_mutate::{mutated as mangled, mutated_text as mangled_text};
}

#[cfg(doctest)]
#[doc = include_str!("../docs/embed-in-your-app.md")]
struct EmbedInYourApp;
