//! Why a connection could not be made or was lost, in words that a report can count by.

use std::{
    fmt,
    io::{self, ErrorKind},
};

/// Bytes of an unexpected message that are kept for whoever looks for the cause.
const EXCERPT_BYTES_MAX: usize = 200;

/// What went wrong between a client and its server. Its text has few forms, so that errors can be counted by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The operating system's word.
    #[error("{0}")]
    Io(String),
    /// The server answered with this HTTP status.
    #[error("status {0}")]
    Status(u16),
    /// The server ended the connection or the session in order.
    #[error("closed by the server")]
    Closed,
    /// What came is outside the protocols, or outside what this client needs of them.
    #[error("unexpected: {what}")]
    Unexpected {
        /// What is wrong with it.
        what: &'static str,
        /// Its beginning.
        excerpt: Excerpt,
    },
}

/// The beginning of an unexpected message. It is no part of the error's text, which has to be the same for errors of one
/// kind.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(Box<[u8]>);

impl Error {
    /// A message that is not what it should be.
    pub fn unexpected(what: &'static str, message: &[u8]) -> Self {
        let length = message.len().min(EXCERPT_BYTES_MAX);
        Self::Unexpected { what, excerpt: Excerpt(message[..length].into()) }
    }

    /// A packet that is good, but does not come when it should.
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
