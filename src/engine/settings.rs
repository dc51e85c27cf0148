//! Settings and time limits of sessions.

use std::time::Duration;

use crate::{
    access::rooms::RoomRules,
    identity::{sign_in::SignIn, visitor::VisitorKeys},
    protocol::transport::Transports,
};

/// The path of the endpoint. Without the slash at its end it is the same endpoint.
pub const PATH: &str = "/socket.io/";
/// A client must join a namespace within this time after it opened the session or left the last one.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to move its session to a websocket.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time between the answer to one poll and the next poll. A client that is alive polls at once; ten seconds
/// leave room for a slow network.
pub const POLL_GAP_MAX: Duration = Duration::from_secs(10);
/// The same as [`POLL_GAP_MAX`] after a sign that the client is gone: the websocket it was moving to, or the connection of
/// its last poll, has ended. A client that is alive needs one or two round trips.
pub const POLL_GAP_SUSPECT: Duration = Duration::from_secs(3);

/// The settings that all sessions of an instance share.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// Time between two pings of a session.
    pub ping_interval: Duration,
    /// Time that a client has to answer a ping.
    pub ping_timeout: Duration,
    /// The most bytes of one websocket message, and of one posted body.
    pub payload_bytes_max: usize,
    /// Which transports are served.
    pub transports: Transports,
    /// Which rooms clients may join, and how many.
    pub rooms: RoomRules,
    /// Knows whose tokens are whose.
    pub sign_in: SignIn,
    /// Makes users of visitor keys; `None` if these do not count.
    pub visitors: Option<VisitorKeys>,
}
