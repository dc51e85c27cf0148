//! How long connections and requests may wait.

use std::time::Duration;

/// How long a request's head may take to arrive. Browsers and balancers send it in one piece.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a post may take to arrive, as long as the head of a request may.
pub const POST_TIMEOUT: Duration = HEAD_TIMEOUT;

/// How long connections may wait.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// How long a head may take to arrive, and a new connection to send its first.
    pub head: Duration,
    /// How long a connection may be idle between two requests.
    pub keep_alive: Duration,
}
