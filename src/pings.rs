//! The task that pings the clients of our own websockets and finds out who is gone. It knows all of them, and ends
//! connections; it writes nothing but pings.
//!
//! One clock for all: an interval is divided into slots, each session has one, and each tick is the turn of one
//! slot. So pings are spread evenly however many came at once, and an idle connection needs no timer. Time is
//! counted in ticks. Those that come late are made up for, so that an interval stays one on a busy machine; but only so
//! many at a time: nobody is thought silent because the whole process was stopped for a while, and an answer that was
//! there could not be read.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use slab::Slab;
use tokio::{
    task::yield_now,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::connection::Control;

/// Slots of an interval at most: with the default interval of 25 s, one each 100 ms.
const SLOTS_MAX: u32 = 250;
/// A slot is no shorter.
const TICK_MIN: Duration = Duration::from_millis(20);

/// See the module's documentation.
#[derive(Debug)]
pub struct Pings {
    /// All open sessions. The key of one that has ended is used again before a new one is made, so keys are about as many
    /// as sessions, and fill the slots about evenly.
    sessions: Mutex<Slab<Weak<Control>>>,
    rhythm: Rhythm,
}

/// When it is whose turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rhythm {
    tick: Duration,
    slots: u32,
    /// Ticks that a client has to answer in.
    patience: u32,
}

/// A session's place among all; given back when dropped.
#[derive(Debug)]
pub struct Place {
    pings: Arc<Pings>,
    key: usize,
}

impl Pings {
    /// For pings each `interval`, to be answered within `timeout`.
    pub fn new(interval: Duration, timeout: Duration) -> Arc<Self> {
        Arc::new(Self { sessions: Mutex::default(), rhythm: Rhythm::new(interval, timeout) })
    }

    /// From now on this session is pinged, for the first time within an interval.
    #[must_use]
    pub fn enter(self: &Arc<Self>, control: &Arc<Control>) -> Place {
        let key = self.sessions().insert(Arc::downgrade(control));
        Place { pings: Arc::clone(self), key }
    }

    /// All open sessions.
    pub fn everybody(&self) -> Vec<Arc<Control>> {
        self.sessions().iter().filter_map(|(_, control)| control.upgrade()).collect()
    }

    /// Pings until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(self.rhythm.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut now = 0;
        loop {
            let due = tokio::select! {
                () = stop.cancelled() => return,
                due = ticks.tick() => due,
            };
            for _ in 0..self.rhythm.made_up_for(due.elapsed()) {
                now += 1;
                self.act(now);
                // Answers that have come are read before they are missed.
                yield_now().await;
            }
        }
    }

    fn act(&self, now: u64) {
        let patience = u64::from(self.rhythm.patience);
        for control in self.of_slot(self.rhythm.judged(now)) {
            if control.unanswered().is_some_and(|pinged| now - pinged >= patience) {
                control.close_for("ping_timeout");
            }
        }
        for control in self.of_slot(self.rhythm.pinged(now)) {
            control.ping(now);
        }
    }

    fn of_slot(&self, slot: usize) -> Vec<Arc<Control>> {
        let sessions = self.sessions();
        let keys = (slot..sessions.capacity()).step_by(self.rhythm.slots as usize);
        keys.filter_map(|key| sessions.get(key)?.upgrade()).collect()
    }

    /// Every critical section leaves the sessions whole.
    fn sessions(&self) -> MutexGuard<'_, Slab<Weak<Control>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pings.sessions().remove(self.key);
    }
}

impl Rhythm {
    fn new(interval: Duration, timeout: Duration) -> Self {
        let fitting = u32::try_from(interval.as_millis() / TICK_MIN.as_millis());
        let slots = fitting.unwrap_or(SLOTS_MAX).clamp(1, SLOTS_MAX);
        let tick = (interval / slots).max(Duration::from_millis(1));
        let patience = timeout.as_nanos().div_ceil(tick.as_nanos());
        Self { tick, slots, patience: u32::try_from(patience).unwrap_or(u32::MAX) }
    }

    /// How many ticks are to be counted at one that comes so late. The next one that is waited for is in step again.
    fn made_up_for(&self, late: Duration) -> u32 {
        let missed = u32::try_from(late.as_nanos() / self.tick.as_nanos()).unwrap_or(u32::MAX);
        1 + missed.min(self.patience / 4)
    }

    /// The slot that is pinged at this tick.
    fn pinged(&self, now: u64) -> usize {
        to_index(now % u64::from(self.slots))
    }

    /// The slot whose pings of one patience ago, if they were sent, must have been answered by now.
    fn judged(&self, now: u64) -> usize {
        let (slots, patience) = (u64::from(self.slots), u64::from(self.patience));
        to_index((now + slots - patience % slots) % slots)
    }
}

/// A slot is a small number.
fn to_index(slot: u64) -> usize {
    usize::try_from(slot).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: [(u64, u64); 6] =
        [(25_000, 20_000), (1000, 1000), (1000, 30_000), (3_600_000, 1000), (1, 1), (1234, 777)];

    fn rhythms() -> impl Iterator<Item = (Rhythm, Duration, Duration)> {
        SETTINGS.into_iter().map(|(interval, timeout)| {
            let (interval, timeout) =
                (Duration::from_millis(interval), Duration::from_millis(timeout));
            (Rhythm::new(interval, timeout), interval, timeout)
        })
    }

    /// Goal: everybody is pinged once an interval, and judged when the time to answer is over and not before. Method:
    /// several settings; two intervals tick by tick.
    #[test]
    fn each_slot_has_its_turn() {
        for (rhythm, interval, timeout) in rhythms() {
            let slots = rhythm.slots as usize;
            let round = rhythm.tick * rhythm.slots;
            assert!(round <= interval && interval < round + rhythm.tick, "{rhythm:?}");
            let patience = rhythm.tick * rhythm.patience;
            assert!(timeout <= patience && patience < timeout + rhythm.tick, "{rhythm:?}");
            assert_eq!(rhythm.made_up_for(rhythm.tick / 2), 1, "it is in time");
            let stopped = rhythm.tick * rhythm.made_up_for(Duration::from_hours(1));
            assert!(stopped <= rhythm.tick + patience / 4, "{rhythm:?}");
            let mut turns = vec![0; slots];
            for now in 1..=2 * u64::from(rhythm.slots) {
                turns[rhythm.pinged(now)] += 1;
                let later = now + u64::from(rhythm.patience);
                assert_eq!(rhythm.judged(later), rhythm.pinged(now), "{rhythm:?}");
            }
            assert_eq!(turns, vec![2; slots], "{rhythm:?}");
        }
    }
}
