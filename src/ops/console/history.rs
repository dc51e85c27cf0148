//! What this instance counted in the last minutes, a sample each second: for rates, and for the line of the number. It costs
//! a few reads of memory a second, so it goes on while nobody looks.

use std::{collections::VecDeque, fmt::Write, time::Duration};

use tokio::time::Instant;

use super::{
    counters::{Counter, Counters},
    words,
};

/// How far back the line goes. A deploy, a failover or a rush is in view from its beginning.
pub(super) const SPAN: Duration = Duration::from_mins(10);
/// The time over which rates are a mean: short enough to follow a rush, long enough to be readable.
const RATE_SPAN: Duration = Duration::from_secs(10);
/// The most points of the line: one for each pixel or two of a phone.
const POINTS_MAX: usize = 200;
/// The box in which the line is drawn.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 100.0;

/// One second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// The number that is shown.
    pub(super) users: u64,
    /// Open sessions of this instance, and those of them that are not counted in the site: only in rooms, or watching.
    pub(super) sessions: u64,
    pub(super) outside: u64,
    /// Live instances, according to the store.
    pub(super) instances: u32,
    /// The revision of that number.
    pub(super) revision: u64,
    /// Whether the store answered.
    pub(super) is_reachable: bool,
    /// Users that the store holds for this instance beyond those that it has.
    pub(super) drift: i64,
    /// Whether counts of rooms were exact.
    pub(super) are_rooms_exact: bool,
    /// Memberships that the store holds for this instance beyond those that it has.
    pub(super) drift_of_rooms: i64,
    pub(super) counters: Counters,
}

/// The samples of the last [`SPAN`], the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
}

/// Sessions that begin and end a second on this instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) begun: f64,
    pub(super) ended: f64,
}

/// The line of the number, as paths of SVG in a box of 600 by 100.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Line {
    /// The line.
    pub(super) trace: String,
    /// The area below it.
    pub(super) area: String,
    /// How long it is, and its lowest and highest value.
    pub(super) caption: String,
}

