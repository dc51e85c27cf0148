//! A minimal client of Engine.IO 4 and Socket.IO 5: what a visitor of Headcount says and hears, and no more. It is written
//! for many clients in one process: one that waits holds some hundred bytes and no buffers.
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
//! ```
//!
//! The lower half does no I/O: a program with sockets of its own uses that alone, without the feature `transport`. All
//! decoders take the bytes that have arrived so far and say what they begin with; see [`Decoded`]. Nothing here uses
//! anything of the server, and nothing a server sends makes it panic.
//!
//! It is strict: what is outside the contract between Headcount and its clients is an [`Error`], never mended. What an
//! attacker would send cannot be said with it.

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

/// What the received bytes begin with: a value and the number of bytes that it took, or `None` while it is incomplete.
pub type Decoded<T> = Result<Option<(T, usize)>, Error>;
