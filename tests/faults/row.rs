//! One row of the table of promises: a fault, its bound, and the course of a run.
//!
//! ```text
//!  all agree ─▶ clients join and leave ─▶ the fault begins … ends ─▶ they stop ─▶ right again? (measured)
//!                                                                                │
//!  judged ◀─ all agree again ◀─ clients join and leave for lease + heartbeat ◀───┘
//! ```

use std::{
    fmt,
    pin::Pin,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    checker::{Fault, Histories, NOISE, Sees, Verdict, judge, judge_rooms},
    stage::{Setup, Stage},
};

/// A fault, what may be seen because of it, and how it is made.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// A short name to select the row.
    pub(crate) name: &'static str,
    /// What breaks, in the words of the table.
    pub(crate) fault: &'static str,
    /// How long after the end of the fault all must be right again.
    pub(crate) bound: Bound,
    /// What may be seen until then.
    pub(crate) sees: Sees,
    /// What holds for the counts of rooms instead, if they differ.
    pub(crate) of_rooms: OfRooms,
    /// The stage that the row needs.
    pub(crate) setup: Setup,
    /// Begins the fault, and returns when it has ended.
    pub(crate) play: Play,
}

/// What differs for the counts of rooms. They are promised the same as the site's count unless this says otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfRooms {
    /// How long after the end of the fault they must be right again.
    pub(crate) bound: Option<Bound>,
    /// What may be seen until then.
    pub(crate) sees: Option<Sees>,
}

/// How a row makes its fault.
pub(crate) type Play = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A time limit with its formula.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// The formula in words.
    pub(crate) formula: &'static str,
    /// The time with the default settings.
    pub(crate) time: Duration,
}

impl Bound {
    /// No time at all: a count may only miss the clients that are moving.
    pub(crate) const AT_ONCE: Self = Self { formula: "at once", time: Duration::ZERO };
    /// Until the next report.
    pub(crate) const HEARTBEAT: Self = Self { formula: "heartbeat", time: HEARTBEAT };
    /// A report that fails, and the next one.
    pub(crate) const TWO_HEARTBEATS: Self =
        Self { formula: "2 heartbeats", time: Duration::from_secs(1) };
    /// For what is found by comparing: by an audit, or by the check for silent subscriptions.
    pub(crate) const ONE_SECOND: Self = Self { formula: "", time: Duration::from_secs(1) };
    /// Until the leases of dead instances have expired.
    pub(crate) const LEASE_AND_HEARTBEAT: Self =
        Self { formula: "lease + heartbeat", time: Duration::from_millis(2500) };
    /// Until every instance had time to report to a store that has lost its data.
    pub(crate) const LEASE_AND_2_HEARTBEATS: Self =
        Self { formula: "lease + 2 heartbeats", time: Duration::from_secs(3) };
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs_f64();
        match self.formula {
            "" => write!(f, "{seconds} s"),
            formula if self.time.is_zero() => f.write_str(formula),
            formula => write!(f, "{formula} = {seconds} s"),
        }
    }
}

/// Something that the site and the rooms have each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteAndRooms<T> {
    pub(crate) site: T,
    pub(crate) rooms: T,
}

/// The measurements of a run.
pub(crate) type Measured = SiteAndRooms<Figures>;

/// What was measured of counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Time from the end of the fault until all counts were right.
    pub(crate) right_after: Duration,
    /// The largest difference between a client's count and the counts that may have been true within the
    /// last second.
    pub(crate) largest_error: u64,
}

/// The default heartbeat.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);
/// The default lease.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// Visits before the fault begins.
const VISITS_BEFORE: usize = 12;

/// Time after a bound before a wrong number counts as permanent. Starting the stage may also take this
/// long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The beginning of the error of a row that never came to its fault.
pub(crate) const NOT_STARTED: &str = "all never agreed before the fault";

/// Runs a row once. The error lists everything that went wrong.
pub(crate) async fn run(row: &Row) -> Result<Measured, String> {
    let mut stage = Stage::start(row.setup.clone()).await;
    let start = stage.right_after(Instant::now(), PATIENCE).await;
    start.map_err(|wrong| format!("{NOT_STARTED}: {wrong}"))?;
    let agreed = Instant::now();
    stage.start_churn();
    stage.visits_pass(VISITS_BEFORE).await;
    (row.play)(&mut stage).await;
    let ended = Instant::now();
    stage.stop_churn().await;
    let bounds = row.bounds();
    // People who have just left stay for a moment.
    let grace = row.setup.grace();
    let patience = bounds.site.time.max(bounds.rooms.time) + grace + PATIENCE;
    let right_after = stage.right_after(ended, patience).await?;
    stage.start_churn();
    // An old lease of the fault may still expire in this time.
    sleep(LEASE + HEARTBEAT).await;
    stage.stop_churn().await;
    stage.right_after(Instant::now(), PATIENCE).await?;

    let histories = stage.histories();
    stage.nothing_is_left(PATIENCE).await?;
    let judged = |what, right_after, bound: Bound, sees: &Sees, judge: Judge| {
        // Once all counts were right, the fault no longer excuses a wrong one.
        let over = ended + right_after;
        let fault = Fault { agreed, began: stage.began(), over, sees: sees.clone() };
        let mut verdict = judge(&histories, &fault);
        if right_after > bound.time + grace + NOISE + histories.lateness {
            let late =
                format!("right after {right_after:?}: the bound is {:?}", bound.time + grace);
            verdict.violations.push(late);
        }
        let violations = verdict.violations.into_iter().map(move |line| format!("{what}: {line}"));
        (Figures { right_after, largest_error: verdict.largest_error }, violations)
    };
    let sees = row.of_rooms.sees.as_ref().unwrap_or(&row.sees);
    let (site, wrong) = judged("site", right_after.site, bounds.site, &row.sees, judge);
    let (rooms, wrong_rooms) = judged("rooms", right_after.rooms, bounds.rooms, sees, judge_rooms);
    let violations: Vec<String> = wrong.chain(wrong_rooms).collect();
    if violations.is_empty() {
        return Ok(SiteAndRooms { site, rooms });
    }
    Err(summary(&violations))
}

type Judge = fn(&Histories, &Fault) -> Verdict;

impl Row {
    /// The bounds of the site's count and of the counts of rooms.
    pub(crate) fn bounds(&self) -> SiteAndRooms<Bound> {
        SiteAndRooms { site: self.bound, rooms: self.of_rooms.bound.unwrap_or(self.bound) }
    }
}

/// The first few of many lines.
fn summary(violations: &[String]) -> String {
    const SHOWN: usize = 12;
    let first = violations.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
    match violations.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first}\nand {more} more"),
    }
}
