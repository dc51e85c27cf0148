//! Why a visitor could not connect or lost its connection, in words that a report can count by.

use std::io::{self, ErrorKind};

/// What went wrong between a visitor and its server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The system's word.
    #[error("{0}")]
    Io(String),
    /// The server's word: a status of HTTP.
    #[error("status {0}")]
    Status(u16),
    /// The server ended the connection or the session in order.
    #[error("closed by the server")]
    Closed,
    /// The server told this client to leave the namespace.
    #[error("disconnected by the server")]
    Disconnected,
    /// A newcomer was told no count.
    #[error("no count in time")]
    Late,
    /// No ping came for longer than the handshake promised.
    #[error("silent for too long")]
    Silent,
    /// What came is outside the protocols.
    #[error("unexpected: {0}")]
    Strange(&'static str),
}

impl From<io::Error> for Fault {
    /// The usual kinds by their names, without the number of the error; others in the system's words.
    fn from(error: io::Error) -> Self {
        let usual = matches!(
            error.kind(),
            ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::BrokenPipe
                | ErrorKind::TimedOut
                | ErrorKind::AddrNotAvailable
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
        );
        Self::Io(if usual { error.kind().to_string() } else { error.to_string() })
    }
}
