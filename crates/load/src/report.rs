//! The report of a run: a table for people, and the same as JSON. Pure.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    flags::{LoadConfig, Target},
    stats::Totals,
    verdict::{ServerSays, Verdict},
};

/// The report of one run. Durations are in the unit of their names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The servers.
    pub urls: Vec<String>,
    /// How visitors connected.
    pub transport: &'static str,
    /// From the first join to the check of the count.
    pub seconds: f64,
    /// Whether a signal ended it.
    pub stopped_early: bool,
    /// Visits that were begun; a visitor that comes back counts again.
    pub started: u64,
    /// Visitors that received a count.
    pub connected: u64,
    /// Visitors that never received one, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Visitors that lost their connection later, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Visitors that left before the end because they were asked to.
    pub left: u64,
    /// Visitors that were missing at the end because they were refused or had lost their connection.
    pub missing: u64,
    /// Counts received by all visitors.
    pub counts_received: u64,
    /// From the start of the connect to the first count.
    pub connect_to_count: Latency,
    /// From the request to join the namespace to the first count.
    pub join_to_count: Latency,
    /// Whether visitors and servers agreed at the end.
    pub end: Verdict,
    /// Milliseconds from the last join or leave until all agreed, or until the settle time was over.
    pub settled_ms: u64,
    /// Nobody is missing and everybody agrees.
    pub right: bool,
}

/// The percentiles of a latency, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs, reason = "the names say all there is")]
pub struct Latency {
    pub samples: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p99_9_ms: f64,
    pub max_ms: f64,
}

impl Latency {
    /// The percentiles of a histogram of microseconds; all are zero if nobody connected.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |percent| milliseconds(histogram.value_at_percentile(percent));
        Self {
            samples: histogram.len(),
            p50_ms: at(50.0),
            p90_ms: at(90.0),
            p99_ms: at(99.0),
            p99_9_ms: at(99.9),
            max_ms: milliseconds(histogram.max()),
        }
    }
}

/// Milliseconds to the hundredth: a latency is kept to three digits.
#[allow(clippy::cast_precision_loss, reason = "a latency ends at a minute")]
fn milliseconds(micros: u64) -> f64 {
    (micros as f64 / 10.0).round() / 100.0
}

/// A duration in whole milliseconds, rounded down.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a report is made of.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) config: &'a LoadConfig,
    pub(crate) totals: &'a Totals,
    pub(crate) counts_received: u64,
    pub(crate) missing: usize,
    pub(crate) verdict: Verdict,
    /// From the first join to the last look at the counts.
    pub(crate) took: Duration,
    /// The part of it after the last join or leave.
    pub(crate) settled: Duration,
    pub(crate) stopped_early: bool,
}

impl Report {
    pub(crate) fn of(run: Run<'_>) -> Self {
        let Run { config, totals, counts_received, missing, verdict, took, settled, stopped_early } =
            run;
        Self {
            urls: config.targets.iter().map(Target::to_string).collect(),
            transport: config.transport.name(),
            seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0,
            stopped_early,
            started: totals.started,
            connected: totals.connected,
            refused: totals.refused.clone(),
            lost: totals.lost.clone(),
            left: totals.left,
            missing: missing as u64,
            counts_received,
            connect_to_count: Latency::of(&totals.connect_to_count),
            join_to_count: Latency::of(&totals.join_to_count),
            right: missing == 0 && verdict.is_right(),
            end: verdict,
            settled_ms: whole_millis(settled),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transport, seconds, started, connected, left, end, .. } = self;
        let early = if self.stopped_early { ", stopped early" } else { "" };
        writeln!(
            f,
            "headcount load: {transport} to {}, {seconds:.1} s{early}\n",
            self.urls.join(" ")
        )?;
        writeln!(f, "{:<18}{started:>10}", "visitors")?;
        writeln!(f, "{:<18}{connected:>10}", "connected")?;
        reasons(f, "refused", &self.refused)?;
        reasons(f, "lost", &self.lost)?;
        writeln!(f, "{:<18}{left:>10}", "left")?;
        writeln!(f, "{:<18}{:>10}\n", "counts received", self.counts_received)?;
        let heads = ["p50", "p90", "p99", "p99.9", "max"];
        row(f, "latency in ms", heads.map(str::to_owned))?;
        row(f, "connect to count", self.connect_to_count.cells())?;
        row(f, "join to count", self.join_to_count.cells())?;
        writeln!(f)?;
        writeln!(f, "at the end, after {} ms without joins and leaves", self.settled_ms)?;
        writeln!(f, "{:<18}{:>10}  {} others", "count", end.count, end.others)?;
        writeln!(f, "{:<18}{:>10}  {} missing", "connections", end.connections, self.missing)?;
        write!(f, "{:<18}{:>10}", "disagreeing", end.disagreeing)?;
        for (number, times) in &end.told_instead {
            write!(f, "  {times} told {number}")?;
        }
        for server in &end.servers {
            write!(f, "\n{server}")?;
        }
        let verdict = if self.right { "right" } else { "WRONG" };
        write!(f, "\n{:<18}{verdict:>10}", "verdict")
    }
}

