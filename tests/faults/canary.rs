//! Measures how late this machine is: a task that should wake every few milliseconds records how much later
//! it does.
//!
//! A busy machine delays the instances and Redis as much as this process. The checker allows for that delay.
//! A fixed time would be too long on a quiet machine and too short on a busy one.

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

/// A change passes through an instance, Redis and another instance. Each may be as late as this process was.
const HOPS: u32 = 3;
/// The largest allowance for a slow machine. With more, the checker would not notice faults.
const ALLOWANCE_MAX: Duration = Duration::from_secs(1);

impl Canary {
    /// Starts the task.
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

    /// What the machine may add to the time in which a change reaches all.
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
