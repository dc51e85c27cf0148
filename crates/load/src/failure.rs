//! Why a visitor was refused or lost, in texts by which a report can count.

use headcount_client::Error;

/// What went wrong between a visitor and its server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The connection failed, or a message on it was outside the protocols.
    #[error(transparent)]
    Client(#[from] Error),
    /// The server told this client to leave the namespace.
    #[error("disconnected by the server")]
    Disconnected,
    /// The server refused the default namespace. Holds the code of its reason.
    #[error("refused: {0}")]
    Refused(String),
    /// The server refused one of the client's rooms. Holds the code of its reason.
    #[error("room refused: {0}")]
    RoomRefused(String),
    /// A newcomer received no count.
    #[error("no count in time")]
    Late,
    /// No ping came for longer than the handshake promised.
    #[error("silent for too long")]
    Silent,
}
