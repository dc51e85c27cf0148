//! Decides when the next report or emission is due, from instants that are passed in.
//!
//! After a quiet time the first change is sent at once. After it comes a gap, in which further changes merge. So the cost of a
//! rush depends on its length, not on its size.

use std::time::Duration;

use tokio::time::Instant;

use super::tally::Change;

/// The least time between two reports of one instance. A client that joins just after a report waits this long, so it decides
/// the slowest first counts. At 200 reports a second, one instance costs Redis less than two percent of a core.
pub const REPORT_GAP_MIN: Duration = Duration::from_millis(5);
/// The gap is at least this × the number of live instances. So all instances together send at most 2,000 reports a second. A
/// report costs Redis 40 to 100 µs.
pub const REPORT_GAP_PER_INSTANCE: Duration = Duration::from_micros(500);
/// The store publishes at most one announcement in this time × the number of live instances; the script holds the same
/// number. Delivering a message costs Redis about 1 µs for each subscriber, so announcements take at most 0.4 % of its time.
pub const ANNOUNCEMENT_GAP_PER_INSTANCE: Duration = Duration::from_micros(250);
/// A report without an answer for this long makes the store unreachable, and lets a second report start on another
/// connection.
pub const ANSWER_OVERDUE: Duration = Duration::from_millis(750);
/// The most reports under way: one that hangs, and one that tries another connection.
const IN_FLIGHT_MAX: usize = 2;
/// The wait before the first retry after a failure. It doubles with every further failure, up to the heartbeat.
const RETRY_MIN: Duration = Duration::from_millis(50);

/// Decides when the next report is due.
///
/// ```text
///  change ─▶ gap over? ─▶ send ─▶ answered ─▶ unannounced or much reaped? ─▶ follow-up
///                          │
///                          └─▶ failed ─▶ retry: 50, 100, … ms, at most one heartbeat
///  always: one heartbeat after the last send
/// ```
#[derive(Debug)]
pub struct ReportPace {
    heartbeat: Duration,
    instances: u32,
    last_sent: Option<Instant>,
    /// The newest change that was sent, answered or not. Later ones still have to be reported.
    reported: Change,
    /// When each report under way was sent, oldest first; at most [`IN_FLIGHT_MAX`].
    in_flight: Vec<Instant>,
    /// When the newest answered report was sent.
    answered: Option<Instant>,
    follow_up: Option<Instant>,
    /// Failures since the last answer, and when to try again. A change does not hasten the retry.
    failures: u32,
    retry: Option<Instant>,
    started: Instant,
}

impl ReportPace {
    /// A pace whose first report is due at `now`.
    pub fn new(heartbeat: Duration, now: Instant) -> Self {
        Self {
            heartbeat,
            instances: 1,
            last_sent: None,
            reported: Change::default(),
            in_flight: Vec::with_capacity(IN_FLIGHT_MAX),
            answered: None,
            follow_up: None,
            failures: 0,
            retry: None,
            started: now,
        }
    }

    /// When the next report is due, given the newest local change; `None` while [`IN_FLIGHT_MAX`] reports are under way.
    pub fn due(&self, newest: Change) -> Option<Instant> {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let Some(last_sent) = self.last_sent else {
            return Some(self.started);
        };
        let gap_ends = last_sent + self.gap();
        let heartbeat = last_sent + self.heartbeat;
        let news = (newest > self.reported).then_some(gap_ends);
        let sooner = match self.retry {
            Some(retry) => Some(retry),
            None => [news, self.follow_up.map(|at| at.max(gap_ends))].into_iter().flatten().min(),
        };
        let due = sooner.map_or(heartbeat, |at| at.min(heartbeat));
        Some(self.overdue().map_or(due, |overdue| due.max(overdue)))
    }

    /// When the store counts as unreachable if no report is answered by then. A report does not matter if a later one was
    /// answered: its connection hangs, not the store.
    pub fn silence(&self) -> Option<Instant> {
        let unanswered = self.in_flight.iter().find(|&&sent_at| Some(sent_at) > self.answered);
        unanswered.map(|&sent_at| sent_at + ANSWER_OVERDUE)
    }

    /// When the oldest report under way has taken so long that another may try.
    fn overdue(&self) -> Option<Instant> {
        self.in_flight.first().map(|&sent_at| sent_at + ANSWER_OVERDUE)
    }

