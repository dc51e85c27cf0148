//! Waiting for something to become true: a test looks again and again until a deadline, and the message of a failure holds
//! what was seen last.
//!
//! No test waits for a fixed time. Where a length of time is the point of a test, it is measured.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// How long anything may take on a busy machine before a test gives up. A bound that the product promises is asserted by
/// itself, on the time that [`eventually`] returns.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The pause between two looks. It is short against every bound that is measured.
const LOOK_GAP: Duration = Duration::from_millis(10);

/// Calls `look` until it returns `Ok`, and returns that value with the time that the wait took. An error of `look` says what
/// it saw instead.
///
/// Panics after `within`. The message says `what` was awaited and what was seen last.
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

/// The same as [`eventually_within`], with [`PATIENCE`] as the limit.
pub async fn eventually<T>(
    what: &str,
    look: impl AsyncFnMut() -> Result<T, String>,
) -> (T, Duration) {
    eventually_within(PATIENCE, what, look).await
}
