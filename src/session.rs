//! What all sessions have in common, whoever serves them.

use std::time::Duration;

/// Where Socket.IO clients connect.
pub const PATH: &str = "/socket.io/";
/// A client that opened a session must join the namespace within this time.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How sessions are set up.
#[derive(Clone, Debug)]
pub struct SocketSettings {
    /// Time between pings.
    pub ping_interval: Duration,
    /// Time to answer a ping.
    pub ping_timeout: Duration,
    /// Bytes of one client message, on both transports.
    pub payload_bytes_max: usize,
    /// Which transports are served.
    pub transports: Transports,
    /// Whether websockets are our own as far as they can be, and written to directly; else all is left to the
    /// library.
    pub direct: bool,
}

/// Which transports are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transports {
    /// Both, with upgrades.
    Both,
    /// Websockets alone.
    Websocket,
    /// Polling alone.
    Polling,
}
