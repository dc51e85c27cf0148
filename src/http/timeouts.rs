//! How long connections and requests may wait.

use std::time::Duration;

/// How long a request head may take to arrive: browsers and balancers send theirs at once.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a post may take to arrive, as long as the head of a request may.
pub const POST_TIMEOUT: Duration = HEAD_TIMEOUT;

/// How long connections may wait.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the rest of a head, and for the first one.
    pub head: Duration,
    /// For another request.
    pub keep_alive: Duration,
}
