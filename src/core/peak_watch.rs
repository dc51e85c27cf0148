//! Decides which counts become peaks, and when to ask the store. No clock and no I/O: times are passed in.
//!
//! An exact count may still include users twice: those of an instance that has crashed are counted until its lease ends, and
//! meanwhile they come back elsewhere. So a count becomes a peak only with a proof that every instance in it was alive:
//!
//! ```text
//!            sight                 next answer                every instance has reported again
//!  the view ───────▶ fresh ─────────────────────▶ waiting ──────────────────────────────────────▶ known
//!                      │  who is alive right after it   │
//!                      ▼                                ▼
//!                    dropped: an instance that was alive has vanished without a farewell
//! ```
//!
//! Users with an identity are taken out of the count in portions when their incarnation has ended. While the store does that, no count
//! is taken note of.
//!
//! An instance has reported again once the store has a sequence number of it that was sent after the answer, or its farewell. A
//! count that lasts for a moment is a peak as well: it need not last until the proof is complete.

use std::{collections::HashMap, mem, time::Duration};

use tokio::time::Instant;

use super::{
    count::{Revision, Sequence},
    pace::whole_millis,
    peaks::{Attendance, DAY_MS, Peak, Peaks, PeaksAnswer, ShownPeaks, Sight},
};

/// How often an instance that knows nothing new asks the store what others know.
pub const READ_EVERY: Duration = Duration::from_secs(30);
/// The least time between two calls of an instance, for every live instance: all together make at most 100 calls a second.
const GAP_PER_INSTANCE: Duration = Duration::from_millis(10);
/// When an instance dies, at most two of its reports are under way (`pace.rs`). The store may apply them later. So a number that
/// is greater by three was sent by an instance that was alive.
const PROOF: u64 = 3;
/// The most counts of one day that wait for their proof: one that does not change until it is decided, and the highest one
/// since. If there were only one, a count that grows all the time would never be decided.
const WAITING_PER_DAY_MAX: usize = 2;
/// The most days of which counts are fresh: they are of different days only around midnight.
const FRESH_MAX: usize = 2;

/// The peaks as this instance knows them, and the counts that may become peaks.
#[derive(Debug)]
pub struct PeakWatch {
    lease: Duration,
    heartbeat: Duration,
    /// Live instances, which share the pace.
    instances: u32,
    /// What this instance knows. The store knows the same unless `untold`.
    known: Peaks,
    untold: bool,
    /// The store's time, and when it was that.
    clock: Option<(Instant, u64)>,
    /// Exact counts above all peaks of their days, the highest of each day.
    fresh: Vec<Sight>,
    waiting: Vec<Candidate>,
    /// The last answer's attendance, and when it was asked for.
    attendance: Option<(Instant, Attendance)>,
    /// Counts with a lower revision may include an instance that has crashed.
    doubtful_below: Revision,
    last_call: Option<Call>,
    failures: u32,
}

/// A count that waits for its proof.
#[derive(Debug)]
struct Candidate {
    peak: Peak,
    /// The instances that have to report again, and the last sequence number of each.
    unproven: HashMap<String, Sequence>,
}

/// The last call.
#[derive(Clone, Copy, Debug)]
struct Call {
    at: Instant,
    /// Whether there was something to tell or to decide.
    had_business: bool,
}

/// What became of a candidate.
enum Verdict {
    True,
    Open,
    Doubtful,
}

impl PeakWatch {
    /// A watch that knows nothing.
    pub fn new(lease: Duration, heartbeat: Duration) -> Self {
        Self {
            lease,
            heartbeat,
            instances: 1,
            known: Peaks::default(),
            untold: false,
            clock: None,
            fresh: Vec::new(),
            waiting: Vec::new(),
            attendance: None,
            doubtful_below: Revision::default(),
            last_call: None,
            failures: 0,
        }
    }

    /// Takes note of an exact count.
    pub fn see(&mut self, sight: Sight) {
        let day = self.day_at(sight.at);
        let is_doubtful = sight.revision < self.doubtful_below;
        if sight.users == 0 || is_doubtful || sight.users <= self.highest_on(day) {
            return;
        }
        let mut fresh = mem::take(&mut self.fresh);
        fresh.retain(|other| self.day_at(other.at) != day);
        fresh.push(sight);
        if fresh.len() > FRESH_MAX {
            fresh.remove(0);
        }
        self.fresh = fresh;
    }