impl History {
    pub(super) fn add(&mut self, sample: Sample) {
        let is_over = |oldest: &Sample| sample.at.saturating_duration_since(oldest.at) > SPAN;
        while self.samples.front().is_some_and(is_over) {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The mean rates of the last seconds; `None` before the second sample.
    pub(super) fn rates(&self) -> Option<Rates> {
        let newest = self.samples.back()?;
        let oldest = self.since(RATE_SPAN)?;
        let seconds = newest.at.saturating_duration_since(oldest.at).as_secs_f64();
        let mean = |counter| {
            #[allow(clippy::cast_precision_loss, reason = "nobody joins 2^53 times in ten seconds")]
            let grown = self.grown(counter, RATE_SPAN) as f64;
            grown / seconds
        };
        (seconds > 0.0).then(|| Rates {
            begun: mean(Counter::SessionStarts),
            ended: mean(Counter::SessionEnds),
        })
    }

    /// What was counted in the last `span`.
    pub(super) fn grown(&self, counter: Counter, span: Duration) -> u64 {
        let (Some(newest), Some(oldest)) = (self.samples.back(), self.since(span)) else {
            return 0;
        };
        newest.counters.get(counter).saturating_sub(oldest.counters.get(counter))
    }

    /// What was counted in as long a time before the last `span`.
    pub(super) fn grown_before(&self, counter: Counter, span: Duration) -> u64 {
        let (Some(middle), Some(oldest)) = (self.since(span), self.since(2 * span)) else {
            return 0;
        };
        middle.counters.get(counter).saturating_sub(oldest.counters.get(counter))
    }

    /// For how long something has been counted without a pause as long as `pause`; `None` if it is not counted any more.
    pub(super) fn keeps_growing(&self, counter: Counter, pause: Duration) -> Option<Duration> {
        let newest = self.samples.back()?;
        let mut since = None;
        let mut next = newest;
        for sample in self.samples.iter().rev().skip(1) {
            let has_grown = sample.counters.get(counter) < next.counters.get(counter);
            let until = since.unwrap_or(newest.at);
            if until.saturating_duration_since(next.at) > pause {
                break;
            }
            if has_grown {
                since = Some(next.at);
            }
            next = sample;
        }
        since.map(|since| newest.at.saturating_duration_since(since))
    }

    /// How often the count had another revision than a second before, in the last `span`.
    pub(super) fn revisions(&self, span: Duration) -> u64 {
        let samples = self.within(span).map(|sample| sample.revision);
        let next = self.within(span).skip(1).map(|sample| sample.revision);
        samples.zip(next).filter(|(before, after)| before != after).count() as u64
    }

    /// The mean drift of the last `span`; `None` if the store was away meanwhile, or so much time has not passed yet.
    pub(super) fn drift(&self, span: Duration) -> Option<f64> {
        let oldest = self.samples.front()?;
        let newest = self.samples.back()?;
        if newest.at.saturating_duration_since(oldest.at) < span || newest.drift == 0 {
            return None;
        }
        if self.within(span).any(|sample| !sample.is_reachable) {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "so many users are on no instance")]
        let mean = |sum: i64, samples: usize| sum as f64 / samples as f64;
        let drifts = self.within(span).map(|sample| sample.drift);
        Some(mean(drifts.clone().sum(), drifts.count()))
    }

    /// The drift of rooms that has been there all the time in the last `span`, if the counts of rooms were exact meanwhile: the least
    /// of it, whichever its sign. `None` if so much time has not passed yet.
    pub(super) fn lasting_drift_of_rooms(&self, span: Duration) -> Option<i64> {
        let (oldest, newest) = (self.samples.front()?, self.samples.back()?);
        if newest.at.saturating_duration_since(oldest.at) < span {
            return None;
        }
        if self.within(span).any(|sample| !sample.are_rooms_exact) {
            return None;
        }
        let drifts = self.within(span).map(|sample| sample.drift_of_rooms);
        let (least, most) = (drifts.clone().min()?, drifts.max()?);
        Some(least.max(0) + most.min(0))
    }

    /// The highest value in the last `span`.
    pub(super) fn most(&self, value: fn(&Sample) -> u64, span: Duration) -> u64 {
        self.within(span).map(value).max().unwrap_or_default()
    }

    /// The most instances that were live at a time.
    pub(super) fn instances_max(&self) -> u32 {
        self.samples.iter().map(|sample| sample.instances).max().unwrap_or_default()
    }

    /// The oldest sample of the last `span`.
    fn since(&self, span: Duration) -> Option<&Sample> {
        self.within(span).next()
    }

    /// The samples of the last `span`, the oldest first.
    fn within(&self, span: Duration) -> impl Iterator<Item = &Sample> + Clone {
        let newest = self.samples.back().map(|sample| sample.at);
        let is_older = move |sample: &Sample| {
            newest.is_some_and(|at| at.saturating_duration_since(sample.at) > span)
        };
        let older = self.samples.partition_point(is_older);
        self.samples.range(older..)
    }

    /// The line. A value stands until the next one, so it has steps.
    pub(super) fn line(&self) -> Line {
        let (Some(oldest), Some(newest)) = (self.samples.front(), self.samples.back()) else {
            return Line::default();
        };
        let users = || self.samples.iter().map(|sample| sample.users);
        let (low, high) = (users().min().unwrap_or(0), users().max().unwrap_or(0));
        let span = newest.at.saturating_duration_since(oldest.at);
        let mut trace = String::new();
        for (sample, is_first) in self.points().zip((0..).map(|point| point == 0)) {
            let x = share(sample.at.saturating_duration_since(oldest.at), span) * WIDTH;
            let y = height(sample.users, low, high);
            let written =
                if is_first { write!(trace, "M0,{y:.1}") } else { write!(trace, "H{x:.1}V{y:.1}") };
            written.expect("writing to memory does not fail");
        }
        write!(trace, "H{WIDTH}").expect("writing to memory does not fail");
        let area = format!("{trace}V{HEIGHT}H0Z");
        let (length, low, high) = (words::ago(span), words::number(low), words::number(high));
        Line { trace, area, caption: format!("the last {length}: lowest {low}, highest {high}") }
    }

    /// At most [`POINTS_MAX`] samples, evenly, among them the first and the last.
    fn points(&self) -> impl Iterator<Item = &Sample> {
        let step = self.samples.len().div_ceil(POINTS_MAX).max(1);
        let last = self.samples.len().saturating_sub(1);
        let chosen = move |position: usize| position == 0 || (last - position).is_multiple_of(step);
        self.samples.iter().enumerate().filter(move |(at, _)| chosen(*at)).map(|(_, sample)| sample)
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

/// Between a tenth and nine tenths of the box; a number that does not change is in the middle.
#[allow(clippy::cast_precision_loss, reason = "it is a picture")]
fn height(users: u64, low: u64, high: u64) -> f64 {
    if low == high {
        return HEIGHT / 2.0;
    }
    let share = (users - low) as f64 / (high - low) as f64;
    HEIGHT * (0.9 - 0.8 * share)
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
