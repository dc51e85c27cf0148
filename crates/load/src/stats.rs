//! What visitors come to, all together: how many were told counts, how long that took, and how visits ended.
//!
//! It knows nothing of connections; visitors and the program above write here, reports read.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;

use super::fault::Fault;

/// The longest time that is told apart; no visitor waits that long.
const LATENCY_MAX: Duration = Duration::from_mins(1);
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Tally {
    /// Written with every count that comes, so it has no lock.
    told: AtomicU64,
    totals: Mutex<Totals>,
}

/// Everything but the counts received.
#[derive(Clone, Debug)]
pub(super) struct Totals {
    /// Visitors who set out.
    pub(super) started: u64,
    /// Visitors who were told a count.
    pub(super) connected: u64,
    /// Visitors who left because they were asked to.
    pub(super) left: u64,
    /// Visitors who never were told a count, by reason.
    pub(super) refused: BTreeMap<String, u64>,
    /// Visitors who lost their connection later, by reason.
    pub(super) lost: BTreeMap<String, u64>,
    /// From the start of the connect to the first count, in microseconds.
    pub(super) connect_to_count: Histogram<u64>,
    /// From the request to join to the first count, in microseconds.
    pub(super) join_to_count: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { told: AtomicU64::new(0), totals: Mutex::new(Totals::new()) }
    }

    /// A visitor set out.
    pub(super) fn started(&self) {
        self.totals().started += 1;
    }

    /// A visitor was told a count.
    pub(super) fn told(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts received so far.
    pub(super) fn counts_received(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// A visitor was told its first count, so long after its connect and its request to join.
    pub(super) fn joined(&self, since_connect: Duration, since_join: Duration) {
        let mut totals = self.totals();
        totals.connected += 1;
        totals.connect_to_count.saturating_record(micros(since_connect));
        totals.join_to_count.saturating_record(micros(since_join));
    }

    pub(super) fn left(&self) {
        self.totals().left += 1;
    }

    pub(super) fn refused(&self, fault: &Fault) {
        *self.totals().refused.entry(fault.to_string()).or_default() += 1;
    }

    pub(super) fn lost(&self, fault: &Fault) {
        *self.totals().lost.entry(fault.to_string()).or_default() += 1;
    }

    /// How things stand.
    pub(super) fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn new() -> Self {
        let longest = micros(LATENCY_MAX);
        let histogram =
            Histogram::new_with_bounds(1, longest, DIGITS).expect("these bounds are allowed");
        Self {
            started: 0,
            connected: 0,
            left: 0,
            refused: BTreeMap::new(),
            lost: BTreeMap::new(),
            connect_to_count: histogram.clone(),
            join_to_count: histogram,
        }
    }

    /// Visitors who set out and have neither been told a count nor been refused.
    pub(super) fn on_the_way(&self) -> u64 {
        self.started - self.connected - self.refused_sum()
    }

    /// Visitors who could not connect.
    pub(super) fn refused_sum(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Visitors who lost their connection.
    pub(super) fn lost_sum(&self) -> u64 {
        self.lost.values().sum()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
