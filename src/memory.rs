//! Gives memory back to the system after a rush. The C library keeps what was freed for later, all of it if the last
//! block is in use, and so an instance would stay as large as its busiest minute.
//!
//! It watches the local count; it never asks what holds the memory.

use std::time::Duration;

use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::tally::Local;

/// Giving back is worth the time it takes, some milliseconds, from so many connections on: some ten megabytes.
const LEAVERS_MIN: u64 = 500;
/// How long after many have left: their sessions take a moment to be cleared away, and more may be leaving.
const SETTLE: Duration = Duration::from_secs(2);

/// Gives memory back whenever at least half of the connections have left, until `stop`.
pub async fn give_back(mut local: watch::Receiver<Local>, stop: CancellationToken) {
    let mut tide = Tide::default();
    loop {
        let users = local.borrow_and_update().users;
        if tide.has_ebbed(users) {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(SETTLE) => {}
            }
            tide.start_over(local.borrow().users);
            if let Err(error) = spawn_blocking(release).await {
                tracing::warn!(%error, "failed to give memory back");
            }
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = local.changed() => if changed.is_err() { return },
        }
    }
}

/// The most connections since memory was given back.
#[derive(Debug, Default)]
struct Tide {
    high: u64,
}

impl Tide {
    /// Whether at least half of them have left, and enough.
    fn has_ebbed(&mut self, users: u64) -> bool {
        self.high = self.high.max(users);
        let leavers = self.high - users;
        leavers >= LEAVERS_MIN && leavers >= users
    }

    fn start_over(&mut self, users: u64) {
        self.high = users;
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
mod tests {
    use super::*;

    /// Goal: memory is given back after a rush and not at each leave. Method: counts that rise, fall a little, fall by
    /// half and to nothing, and small ones.
    #[test]
    fn half_of_many_must_have_left() {
        let mut tide = Tide::default();
        assert!([0, 499, 0, 2000, 1500, 1001].iter().all(|&users| !tide.has_ebbed(users)));
        assert!(tide.has_ebbed(1000));
        tide.start_over(900);
        assert!([900, 451].iter().all(|&users| !tide.has_ebbed(users)), "they are not enough");
        assert!(tide.has_ebbed(400));
    }
}
