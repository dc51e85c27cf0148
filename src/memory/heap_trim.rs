//! Gives memory back to the system after a rush. The C library keeps what was freed for later, all of it if the last
//! block is in use, and so an instance would stay as large as its busiest minute.
//!
//! It looks at the number of sessions, joined or not; it never asks what holds the memory. How much there may be is
//! [`super::limit`]'s.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

/// Giving back is worth the time it takes, some milliseconds, from so many sessions on: some ten megabytes.
const LEAVERS_MIN: usize = 500;
/// Between two looks at the number of sessions. It costs nothing, and who waits for memory waits for seconds.
const LOOK: Duration = Duration::from_secs(5);

/// Gives memory back whenever at least half of the sessions have ended, until `stop`. `open` says how many there are.
pub async fn give_back(high: &HighWater, open: impl Fn() -> usize, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(LOOK) => {}
        }
        if high.has_ebbed(open())
            && let Err(error) = spawn_blocking(release).await
        {
            tracing::warn!(%error, "failed to give memory back");
        }
    }
}

/// The most sessions at a time since memory was given back. Whoever begins a session tells it, since a rush may be over
/// before anybody looks.
#[derive(Debug, Default)]
pub struct HighWater(AtomicUsize);

impl HighWater {
    /// There are so many sessions now.
    pub fn rise(&self, sessions: usize) {
        self.0.fetch_max(sessions, Ordering::Relaxed);
    }

    /// Whether at least half of them have ended, and enough; then it starts over.
    fn has_ebbed(&self, sessions: usize) -> bool {
        let high = self.0.load(Ordering::Relaxed);
        let leavers = high.saturating_sub(sessions);
        let ebbed = leavers >= LEAVERS_MIN && leavers >= sessions;
        if ebbed {
            self.0.store(sessions, Ordering::Relaxed);
        }
        ebbed
    }
}

/// Returns the free pages of the heap to the system. Other C libraries do so by themselves.
fn release() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "there is no safe way to ask for it, and it has no conditions")]
    // SAFETY: it may be called at any time from any thread; it touches only memory that nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
#[path = "heap_trim/tests.rs"]
mod tests;
