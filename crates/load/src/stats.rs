//! Sums over all visitors: how many received counts, how long that took, and how visits ended.
//!
//! It knows nothing of connections. Visitors and the swarm write to it, and reports read it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;

use crate::failure::Failure;

/// The longest time that is recorded exactly. No visitor waits that long.
const LATENCY_MAX: Duration = Duration::from_mins(1);
/// The significant digits of a recorded latency.
const DIGITS: u8 = 3;

/// The sums of one run. Visitors and the swarm add to them, reports read them.
#[derive(Debug)]
pub(crate) struct Stats {
    /// Written with every received count, so it has no lock.
    counts_received: AtomicU64,
    totals: Mutex<Totals>,
    /// The numbers of the visitors that have received their first counts since somebody asked.
    newly_joined: Mutex<Vec<u64>>,
}

/// Everything except the number of received counts.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    /// Visitors that were started.
    pub(crate) started: u64,
    /// Visitors that received a count.
    pub(crate) connected: u64,
    /// Visitors that left because they were asked to.
    pub(crate) left: u64,
    /// Visitors that never received a count, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Visitors that lost their connection later, by reason.
    pub(crate) lost: BTreeMap<String, u64>,
    /// From the start of the connect to the first count, in microseconds.
    pub(crate) connect_to_count: Histogram<u64>,
    /// From the request to join to the first count, in microseconds.
    pub(crate) join_to_count: Histogram<u64>,
    /// From the request to join a room to the first count of that room, in microseconds.
    pub(crate) room_join_to_count: Histogram<u64>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            counts_received: AtomicU64::new(0),
            totals: Mutex::new(Totals::new()),
            newly_joined: Mutex::default(),
        }
    }

    /// Records a visitor that was started.
    pub(crate) fn started(&self) {
        self.totals().started += 1;
    }

    /// Records a received count.
    pub(crate) fn count_received(&self) {
        self.counts_received.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts received so far.
    pub(crate) fn counts_received(&self) -> u64 {
        self.counts_received.load(Ordering::Relaxed)
    }

    /// Records that the visitor with this number has its first counts, and how long after its connect and after its request to
    /// join it had that of the site.
    pub(crate) fn joined(&self, visitor: u64, since_connect: Duration, since_join: Duration) {
        self.newly_joined.lock().unwrap_or_else(PoisonError::into_inner).push(visitor);
        let mut totals = self.totals();
        totals.connected += 1;
        totals.connect_to_count.saturating_record(micros(since_connect));
        totals.join_to_count.saturating_record(micros(since_join));
    }

    /// The visitors that have joined since the last call.
    pub(crate) fn take_joined(&self) -> Vec<u64> {
        std::mem::take(&mut *self.newly_joined.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records the first count of a room, this long after the request to join.
    pub(crate) fn room_joined(&self, since_join: Duration) {
        self.totals().room_join_to_count.saturating_record(micros(since_join));
    }

    pub(crate) fn left(&self) {
        self.totals().left += 1;
    }

    pub(crate) fn refused(&self, failure: &Failure) {
        *self.totals().refused.entry(failure.to_string()).or_default() += 1;
    }

    pub(crate) fn lost(&self, failure: &Failure) {
        *self.totals().lost.entry(failure.to_string()).or_default() += 1;
    }

    /// All sums except the number of received counts.
    pub(crate) fn totals(&self) -> MutexGuard<'_, Totals> {
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
            join_to_count: histogram.clone(),
            room_join_to_count: histogram,
        }
    }

    /// Visitors that were started and have neither received a count nor been refused.
    pub(crate) fn on_the_way(&self) -> u64 {
        self.started - self.connected - self.refused_sum()
    }

    /// Visitors that could not connect.
    pub(crate) fn refused_sum(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Visitors that lost their connection.
    pub(crate) fn lost_sum(&self) -> u64 {
        self.lost.values().sum()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