    /// Takes note of the number of live instances.
    pub fn count_instances(&mut self, instances: u32) {
        self.instances = instances;
    }

    /// The store has lost its data. What waits cannot be proven any more, and what is known has to be told again.
    pub fn store_forgot(&mut self) {
        self.fresh.clear();
        self.waiting.clear();
        self.attendance = None;
        self.untold = true;
    }

    /// When the store is to be called next. Between two calls is at least a heartbeat, but for the first count above the peaks
    /// after a time without any: whoever is alive must be known as of that moment.
    pub fn due(&self, now: Instant) -> Instant {
        let Some(last) = self.last_call else {
            return now;
        };
        let gap_ends = last.at + self.heartbeat.max(GAP_PER_INSTANCE * self.instances);
        if self.failures > 0 {
            let backoff = self.heartbeat * 2u32.saturating_pow(self.failures.min(16));
            return gap_ends.max(last.at + backoff.min(READ_EVERY));
        }
        if self.has_business() {
            let is_first = !last.had_business && !self.fresh.is_empty();
            return if is_first { now } else { gap_ends };
        }
        gap_ends.max(last.at + READ_EVERY)
    }

    /// When the next day of the store begins, from which on the highest count is that of another day; `None` before the first
    /// answer.
    pub fn midnight(&self, now: Instant) -> Option<Instant> {
        Some(now + Duration::from_millis(DAY_MS - self.time_at(now)? % DAY_MS))
    }

    /// Begins a call of the store. Returns what to tell it.
    pub fn call(&mut self, now: Instant) -> Peaks {
        self.last_call = Some(Call { at: now, had_business: self.has_business() });
        self.known.clone()
    }

    /// The call has failed.
    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The answer to the call that was made at `called_at`.
    pub fn answered(&mut self, answer: PeaksAnswer, called_at: Instant) {
        let PeaksAnswer { now, peaks, attendance } = answer;
        self.failures = 0;
        self.clock = Some((called_at, now));
        self.known = peaks;
        self.untold = false;
        let has_lost_somebody = self.has_lost_somebody(&attendance, called_at);
        let had_dead = self.has_dead();
        if self.decide(&attendance) || has_lost_somebody == Some(true) || had_dead {
            // Whoever was lost is not in the count any more, which is a change, so later counts have at least this revision.
            self.doubtful_below = attendance.revision;
            self.fresh.retain(|sight| sight.revision >= attendance.revision);
        }
        if attendance.has_dead {
            self.fresh.clear();
        }
        self.let_wait(&attendance, called_at, has_lost_somebody.is_some());
        self.attendance = Some((called_at, attendance));
    }

    /// The peaks to show at `now`.
    pub fn shown(&self, now: Instant) -> ShownPeaks {
        let today = self.day_at(now).and_then(|day| self.known.on(day));
        ShownPeaks { today, ever: self.known.ever() }
    }

    /// Whether every count may include users of incarnations that have ended: the last answer said so.
    fn has_dead(&self) -> bool {
        self.attendance.as_ref().is_some_and(|(_, attendance)| attendance.has_dead)
    }

    /// Whether an instance has crashed since the last answer. Farewells are remembered for a lease, so whoever has vanished
    /// within a lease has crashed. `None` if the last answer is older.
    fn has_lost_somebody(&self, attendance: &Attendance, called_at: Instant) -> Option<bool> {
        let (at, before) = self.attendance.as_ref()?;
        let is_recent = called_at.saturating_duration_since(*at) < self.lease;
        let is_lost = |incarnation| !attendance.instances.contains_key(incarnation);
        is_recent.then(|| before.counted().any(|(incarnation, _)| is_lost(incarnation)))
    }

