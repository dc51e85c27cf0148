//! A minimal client of Engine.IO 4 and Socket.IO 5: it supports exactly what a visitor of Headcount needs. It is written
//! for many clients in one process: a waiting client takes some hundred bytes and no buffers.
//!
//! ```text
//!             session            transport: polling, websocket, or from one to the other
//!        ┌───────┴───────┐
//!     polling        websocket                                        (feature "transport": tokio)
//!        └───────┬───────┘
//!           connection           bytes of one TCP connection
//! ───────────────┼──────────────────────────────────────────────────────────────────────────────────
//!             request            which requests carry a session             (no I/O, no clock)
//!        ┌───────┼───────┐
//!      http    frame   packet    bytes in, values out
//!                        auth      who joins
//! ```
//!
//! The lower half does no I/O. A program with its own sockets can use it alone, without the feature `transport`. All
//! decoders take the bytes that have arrived so far, and return the first value in them; see [`Decoded`]. This crate uses
//! nothing of the server's code, and nothing that a server sends causes a panic.
//!
//! It is strict: everything outside the contract between Headcount and its clients is an [`Error`], and is never
//! corrected. It cannot send what an attacker would send.

pub mod auth;
pub mod error;
pub mod packet;

pub mod frame;
pub mod http;
pub mod request;

#[cfg(feature = "transport")]
pub mod connection;
#[cfg(feature = "transport")]
pub mod polling;
#[cfg(feature = "transport")]
pub mod session;
#[cfg(feature = "transport")]
pub mod websocket;

pub use error::Error;
pub use packet::Packet;
#[cfg(feature = "transport")]
pub use session::{Event, Session, Transport};

/// The first value in the received bytes and its length in bytes, or `None` while it is incomplete.
pub type Decoded<T> = Result<Option<(T, usize)>, Error>;
