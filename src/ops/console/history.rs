//! What this instance counted in the last minutes, a sample each second: for rates, and for the line of the number. It costs
//! a few reads of memory a second, so it goes on while nobody looks.

use std::{collections::VecDeque, fmt::Write, time::Duration};

use tokio::time::Instant;

use super::words;

/// How far back the line goes. A deploy, a failover or a rush is in view from its beginning.
pub(super) const SPAN: Duration = Duration::from_mins(10);
/// The time over which rates are a mean: short enough to follow a rush, long enough to be readable.
const RATE_SPAN: Duration = Duration::from_secs(10);
/// How far back refusals count as news.
pub(super) const RECENT: Duration = Duration::from_mins(5);
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
    /// Live instances, according to the store.
    pub(super) instances: u32,
    /// Connections that this instance has counted in since its start.
    pub(super) joins: u64,
    /// Connections that it has counted out.
    pub(super) leaves: u64,
    /// Requests that it has refused because it was full.
    pub(super) turned_away: u64,
}

/// The samples of the last [`SPAN`], the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
}

/// Joins and leaves a second on this instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) joins: f64,
    pub(super) leaves: f64,
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
        let mean = |from: u64, to: u64| {
            #[allow(clippy::cast_precision_loss, reason = "nobody joins 2^53 times in ten seconds")]
            let grown = to.saturating_sub(from) as f64;
            grown / seconds
        };
        (seconds > 0.0).then(|| Rates {
            joins: mean(oldest.joins, newest.joins),
            leaves: mean(oldest.leaves, newest.leaves),
        })
    }

    /// Requests that were refused lately because the instance was full.
    pub(super) fn turned_away(&self) -> u64 {
        let (Some(newest), Some(oldest)) = (self.samples.back(), self.since(RECENT)) else {
            return 0;
        };
        newest.turned_away.saturating_sub(oldest.turned_away)
    }

    /// The most instances that were live at a time.
    pub(super) fn instances_max(&self) -> u32 {
        self.samples.iter().map(|sample| sample.instances).max().unwrap_or_default()
    }

    /// The oldest sample of the last `span`.
    fn since(&self, span: Duration) -> Option<&Sample> {
        let newest = self.samples.back()?;
        self.samples.iter().find(|sample| newest.at.saturating_duration_since(sample.at) <= span)
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
mod tests {
    use super::*;

    fn history(users: &[u64]) -> History {
        let start = Instant::now();
        let mut history = History::default();
        for (second, &users) in (0..).zip(users) {
            let (at, joins) = (start + Duration::from_secs(second), second * 3);
            let sample =
                Sample { at, users, instances: 1, joins, leaves: second, turned_away: second };
            history.add(sample);
        }
        history
    }

    /// Goal: rates are those of the last seconds. Method: three joins and a leave each second, and too few samples.
    #[test]
    fn rates_are_means() {
        assert_eq!(history(&[1]).rates(), None);
        assert_eq!(history(&[1, 2]).rates(), Some(Rates { joins: 3.0, leaves: 1.0 }));
        assert_eq!(history(&[7; 100]).rates(), Some(Rates { joins: 3.0, leaves: 1.0 }));
        assert_eq!(history(&[7; 400]).turned_away(), 300);
        assert_eq!(History::default().turned_away(), 0);
    }

    /// Goal: memory is bounded, and so is what is sent. Method: an hour of samples.
    #[test]
    fn an_hour_is_cut_to_ten_minutes() {
        let history = history(&vec![7; 3600]);
        assert_eq!(history.samples.len(), 601);
        assert!(history.points().count() <= POINTS_MAX + 1);
        assert_eq!(history.points().last().unwrap().at, history.samples.back().unwrap().at);
        assert!(history.line().trace.len() < 4096, "{}", history.line().trace.len());
    }

    /// Goal: the line rises with the number and stays in its box. Method: a rise, no change, and nothing at all.
    #[test]
    fn lines() {
        let line = history(&[0, 0, 10]).line();
        assert_eq!(line.trace, "M0,90.0H300.0V90.0H600.0V10.0H600");
        assert_eq!(line.area, "M0,90.0H300.0V90.0H600.0V10.0H600V100H0Z");
        assert_eq!(line.caption, "the last 2 s: lowest 0, highest 10");
        assert_eq!(history(&[5]).line().trace, "M0,50.0H600");
        assert_eq!(History::default().line(), Line::default());
    }
}
