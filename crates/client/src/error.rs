//! Why a connection could not be made or was lost, in texts by which a report can count.

use std::{
    fmt,
    io::{self, ErrorKind},
};

/// Bytes of an unexpected message that are kept for the search for its cause.
const EXCERPT_BYTES_MAX: usize = 200;

/// What went wrong between a client and its server. Its text has few forms, so that errors can be counted by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A text from the operating system.
    #[error("{0}")]
    Io(String),
    /// The server answered with this HTTP status.
    #[error("status {0}")]
    Status(u16),
    /// The server ended the connection or the session in order.
    #[error("closed by the server")]
    Closed,
    /// The message is outside the protocols, or outside the part of them that this client needs.
    #[error("unexpected: {what}")]
    Unexpected {
        /// What is wrong with the message.
        what: &'static str,
        /// The beginning of the message.
        excerpt: Excerpt,
    },
}

/// The beginning of an unexpected message. It is not part of the error's text, which must be the same for errors of one
/// kind.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(Box<[u8]>);

impl Error {
    /// An error for an invalid message.
    pub fn unexpected(what: &'static str, message: &[u8]) -> Self {
        let length = message.len().min(EXCERPT_BYTES_MAX);
        Self::Unexpected { what, excerpt: Excerpt(message[..length].into()) }
    }

    /// An error for a valid packet at the wrong time.
    #[cfg(feature = "transport")]
    pub(crate) fn out_of_turn(what: &'static str, packet: &crate::Packet) -> Self {
        Self::unexpected(what, format!("{packet:?}").as_bytes())
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

impl From<io::Error> for Error {
    /// Names the usual kinds without the number of the error. Others keep the text of the system.
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
