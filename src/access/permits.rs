//! How many sessions there may be at a time, and how many there are. It never decides who may have one.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::memory::heap_trim::HighWater;

/// Places for sessions: one is taken at the handshake and given back when the session has ended.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    most: usize,
    high: HighWater,
}

impl Places {
    /// Places for so many.
    pub fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(most)), most, high: HighWater::default() }
    }

    /// Takes one, which is given back by dropping it; `None` if all are taken.
    pub fn take(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok()?;
        self.high.rise(self.taken());
        Some(place)
    }

    /// Sessions that are open, joined or not.
    pub fn taken(&self) -> usize {
        self.most - self.free.available_permits()
    }

    /// The most of late.
    pub fn high_water(&self) -> &HighWater {
        &self.high
    }
}
