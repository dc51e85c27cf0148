//! The report of a run: a table for people, and the same in JSON. Pure.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    flags::{LoadConfig, Target},
    room_verdict::RoomsVerdict,
    rooms::RoomPlan,
    stats::Totals,
    verdict::{ServerSays, Verdict},
};

/// The report of one run. Every duration has the unit in its name.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The servers.
    pub urls: Vec<String>,
    /// How visitors connected.
    pub transport: &'static str,
    /// From the first join to the check of the count.
    pub seconds: f64,
    /// Whether a signal ended the run.
    pub stopped_early: bool,
    /// Visits that were started. A visitor that comes back counts again.
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
    /// The rooms of the run; `None` if it had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<RoomsReport>,
    /// Milliseconds from the last join or leave until all agreed, or until the settle time was over.
    pub settled_ms: u64,
    /// Whether no visitor is missing and all agree.
    pub right: bool,
}

/// The rooms of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RoomsReport {
    /// How the names of the rooms begin.
    pub prefix: String,
    /// How many rooms there were to join.
    pub number: u32,
    /// In how many of them every visitor was.
    pub per_connection: u32,
    /// How uneven they were.
    pub skew: f64,
    /// From the request to join a room to the first count of that room.
    pub join_to_count: Latency,
    /// Whether visitors and servers agreed at the end.
    pub end: RoomsVerdict,
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
    /// The percentiles of a histogram of microseconds. All are zero if no visitor connected.
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

/// Milliseconds with two decimals: a latency is kept to three digits.
#[allow(clippy::cast_precision_loss, reason = "a latency ends at a minute")]
fn milliseconds(micros: u64) -> f64 {
    (micros as f64 / 10.0).round() / 100.0
}

/// A duration in whole milliseconds, rounded down.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The data of a report.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) config: &'a LoadConfig,
    pub(crate) totals: &'a Totals,
    pub(crate) counts_received: u64,
    pub(crate) missing: usize,
    pub(crate) verdict: Verdict,
    pub(crate) rooms: Option<RoomsVerdict>,
    /// From the first join to the last check of the counts.
    pub(crate) took: Duration,
    /// The part of this time after the last join or leave.
    pub(crate) settled: Duration,
    pub(crate) stopped_early: bool,
}

impl Report {
    pub(crate) fn of(run: Run<'_>) -> Self {
        let Run { config, totals, counts_received, missing, verdict, rooms, .. } = run;
        let Run { took, settled, stopped_early, .. } = run;
        let are_rooms_right = rooms.as_ref().is_none_or(RoomsVerdict::is_right);
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
            right: missing == 0 && verdict.is_right() && are_rooms_right,
            end: verdict,
            rooms: rooms.zip(config.rooms.as_ref()).map(|(end, plan)| {
                let join_to_count = Latency::of(&totals.room_join_to_count);
                RoomsReport::new(plan, join_to_count, end)
            }),
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
        if let Some(rooms) = &self.rooms {
            row(f, "of a room", rooms.join_to_count.cells())?;
        }
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
        if let Some(rooms) = &self.rooms {
            write!(f, "\n{rooms}")?;
        }
        let verdict = if self.right { "right" } else { "WRONG" };
        write!(f, "\n{:<18}{verdict:>10}", "verdict")
    }
}

impl RoomsReport {
    fn new(plan: &RoomPlan, join_to_count: Latency, end: RoomsVerdict) -> Self {
        let RoomPlan { prefix, rooms, per_connection, skew } = plan.clone();
        Self { prefix, number: rooms, per_connection, skew, join_to_count, end }
    }
}

/// The lines of the table, without the end of the last one.
impl fmt::Display for RoomsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RoomsVerdict { rooms, right, memberships, disagreeing, worst } = &self.end;
        writeln!(f, "{:<18}{rooms:>10}  {memberships} memberships", "rooms")?;
        write!(f, "{:<18}{right:>10}  {disagreeing} memberships disagree", "rooms right")?;
        let Some(worst) = worst else { return Ok(()) };
        let (name, verdict) = (worst.room.escape_debug(), &worst.verdict);
        write!(f, "\n{:<18}{name}: count {}", "worst room", verdict.count)?;
        for (number, times) in &verdict.told_instead {
            write!(f, ", {times} told {number}")?;
        }
        for server in &verdict.servers {
            write!(f, ", {server}")?;
        }
        Ok(())
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

/// A line with a sum, followed by the number of occurrences of each reason.
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
        report_with(&[], told, None)
    }

    fn report_with(flags: &[&str], told: &[u64], rooms: Option<RoomsVerdict>) -> Report {
        let stats = Stats::new();
        for _ in told {
            stats.started();
            stats.joined(Duration::from_micros(1500), Duration::from_micros(750));
            stats.room_joined(Duration::from_micros(500));
        }
        stats.refused(&Error::Status(503).into());
        let url = "http://127.0.0.1:3000".to_owned();
        let servers = vec![ServerSays { url, count: Some(3), exact: Some(true) }];
        Report::of(Run {
            config: &check(flags).unwrap(),
            totals: &stats.totals(),
            counts_received: 7,
            missing: 0,
            verdict: Verdict::of(Evidence { last_counts: told.to_vec(), servers, alone: false }),
            rooms,
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

    /// Goal: a run with rooms says how many were right, and what is wrong in the worst one, and a wrong room makes the whole run
    /// wrong. Method: compare the lines of a run with one wrong room, and the JSON.
    #[test]
    fn rooms_are_reported() {
        let verdict = Verdict::of(Evidence {
            last_counts: vec![2, 1],
            servers: vec![ServerSays {
                url: "http://a".to_owned(),
                count: Some(2),
                exact: Some(true),
            }],
            alone: false,
        });
        let end = RoomsVerdict::of([(7, verdict)].into_iter(), |room| format!("/\u{202e}{room}"));
        let wrong = report_with(&["--rooms=9", "--per-connection=2"], &[3, 3], Some(end));
        let text = wrong.to_string();
        for line in [
            "\nof a room               0.50      0.50      0.50      0.50      0.50\n",
            "\nrooms                      1  2 memberships\n",
            "\nrooms right                0  1 memberships disagree\n",
            "\nworst room        /\\u{202e}7: count 2, 1 told 1, http://a says 2\n",
            "\nverdict                WRONG",
        ] {
            assert!(text.contains(line), "no {line:?} in {text}");
        }
        let json = serde_json::to_value(&wrong).unwrap();
        assert_eq!(json["rooms"]["end"]["worst"]["told_instead"]["1"], 1);
        assert_eq!(
            (&json["rooms"]["number"], &json["rooms"]["per_connection"]),
            (&9.into(), &2.into())
        );
        assert!(serde_json::to_value(report(&[3, 3])).unwrap().get("rooms").is_none());
    }

    /// Goal: a run without any connection has a report too. Method: a run without visitors.
    #[test]
    fn nobody_connected() {
        let report = report(&[]);
        assert_eq!((report.connect_to_count.samples, report.connect_to_count.samples), (0, 0));
        assert!(report.to_string().contains("connect to count        0.00"));
    }
}
