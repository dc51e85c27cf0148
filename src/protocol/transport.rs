//! The transports of Engine.IO: websocket and polling.

/// The transports that an instance serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transports {
    /// Both, with upgrades.
    Both,
    /// Websockets only.
    Websocket,
    /// Polling only.
    Polling,
}

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A websocket.
    Websocket,
    /// HTTP requests: polls, which wait for packets, and posts.
    Polling,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Websocket, Self::Polling];

    /// The value of the label `transport` in the metrics, and of the parameter `transport` in a query.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Polling => "polling",
        }
    }
}

impl Transports {
    /// Whether this transport is served.
    pub fn have(self, transport: Transport) -> bool {
        match self {
            Self::Both => true,
            Self::Websocket => transport == Transport::Websocket,
            Self::Polling => transport == Transport::Polling,
        }
    }
}
