//! Waiting for something to become true: polled, with a deadline, and with what was last seen in the message.
//!
//! No test waits for a fixed time; where a length of time is itself the point, it is measured.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// How long anything may take on a busy machine before a test gives up. Bounds that the product promises
/// are asserted apart, on the time that [`eventually`] returns.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Between two looks: short against every bound that is measured.
const LOOK_GAP: Duration = Duration::from_millis(10);

/// Looks until `look` is content, and says how long that took. `look` returns what it saw instead.
///
/// Panics after `within`, with `what` was awaited and what was last seen.
pub async fn eventually_within<T>(
    within: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        let seen = match look().await {
            Ok(found) => return (found, start.elapsed()),
            Err(seen) => seen,
        };
        assert!(start.elapsed() < within, "not within {within:?}: {what}; last seen: {seen}");
        sleep(LOOK_GAP).await;
    }
}

/// [`eventually_within`] the usual patience.
pub async fn eventually<T>(
    what: &str,
    look: impl AsyncFnMut() -> Result<T, String>,
) -> (T, Duration) {
    eventually_within(PATIENCE, what, look).await
}
