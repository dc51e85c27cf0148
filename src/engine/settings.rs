//! How sessions are set up.

use std::time::Duration;

use crate::protocol::transport::Transports;

/// Where Socket.IO clients connect. The same path without the slash at its end is the same endpoint.
pub const PATH: &str = "/socket.io/";
/// A client that opened a session must join the namespace within this time, also after leaving it.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to move to a websocket.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a polling client may take from the answer to one poll until its next one. A client that is there sends it
/// at once; this leaves room for a slow network.
pub const POLL_GAP_MAX: Duration = Duration::from_secs(10);
/// The same, once there is a sign that the client has gone away: the websocket that it was to move to, or the connection
/// of its last poll, has ended. A client that is there needs a round trip or two.
pub const POLL_GAP_SUSPECT: Duration = Duration::from_secs(3);

/// How sessions are set up.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// Time between pings.
    pub ping_interval: Duration,
    /// Time to answer a ping.
    pub ping_timeout: Duration,
    /// Bytes of one message on a websocket, and of one body by polling.
    pub payload_bytes_max: usize,
    /// Which transports are served.
    pub transports: Transports,
}
