//! Bytes of HTTP requests, websockets, Engine.IO 4 and Socket.IO 5. Pure: no socket, no clock, no session.

pub mod auth;
pub mod decoder;
pub mod frame;
pub mod head;
pub mod packet;
pub mod payload;
pub mod transport;
pub mod users;