    /// Records that a report was sent with all changes up to `change`.
    pub fn sent(&mut self, change: Change, now: Instant) {
        assert!(self.in_flight.len() < IN_FLIGHT_MAX, "a report was sent that was not due");
        self.last_sent = Some(now);
        self.reported = change;
        self.in_flight.push(now);
        self.follow_up = None;
        self.retry = None;
    }

    /// Records the answer to the report that was sent at `sent_at`.
    pub fn answered(&mut self, sent_at: Instant, answer: Feedback, now: Instant) {
        self.land(sent_at);
        self.answered = self.answered.max(Some(sent_at));
        self.failures = 0;
        self.retry = None;
        self.instances = answer.instances.max(1);
        if answer.more_to_reap {
            self.hurry(now);
        } else if answer.unannounced {
            self.hurry(now + ANNOUNCEMENT_GAP_PER_INSTANCE * self.instances);
        }
    }

    /// Whether a report that was sent later than `sent_at` has been answered.
    pub fn overtaken(&self, sent_at: Instant) -> bool {
        self.answered > Some(sent_at)
    }

    /// Records that the report that was sent at `sent_at` failed.
    pub fn failed(&mut self, sent_at: Instant, now: Instant) {
        self.land(sent_at);
        if self.overtaken(sent_at) {
            return;
        }
        let wait = RETRY_MIN * 2u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.retry = Some(now + wait.min(self.heartbeat));
    }

    /// Asks for a report at `at`, or as soon after it as the gap allows.
    pub fn hurry(&mut self, at: Instant) {
        self.follow_up = Some(self.follow_up.map_or(at, |earlier| earlier.min(at)));
    }

    /// The least time between two reports, for this number of instances.
    fn gap(&self) -> Duration {
        REPORT_GAP_MIN.max(REPORT_GAP_PER_INSTANCE * self.instances).min(self.heartbeat)
    }

    fn land(&mut self, sent_at: Instant) {
        let index = self.in_flight.iter().position(|&at| at == sent_at);
        self.in_flight.remove(index.expect("only a report that was sent can land"));
    }
}

/// What an answered report tells the pace.
#[derive(Clone, Copy, Debug)]
pub struct Feedback {
    /// Live instances.
    pub instances: u32,
    /// The store holds a revision it has not published yet.
    pub unannounced: bool,
    /// The call removed as many expired leases as one call may, so there may be more.
    pub more_to_reap: bool,
}

/// Decides when the next emission is due: at once after a quiet time, then at most once in every interval. Emissions take at
/// most half of the time, so that emitting to very many sockets leaves time for everything else.
#[derive(Debug)]
pub struct EmissionPace {
    interval: Duration,
    last: Option<(Instant, Instant)>,
}

impl EmissionPace {
    /// A pace with at most one emission in every `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval, last: None }
    }

    /// When the next emission may start; `None` if it may start now.
    pub fn due(&self) -> Option<Instant> {
        let (start, end) = self.last?;
        let as_long_again = end + end.saturating_duration_since(start);
        Some(as_long_again.max(start + self.interval))
    }

    /// Records an emission.
    pub fn emitted(&mut self, start: Instant, end: Instant) {
        self.last = Some((start, end));
    }
}

/// How far [`HalfTime`] may be ahead. It covers the work of a few milliseconds, so that a little work need not wait for the
/// rest after the work before it.
const AHEAD_MAX: Duration = Duration::from_millis(5);

/// Limits a task to half of the time: after each piece of work the task rests as long as the piece took. Short rests are
/// saved up, since no timer is exact enough for them.
#[derive(Debug, Default)]
pub struct HalfTime {
    /// When work and rest so far end, if all rests are taken in full.
    rested: Option<Instant>,
}

impl HalfTime {
    /// When the next piece of work may start; `None` if it may start now.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.rested?.checked_sub(AHEAD_MAX).filter(|&due| due > now)
    }

    /// Records a piece of work.
    pub fn worked(&mut self, start: Instant, end: Instant) {
        let from = self.rested.map_or(start, |rested| rested.max(start));
        self.rested = Some(from + 2 * end.saturating_duration_since(start));
    }
}

/// A duration in whole milliseconds, rounded down.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "pace/tests.rs"]
mod tests;
