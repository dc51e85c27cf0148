//! Limits the number of sessions, and knows how many are open. It does not decide who may begin one.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::memory::heap_trim::HighWater;

/// Permits for sessions: one is taken at the handshake and given back when the session has ended.
#[derive(Debug)]
pub struct Permits {
    free: Arc<Semaphore>,
    max: usize,
    high_water: HighWater,
}

impl Permits {
    /// At most `max` permits are out at a time.
    pub fn new(max: usize) -> Self {
        let max = max.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(max)), max, high_water: HighWater::default() }
    }

    /// Takes a permit, which is given back by dropping it; `None` if all are taken.
    pub fn take(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        self.high_water.rise(self.taken());
        Some(permit)
    }

    /// Sessions that are open, joined or not.
    pub fn taken(&self) -> usize {
        self.max - self.free.available_permits()
    }

    /// The most sessions at a time since memory was last given back.
    pub fn high_water(&self) -> &HighWater {
        &self.high_water
    }
}