impl Latency {
    fn cells(&self) -> [String; 5] {
        let Self { p50_ms, p90_ms, p99_ms, p99_9_ms, max_ms, .. } = self;
        [p50_ms, p90_ms, p99_ms, p99_9_ms, max_ms].map(|value| format!("{value:.2}"))
    }
}

impl fmt::Display for ServerSays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, count, exact } = self;
        match count {
            Some(count) if *exact == Some(false) => write!(f, "{url} says {count}, an estimate"),
            Some(count) => write!(f, "{url} says {count}"),
            None => write!(f, "{url} does not say"),
        }
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, cells: [String; 5]) -> fmt::Result {
    write!(f, "{name:<18}")?;
    for cell in cells {
        write!(f, "{cell:>10}")?;
    }
    writeln!(f)
}

/// A line with a sum, and behind it how often each reason occurred.
fn reasons(f: &mut fmt::Formatter<'_>, name: &str, reasons: &BTreeMap<String, u64>) -> fmt::Result {
    let sum: u64 = reasons.values().sum();
    write!(f, "{name:<18}{sum:>10}")?;
    for (reason, times) in reasons {
        write!(f, "  {times} {reason}")?;
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use headcount_client::Error;

    use super::*;
    use crate::{flags::tests::check, stats::Stats, verdict::Evidence};

    fn report(told: &[u64]) -> Report {
        let stats = Stats::new();
        for _ in told {
            stats.started();
            stats.joined(Duration::from_micros(1500), Duration::from_micros(750));
        }
        stats.refused(&Error::Status(503).into());
        let url = "http://127.0.0.1:3000".to_owned();
        let servers = vec![ServerSays { url, count: Some(3), exact: Some(true) }];
        Report::of(Run {
            config: &check(&[]).unwrap(),
            totals: &stats.totals(),
            counts_received: 7,
            missing: 0,
            verdict: Verdict::of(Evidence { last_counts: told.to_vec(), servers, alone: false }),
            took: Duration::from_millis(12_345),
            settled: Duration::from_millis(12),
            stopped_early: false,
        })
    }

    /// Goal: the report is readable and complete. Method: compare the text of a small run.
    #[test]
    fn the_table() {
        let text = report(&[3, 2]).to_string();
        let expected = "\
headcount load: websocket to http://127.0.0.1:3000, 12.3 s

visitors                   2
connected                  2
refused                    1  1 status 503
lost                       0
left                       0
counts received            7

latency in ms            p50       p90       p99     p99.9       max
connect to count        1.50      1.50      1.50      1.50      1.50
join to count           0.75      0.75      0.75      0.75      0.75

at the end, after 12 ms without joins and leaves
count                      3  1 others
connections                2  0 missing
disagreeing                1  1 told 2
http://127.0.0.1:3000 says 3
verdict                WRONG";
        assert_eq!(text, expected);
    }

    /// Goal: the JSON report has stable names for scripts. Method: compare the names, for a successful run.
    #[test]
    fn the_json() {
        let json = serde_json::to_value(report(&[3, 3])).unwrap();
        assert_eq!(json["right"], true);
        assert_eq!(json["refused"]["status 503"], 1);
        assert_eq!(json["connect_to_count"]["p99_9_ms"], 1.5);
        assert_eq!(json["join_to_count"]["samples"], 2);
        assert_eq!(json["end"]["disagreeing"], 0);
        assert_eq!(json["end"]["servers"][0]["count"], 3);
    }

    /// Goal: a run without a connection has a report too. Method: a run without visitors.
    #[test]
    fn nobody_connected() {
        let report = report(&[]);
        assert_eq!((report.connect_to_count.samples, report.connect_to_count.samples), (0, 0));
        assert!(report.to_string().contains("connect to count        0.00"));
    }
}
