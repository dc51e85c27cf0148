//! One row of the table of promises: a fault, its bound, and how a run of it goes.
//!
//! ```text
//!  all agree ─▶ people come and go ─▶ the fault begins … ends ─▶ they stop ─▶ right again? (measured)
//!                                                                            │
//!  judged ◀─ all agree again ◀─ people come and go for lease + heartbeat ◀───┘
//! ```

use std::{
    fmt,
    pin::Pin,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    checker::{Fault, NOISE, Sees, judge},
    stage::{Setup, Stage},
};

/// A fault, what it may cost, and how it is made.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// A short name, to choose it by.
    pub(crate) name: &'static str,
    /// What breaks, as the table says it.
    pub(crate) fault: &'static str,
    /// When all must be right again after its end.
    pub(crate) bound: Bound,
    /// What may be seen until then.
    pub(crate) sees: Sees,
    /// On what stage.
    pub(crate) setup: Setup,
    /// Begins it, and returns when it is over.
    pub(crate) play: Play,
}

/// How a row makes its fault.
pub(crate) type Play = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A bound with its formula.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// In words.
    pub(crate) formula: &'static str,
    /// With the default settings.
    pub(crate) time: Duration,
}

impl Bound {
    /// No time at all: only those on the move may be missed.
    pub(crate) const AT_ONCE: Self = Self { formula: "at once", time: Duration::ZERO };
    /// Until the next report.
    pub(crate) const HEARTBEAT: Self = Self { formula: "heartbeat", time: HEARTBEAT };
    /// A report that fails and the next.
    pub(crate) const TWO_HEARTBEATS: Self =
        Self { formula: "2 heartbeats", time: Duration::from_secs(1) };
    /// What is found out by comparing, at the pace of audits or of the check for deafness.
    pub(crate) const ONE_SECOND: Self = Self { formula: "", time: Duration::from_secs(1) };
    /// Until the dead are known to be dead.
    pub(crate) const LEASE_AND_HEARTBEAT: Self =
        Self { formula: "lease + heartbeat", time: Duration::from_millis(2500) };
    /// Until every instance has had the time to report to a store that has lost its data.
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

/// What a run measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// From the end of the fault until everything was right.
    pub(crate) right_after: Duration,
    /// By how much a client's count missed what may have been true within the last second, at most.
    pub(crate) largest_error: u64,
}

/// The default heartbeat.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);
/// The default lease.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// People come and go so often before the fault.
const VISITS_BEFORE: usize = 12;

/// How long after the bound a number may still become right, before it counts as wrong permanently. Starting
/// the stage may take that long as well on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a row once; the error says all that went wrong.
pub(crate) async fn run(row: &Row) -> Result<Measured, String> {
    let mut stage = Stage::start(row.setup.clone()).await;
    stage.right_after(Instant::now(), PATIENCE).await?;
    let agreed = Instant::now();
    stage.start_churn();
    stage.visits_pass(VISITS_BEFORE).await;
    (row.play)(&mut stage).await;
    let ended = Instant::now();
    stage.stop_churn().await;
    let right_after = stage.right_after(ended, row.bound.time + PATIENCE).await?;
    stage.start_churn();
    // A ghost of the fault may still die, or an old lease end.
    sleep(LEASE + HEARTBEAT).await;
    stage.stop_churn().await;
    stage.right_after(Instant::now(), PATIENCE).await?;

    // Once all were right, nothing excuses a wrong number.
    let over = ended + right_after;
    let fault = Fault { agreed, began: stage.began(), over, sees: row.sees.clone() };
    let mut verdict = judge(&stage.histories(), &fault);
    if right_after > row.bound.time + NOISE + stage.lateness() {
        verdict
            .violations
            .push(format!("right after {right_after:?}: the bound is {:?}", row.bound.time));
    }
    if verdict.violations.is_empty() {
        return Ok(Measured { right_after, largest_error: verdict.largest_error });
    }
    Err(summary(&verdict.violations))
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
