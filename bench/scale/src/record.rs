//! The notes of the instances as distributions: how long the store took to acknowledge a join, and how long
//! the news took to reach every other instance. Pure.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;
use tokio::time::Instant;

use crate::instance::Instance;

/// The number of joins that are followed to all instances; each of them is looked up on every instance.
const FOLLOWED: usize = 200;

/// The distributions of one run.
#[derive(Debug)]
pub struct Record {
    acknowledged: Histogram<u64>,
    announced: Histogram<u64>,
    joins: u64,
    lost: u64,
    seconds: f64,
    observed: Duration,
}

impl Record {
    /// Adds up the notes. Visitors joined during `time`; news of them was watched during `observed`, which is
    /// longer.
    pub fn of(instances: &[Instance], time: Duration, observed: Duration) -> Self {
        let mut record = Self {
            acknowledged: histogram(),
            announced: histogram(),
            joins: 0,
            lost: 0,
            seconds: time.as_secs_f64(),
            observed,
        };
        let mut joins = Vec::new();
        for instance in instances {
            let notes = instance.notes();
            record.joins += notes.acknowledged.len() as u64;
            for &(joined_at, acknowledged_at, revision) in &notes.acknowledged {
                record.acknowledged.saturating_record(micros(acknowledged_at - joined_at));
                // If as many left as joined between two reports, there is no news to follow.
                if notes.known_since(revision).is_some_and(|since| since > joined_at) {
                    joins.push((joined_at, revision));
                }
            }
        }
        joins.sort();
        for &(joined_at, revision) in joins.iter().step_by((joins.len() / FOLLOWED).max(1)) {
            for instance in instances {
                let notes = instance.notes();
                match notes.known_since(revision) {
                    Some(known_at) => record.follow(joined_at, known_at),
                    None => record.lost += 1,
                }
            }
        }
        record
    }

    fn follow(&mut self, joined_at: Instant, known_at: Instant) {
        self.announced.saturating_record(micros(known_at.saturating_duration_since(joined_at)));
    }

    /// The results as one line of JSON.
    pub fn to_json(&self) -> String {
        let of = |histogram: &Histogram<u64>, quantile| {
            histogram.value_at_quantile(quantile) as f64 / 1e3
        };
        json!({
            "observed_s": self.observed.as_secs_f64(),
            "joins_per_s": self.joins as f64 / self.seconds,
            "acknowledged_p50_ms": of(&self.acknowledged, 0.5),
            "acknowledged_p99_ms": of(&self.acknowledged, 0.99),
            "known_everywhere_p50_ms": of(&self.announced, 0.5),
            "known_everywhere_p99_ms": of(&self.announced, 0.99),
            "known_everywhere_max_ms": of(&self.announced, 1.0),
            "never_known": self.lost as f64,
        })
        .to_string()
    }
}

/// Microseconds with three significant digits, up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).expect("the bounds are valid")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
