//! Why a visitor was refused or lost, in words that a report counts by.

use headcount_client::Error;

/// What went wrong between a visitor and its server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The connection failed, or what came on it is outside the protocols.
    #[error(transparent)]
    Client(#[from] Error),
    /// The server told this client to leave the namespace.
    #[error("disconnected by the server")]
    Disconnected,
    /// A newcomer received no count.
    #[error("no count in time")]
    Late,
    /// No ping came for longer than the handshake promised.
    #[error("silent for too long")]
    Silent,
}
