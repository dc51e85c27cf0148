//! The reasons for which sessions end and requests are refused. Metric labels, HTTP statuses, bodies and close codes derive
//! from them.

use crate::{
    protocol::decoder::ProtocolError,
    telemetry::labels::{RefusedReason, label_values},
};

label_values! {
    /// Why a session ended, or a client left the count, as `headcount_sessions_ended_total` and
    /// `headcount_disconnects_total` count it.
    pub enum EndReason {
        /// The client closed its transport, or cut the connection of an open poll or post.
        TransportClose = "transport_close",
        /// The transport broke, or carried malformed frames or text.
        TransportError = "transport_error",
        /// The client left the namespace.
        ClientLeft = "client_left",
        /// The client did not answer a ping, or did not poll, in time.
        PingTimeout = "ping_timeout",
        /// The client sent a second poll or post while one was open.
        OverlappingRequests = "multiple_polls",
        /// The client sent an invalid packet.
        BadPacket = "bad_packet",
        /// The instance shuts down and sends its clients elsewhere.
        Draining = "closing",
        /// The client sent more than the limits allow, or left too much unread.
        Flood = "flood",
        /// The client did not join the namespace in time.
        NeverJoined = "while_connecting",
        /// The token by which the client joined has expired. It comes back with a fresh one.
        TokenExpired = "token_expired",
    }
}

impl EndReason {
    /// Whether the client is to come back at once, here or elsewhere. If a poll is told that its session is closed, python-socketio
    /// takes that for the last word and never comes back. Every client comes back after a poll that fails.
    pub const fn sends_away(self) -> bool {
        matches!(self, Self::Draining | Self::TokenExpired)
    }
}

/// The end of a session: the reason, and the status code of the close frame if its websocket is sent one (RFC 6455,
/// section 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why the session ends.
    pub reason: EndReason,
    /// The code of the close frame.
    pub close_code: Option<u16>,
}

impl End {
    /// The client closed the session in order.
    pub const CLOSED: Self = Self { reason: EndReason::TransportClose, close_code: Some(1000) };
    /// The client sent an invalid packet.
    pub const BAD_PACKET: Self = Self { reason: EndReason::BadPacket, close_code: Some(1002) };
}

impl From<EndReason> for End {
    fn from(reason: EndReason) -> Self {
        Self { reason, close_code: None }
    }
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        Self { reason: EndReason::TransportError, close_code: Some(error.close_code()) }
    }
}

/// Why a request to Socket.IO's endpoint is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The transport is unknown, or not served here.
    UnknownTransport,
    /// There is no open session with this id.
    UnknownSession,
    /// The request's method is not allowed: a session begins with a GET.
    BadHandshakeMethod,
    /// The request does not fit its session, or asks for a websocket in a wrong way.
    BadRequest,
    /// The page that asks may not connect.
    Origin,
    /// The client asks for another version of Engine.IO than 4.
    UnsupportedProtocol,
    /// The client asks for another version of the websocket protocol than 13.
    WebsocketVersion,
    /// The limit of sessions is reached.
    Full,
    /// The instance shuts down.
    Draining,
    /// The client posted more than the limits allow.
    Flood,
    /// A post did not arrive in time.
    Slow,
    /// A post is longer than allowed.
    TooLong,
}

impl Refusal {
    /// How the metrics count it; `None` if they do not, because it is a mistake of the client and not a decision of the server.
    pub const fn counted_as(self) -> Option<RefusedReason> {
        match self {
            Self::Full => Some(RefusedReason::Full),
            Self::Draining => Some(RefusedReason::Draining),
            Self::Origin => Some(RefusedReason::Origin),
            Self::Flood => Some(RefusedReason::Flood),
            Self::Slow => Some(RefusedReason::Slow),
            Self::UnknownTransport
            | Self::UnknownSession
            | Self::BadHandshakeMethod
            | Self::BadRequest
            | Self::UnsupportedProtocol
            | Self::WebsocketVersion
            | Self::TooLong => None,
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::UnknownTransport
            | Self::UnknownSession
            | Self::BadHandshakeMethod
            | Self::BadRequest
            | Self::UnsupportedProtocol => 400,
            Self::Origin => 403,
            Self::Slow => 408,
            Self::TooLong => 413,
            Self::WebsocketVersion => 426,
            Self::Flood => 429,
            Self::Full | Self::Draining => 503,
        }
    }

    /// The body, in the reference server's form. Its code and message are the reference server's where that has them.
    pub const fn body(self) -> &'static str {
        match self {
            Self::UnknownTransport => r#"{"code":0,"message":"Transport unknown"}"#,
            Self::UnknownSession => r#"{"code":1,"message":"Session ID unknown"}"#,
            Self::BadHandshakeMethod => r#"{"code":2,"message":"Bad handshake method"}"#,
            Self::BadRequest | Self::WebsocketVersion => r#"{"code":3,"message":"Bad request"}"#,
            Self::Origin => r#"{"code":4,"message":"Pages of this origin may not connect"}"#,
            Self::UnsupportedProtocol => r#"{"code":5,"message":"Unsupported protocol version"}"#,
            Self::Full | Self::Draining => {
                r#"{"code":4,"message":"No more connections here: try again later"}"#
            }
            Self::Flood => r#"{"code":4,"message":"Too many messages"}"#,
            Self::Slow => r#"{"code":4,"message":"The message did not arrive in time"}"#,
            Self::TooLong => r#"{"code":4,"message":"The message is too long"}"#,
        }
    }

    /// Whether the client is asked to wait before it tries again.
    pub const fn asks_to_wait(self) -> bool {
        matches!(self, Self::Full | Self::Draining | Self::Flood)
    }
}
