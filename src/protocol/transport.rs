//! The transports of Engine.IO.

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

/// A way to carry a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A websocket.
    Websocket,
    /// HTTP requests that wait for something to be said.
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
    /// Whether this one is served.
    pub fn have(self, transport: Transport) -> bool {
        match self {
            Self::Both => true,
            Self::Websocket => transport == Transport::Websocket,
            Self::Polling => transport == Transport::Polling,
        }
    }
}
