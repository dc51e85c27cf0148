//! When the next emission is due. It never reads a clock.

use std::time::{Duration, Instant};

/// Merges changes: the first is sent at once, the others an interval after the last emission.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    last: Option<Instant>,
    changed: bool,
}

impl Pace {
    /// Nothing is due yet.
    pub fn new(interval: Duration) -> Self {
        Self { interval, last: None, changed: false }
    }

    /// The count has changed.
    pub fn change(&mut self) {
        self.changed = true;
    }

    /// How long until an emission is due; `None` if nothing has changed.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let due = self.last.map_or(now, |last| last + self.interval);
        self.changed.then(|| due.saturating_duration_since(now))
    }

    /// An emission begins.
    pub fn emitted(&mut self, now: Instant) {
        self.last = Some(now);
        self.changed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the first change is due at once, a second one an interval later, and none without a change.
    /// Method: instants made by hand.
    #[test]
    fn changes_merge_within_the_interval() {
        let start = Instant::now();
        let interval = Duration::from_millis(50);
        let mut pace = Pace::new(interval);
        assert_eq!(pace.wait(start), None);
        pace.change();
        assert_eq!(pace.wait(start), Some(Duration::ZERO));
        pace.emitted(start);
        assert_eq!(pace.wait(start), None);
        pace.change();
        assert_eq!(pace.wait(start), Some(interval));
        assert_eq!(pace.wait(start + 2 * interval), Some(Duration::ZERO));
    }
}
