//! Gives memory back to the system after a rush. The C library keeps freed memory for later, so an instance would stay as
//! large as in its busiest minute. When to give back is decided by the number of sessions alone.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

/// The least number of ended sessions for which giving back is worth its few milliseconds: ten megabytes if each was as large as its
/// client could make it. A process in 128 MiB holds a few hundred.
const LEAVERS_MIN: usize = 100;
/// Time between two looks at the number of sessions. Memory is given back within seconds, and looking costs nothing.
const LOOK: Duration = Duration::from_secs(5);

/// Task: gives memory back whenever at least half of the sessions have ended, until `stop`. `open` returns the number of
/// open sessions.
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

/// The high water: the most sessions at a time since memory was last given back. It is updated whenever a session begins,
/// since a rush may be over before the task looks.
#[derive(Debug, Default)]
pub struct HighWater(AtomicUsize);

impl HighWater {
    /// Records the present number of sessions.
    pub fn rise(&self, sessions: usize) {
        self.0.fetch_max(sessions, Ordering::Relaxed);
    }

    /// Whether at least half of the sessions, and at least [`LEAVERS_MIN`], have ended since. If so, it starts over.
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

/// Gives the free pages of the heap back to the system. C libraries other than glibc do this by themselves.
fn release() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "there is no safe way to ask for it, and it has no conditions")]
    // SAFETY: it may be called at any time from any thread. It touches only memory that is not in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
#[path = "heap_trim/tests.rs"]
mod tests;
