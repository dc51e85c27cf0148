//! The report of a run: a table for people, and the same in JSON. Pure.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    flags::{LoadConfig, Target},
    identities::IdentityPlan,
    on_the_way::{OnTheWay, WrongCount},
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
    /// With `--alone`: the users that were online before the first visitor, and had not left in time.
    #[serde(skip_serializing_if = "is_zero")]
    pub others_at_start: u64,
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
    /// The identities of the run; `None` if it had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identities: Option<IdentitiesReport>,
    /// Milliseconds from the last join or leave until all agreed, or until the settle time was over.
    pub settled_ms: u64,
    /// Whether no visitor is missing, all agree, and no count on the way was wrong.
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

/// The identities of a run.
#[derive(Clone, Debug, Serialize)]
pub struct IdentitiesReport {
    /// How many there were.
    pub number: u32,
    /// How many connections each of them had.
    pub tabs: u32,
    /// How connections said whose they were.
    pub proof: &'static str,
    /// Whether the counts on the way were right, as those at the end have to be.
    pub on_the_way: OnTheWay,
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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
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
    pub(crate) others_at_start: u64,
    /// What the visitors were told before, if the run has identities.
    pub(crate) on_the_way: Option<OnTheWay>,
    /// From the first join to the last check of the counts.
    pub(crate) took: Duration,
    /// The part of this time after the last join or leave.
    pub(crate) settled: Duration,
    pub(crate) stopped_early: bool,
}

impl Report {
    pub(crate) fn of(run: Run<'_>) -> Self {
        let Run { config, totals, counts_received, missing, verdict, rooms, on_the_way, .. } = run;
        let Run { took, settled, stopped_early, others_at_start, .. } = run;
        let are_others_right = rooms.as_ref().is_none_or(RoomsVerdict::is_right)
            && on_the_way.as_ref().is_none_or(OnTheWay::is_right);
        Self {
            urls: config.targets.iter().map(Target::to_string).collect(),
            transport: config.transport.name(),
            seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0,
            stopped_early,
            others_at_start,
            started: totals.started,
            connected: totals.connected,
            refused: totals.refused.clone(),
            lost: totals.lost.clone(),
            left: totals.left,
            missing: missing as u64,
            counts_received,
            connect_to_count: Latency::of(&totals.connect_to_count),
            join_to_count: Latency::of(&totals.join_to_count),
            right: missing == 0 && verdict.is_right() && are_others_right,
            end: verdict,
            rooms: rooms.zip(config.rooms.as_ref()).map(|(end, plan)| {
                let join_to_count = Latency::of(&totals.room_join_to_count);
                RoomsReport::new(plan, join_to_count, end)
            }),
            identities: on_the_way
                .zip(config.identities.as_ref())
                .map(|(on_the_way, plan)| IdentitiesReport::new(plan, on_the_way)),
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
        if let Some(identities) = &self.identities {
            writeln!(f, "{:<18}{:>10}  {identities}", "users", end.users)?;
        }
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
        if let Some(identities) = &self.identities {
            write!(f, "\n{}", identities.on_the_way)?;
        }
        if self.others_at_start > 0 {
            write!(
                f,
                "\n{:<18}{:>10}  others online, but with --alone there must be none",
                "at the start", self.others_at_start
            )?;
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

impl IdentitiesReport {
    fn new(plan: &IdentityPlan, on_the_way: OnTheWay) -> Self {
        let IdentityPlan { identities, tabs, proof, .. } = plan;
        Self { number: *identities, tabs: *tabs, proof: proof.name(), on_the_way }
    }
}

/// How many users there should be.
impl fmt::Display for IdentitiesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, tabs, proof, .. } = self;
        write!(f, "{number} identities by {proof}, {tabs} connections each")
    }
}

/// The lines of the table, without the end of the last one.
impl fmt::Display for OnTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong = self.too_many + self.too_few;
        write!(f, "{:<18}{wrong:>10}  of {} on the way", "counts wrong", self.judged)?;
        let Some(WrongCount { room, told, allowed }) = &self.worst else { return Ok(()) };
        let (many, few) = (self.too_many, self.too_few);
        write!(f, ": {many} too many, {few} too few; ")?;
        match room {
            Some(room) => write!(f, "told {told} instead of {allowed} in {}", room.escape_debug()),
            None => write!(f, "told {told} instead of {allowed}"),
        }
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
#[path = "report/tests.rs"]
mod tests;
