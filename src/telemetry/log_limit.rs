//! Limits log lines about events that may happen at any rate, for example because strangers cause them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Allows one log line in every `gap`, and counts the events in between.
#[derive(Debug)]
pub struct LogLimit {
    gap: Duration,
    /// Shared by the tasks of all connections. The lock is held for a comparison only.
    state: Mutex<LogLimitState>,
}

#[derive(Debug, Default)]
struct LogLimitState {
    told_at: Option<Instant>,
    held_back: u64,
}

impl LogLimit {
    /// Allows at most one line in every `gap`.
    pub fn new(gap: Duration) -> Self {
        Self { gap, state: Mutex::default() }
    }

    /// Records an event. If it may be logged now, returns the number of events that were not logged since the last line.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told_at.is_some_and(|at| now.saturating_duration_since(at) < self.gap) {
            state.held_back += 1;
            return None;
        }
        let LogLimitState { held_back, .. } = std::mem::take(&mut *state);
        state.told_at = Some(now);
        Some(held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the first event is logged at once, then one in every gap, with the number of events in between. Method: a few
    /// events in each of three minutes.
    #[test]
    fn one_line_in_a_gap() {
        let limit = LogLimit::new(Duration::from_mins(1));
        let start = Instant::now();
        let at = |seconds| limit.admit(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(59)], [Some(0), None, None]);
        assert_eq!([at(60), at(119)], [Some(2), None]);
        assert_eq!([at(180), at(300)], [Some(1), Some(0)]);
    }
}
