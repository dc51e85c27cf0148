//! All instances together: starts them, waits until they know each other, and lets visitors come and go. It
//! never measures Redis.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{instance::Instance, record::Record};

/// The visitors on each instance: this number at first, then between half and twice as many.
const PRESENT: usize = 10;
/// How long the instances may take to know each other.
const PATIENCE: Duration = Duration::from_secs(60);
/// The time between two looks at all instances, and between two portions of the joins.
const TICK: Duration = Duration::from_millis(5);
/// The time after the last join in which the news of it reaches all instances.
const LATE_NEWS: Duration = Duration::from_secs(3);

/// All simulated instances on one Redis.
#[derive(Debug)]
pub struct Cluster {
    instances: Vec<Instance>,
    tasks: JoinSet<()>,
}

impl Cluster {
    /// Starts this number of instances.
    ///
    /// # Errors
    /// If the URL cannot be parsed.
    pub fn start(redis_url: &str, instances: u32) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let start = |_| Instance::start(redis_url, &mut tasks);
        let mut instances = (0..instances).map(start).collect::<Result<Vec<_>>>()?;
        for instance in &mut instances {
            for _ in 0..PRESENT {
                instance.join();
            }
        }
        Ok(Self { instances, tasks })
    }

    /// Waits until every instance knows all others and all have the same, right number.
    ///
    /// # Errors
    /// If that takes too long, or an instance ends.
    pub async fn until_complete(&mut self) -> Result<()> {
        let everybody = self.instances.len() as u64 * PRESENT as u64;
        let deadline = Instant::now() + PATIENCE;
        let mut ticks = interval(TICK);
        loop {
            ticks.tick().await;
            self.check()?;
            let now = tokio::time::Instant::now();
            let shown = self.instances.iter().map(|instance| instance.view.borrow().shown(now));
            let shown: BTreeSet<_> = shown.map(|shown| (shown.users, shown.exact)).collect();
            if shown == BTreeSet::from([(everybody, true)]) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("after {PATIENCE:?} the instances show {shown:?} instead of {everybody}");
            }
        }
    }

    /// Makes visitors join every instance at this rate, and leave at the same rate, for this time.
    ///
    /// # Errors
    /// If an instance ends.
    pub async fn bustle(&mut self, joins_per_second: u32, time: Duration) -> Result<Record> {
        for instance in &self.instances {
            *instance.notes() = crate::instance::Notes::default();
        }
        // Half of the turns are leaves.
        let rate = 2.0 * f64::from(joins_per_second) * self.instances.len() as f64;
        let mut coin = Coin(1);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let start = Instant::now();
        let (mut turns, mut next) = (0.0, 0);
        while start.elapsed() < time {
            ticks.tick().await;
            self.check()?;
            let due = start.elapsed().as_secs_f64() * rate;
            while turns < due {
                self.instances[next].wander(coin.is_heads(), PRESENT);
                next = (next + 1) % self.instances.len();
                turns += 1.0;
            }
        }
        let rest = Instant::now();
        while rest.elapsed() < LATE_NEWS {
            ticks.tick().await;
            self.check()?;
        }
        Ok(Record::of(&self.instances, time, start.elapsed()))
    }

    fn check(&mut self) -> Result<()> {
        if self.tasks.try_join_next().is_some() {
            bail!("a task of an instance ended by itself");
        }
        Ok(())
    }
}

/// A coin whose throws are the same in every run (xorshift, Marsaglia 2003).
struct Coin(u64);

impl Coin {
    fn is_heads(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 & 1 == 1
    }
}
