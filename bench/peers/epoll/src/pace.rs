//! When the next emission is due. It never reads a clock.

use std::time::{Duration, Instant};

/// Merges changes: the first is sent at once, the others an interval after the last emission.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// Whether a rest as long as the emission follows it.
    rests: bool,
    due: Option<Instant>,
    changed: bool,
}

impl Pace {
    /// Nothing is due yet.
    pub fn new(interval: Duration, rests: bool) -> Self {
        Self { interval, rests, due: None, changed: false }
    }

    /// The count has changed.
    pub fn change(&mut self) {
        self.changed = true;
    }

    /// How long until an emission is due; `None` if nothing has changed.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let due = self.due.unwrap_or(now);
        self.changed.then(|| due.saturating_duration_since(now))
    }

    /// An emission is over.
    pub fn emitted(&mut self, start: Instant, end: Instant) {
        let rested = if self.rests { end + end.duration_since(start) } else { end };
        self.due = Some(rested.max(start + self.interval));
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
        let mut pace = Pace::new(interval, false);
        assert_eq!(pace.wait(start), None);
        pace.change();
        assert_eq!(pace.wait(start), Some(Duration::ZERO));
        pace.emitted(start, start + interval / 5);
        assert_eq!(pace.wait(start), None);
        pace.change();
        assert_eq!(pace.wait(start), Some(interval));
        assert_eq!(pace.wait(start + 2 * interval), Some(Duration::ZERO));
    }

    /// Goal: whoever rests sends for half of the time at most. Method: an emission that takes longer than the interval, with a rest
    /// and without.
    #[test]
    fn a_rest_is_as_long_as_the_emission() {
        let start = Instant::now();
        let interval = Duration::from_millis(50);
        for (rests, wait) in [(false, Duration::ZERO), (true, 2 * interval)] {
            let mut pace = Pace::new(interval, rests);
            let end = start + 2 * interval;
            pace.emitted(start, end);
            pace.change();
            assert_eq!(pace.wait(end), Some(wait));
        }
    }
}
