//! How late this machine is: a task that should wake every few milliseconds notes how much later it does.
//!
//! What a busy machine does to this process it does to the instances and to Redis as well. The checker allows
//! for it, instead of a fixed time that is too long on a quiet machine and too short on a busy one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};

/// A running canary.
#[derive(Debug)]
pub(crate) struct Canary {
    latest_micros: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// How often it should wake.
const PERIOD: Duration = Duration::from_millis(10);

/// News pass through an instance, Redis and another instance: each may be as late as this process was.
const HOPS: u32 = 3;
/// No machine is excused for more, or the checker would see nothing any more.
const ALLOWANCE_MAX: Duration = Duration::from_secs(1);

impl Canary {
    /// Begins to watch.
    pub(crate) fn start() -> Self {
        let latest_micros = Arc::<AtomicU64>::default();
        let noted = Arc::clone(&latest_micros);
        let task = tokio::spawn(async move {
            loop {
                let due = Instant::now() + PERIOD;
                sleep(PERIOD).await;
                let late = due.elapsed().as_micros();
                noted.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Relaxed);
            }
        });
        Self { latest_micros, task }
    }

    /// What the machine may add to any time that news take.
    pub(crate) fn allowance(&self) -> Duration {
        let latest = Duration::from_micros(self.latest_micros.load(Relaxed));
        (HOPS * latest).min(ALLOWANCE_MAX)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.task.abort();
    }
}
