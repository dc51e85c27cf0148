//! Sessions of Engine.IO 4 and Socket.IO 5, on both transports: how they begin, what clients say, and how they end.
//!
//! A session is one thing, whatever carries it: [`websocket`] and [`polling`] bring what clients say to the engine
//! ([`lifecycle`]) and carry what waits in the session's [`outbox`]; [`upgrade`] changes what carries it. The engine counts
//! clients in and out of the local count; it never tells them a count: the broadcaster does.

pub mod reason;
pub mod session_id;
pub mod settings;

pub mod credentials;
pub mod departures;
pub mod list_frames;
pub mod place;
pub mod session_lists;
pub mod session_rooms;
pub mod sink;

pub mod outbox;
pub mod session;

pub mod flusher;
pub mod key_waits;
pub mod registry;

pub mod admission;
pub mod checks;
pub mod identifying;
pub mod joining;
pub mod lifecycle;
pub mod listing;
pub mod request;

pub mod polling;
pub mod upgrade;
pub mod websocket;

pub mod ping_wheel;