    /// Decides which counts have their proof, and drops those that will never have it. Returns whether there were such.
    fn decide(&mut self, attendance: &Attendance) -> bool {
        let before = self.waiting.len();
        let mut proven = Vec::new();
        self.waiting.retain_mut(|candidate| match candidate.judge(attendance) {
            Verdict::Open => true,
            Verdict::Doubtful => false,
            Verdict::True => {
                proven.push(candidate.peak);
                false
            }
        });
        let is_somebody_doubtful = self.waiting.len() + proven.len() < before;
        for peak in proven {
            self.untold |= self.known.on(peak.day()).is_none_or(|known| peak.users > known.users);
            self.known.add(peak);
        }
        is_somebody_doubtful
    }

    /// Lets the fresh counts of before the call wait, for the instances that were alive then. `is_complete` says that nobody can
    /// have vanished between a count and the call unnoticed.
    fn let_wait(&mut self, attendance: &Attendance, called_at: Instant, is_complete: bool) {
        let unproven: HashMap<_, _> = attendance
            .counted()
            .map(|(incarnation, attendee)| (incarnation.clone(), attendee.sequence))
            .collect();
        if unproven.is_empty() {
            // The store has lost its data, since this instance is alive.
            return;
        }
        for sight in mem::take(&mut self.fresh) {
            let is_unchanged = sight.revision == attendance.revision;
            let are_all_there = unproven.len() >= sight.instances as usize;
            if sight.at > called_at {
                self.fresh.push(sight);
            } else if is_complete || is_unchanged || are_all_there {
                self.add_candidate(sight, &unproven);
            }
        }
    }

    fn add_candidate(&mut self, sight: Sight, unproven: &HashMap<String, Sequence>) {
        let Some(at) = self.time_at(sight.at) else { return };
        let peak = Peak { users: sight.users, at };
        if self.known.on(peak.day()).is_some_and(|known| peak.users <= known.users) {
            return;
        }
        let same_day = |other: &Candidate| other.peak.day() == peak.day();
        if self.waiting.iter().filter(|other| same_day(other)).count() >= WAITING_PER_DAY_MAX {
            let last = self.waiting.iter().rposition(same_day);
            self.waiting.remove(last.expect("some are of this day"));
        }
        self.waiting.push(Candidate { peak, unproven: unproven.clone() });
    }

    fn has_business(&self) -> bool {
        self.untold || self.has_dead() || !self.fresh.is_empty() || !self.waiting.is_empty()
    }

    /// The highest count of a day that is known, waits or is fresh.
    fn highest_on(&self, day: Option<u64>) -> u64 {
        let fresh = self.fresh.iter().filter(|sight| self.day_at(sight.at) == day);
        let waiting = self.waiting.iter().filter(|candidate| Some(candidate.peak.day()) == day);
        let known = day.and_then(|day| self.known.on(day));
        let fresh = fresh.map(|sight| sight.users);
        let waiting = waiting.map(|candidate| candidate.peak.users);
        fresh.chain(waiting).chain(known.map(|peak| peak.users)).max().unwrap_or(0)
    }

    /// The day that it is for the store at `at`; `None` before the first answer.
    fn day_at(&self, at: Instant) -> Option<u64> {
        Some(self.time_at(at)? / DAY_MS)
    }

    /// The store's time at `at`.
    fn time_at(&self, at: Instant) -> Option<u64> {
        let (then, time) = self.clock?;
        let later = whole_millis(at.saturating_duration_since(then));
        let earlier = whole_millis(then.saturating_duration_since(at));
        Some((time + later).saturating_sub(earlier))
    }
}

impl Candidate {
    fn judge(&mut self, attendance: &Attendance) -> Verdict {
        let mut is_somebody_lost = false;
        self.unproven.retain(|incarnation, sequence| {
            let Some(attendee) = attendance.instances.get(incarnation) else {
                is_somebody_lost = true;
                return true;
            };
            attendee.is_counted && attendee.sequence.0 < sequence.0.saturating_add(PROOF)
        });
        match self.unproven.is_empty() {
            true => Verdict::True,
            false if is_somebody_lost => Verdict::Doubtful,
            false => Verdict::Open,
        }
    }
}

#[cfg(test)]
#[path = "peak_watch/tests.rs"]
mod tests;
