//! `headcount load`: many simulated visitors in one process. They join at a pace, stay, leave, and in the end
//! all must have been told the same count, which must be what the servers say.
//!
//! It is a client: it uses nothing of the server but its public addresses.

mod fault;
mod http;
mod packet;
mod polling;
mod websocket;
mod wire;

mod tally;
mod visitor;

mod crowd;
mod progress;
mod schedule;
mod servers;

mod report;
mod verdict;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

pub use report::{Latency, Report};
pub use verdict::{ServerSays, Verdict};

use crate::config::load::LoadConfig;
use crowd::Crowd;
use progress::{Phase, Progress, Sight};
use report::Run;
use schedule::{Schedule, Standing};
use tally::Tally;
use verdict::Evidence;

/// How often visitors are sent out and asked to leave: at 500 a second that is five at a time.
const STEP: Duration = Duration::from_millis(10);
/// Between two looks at the counts: short against the settle time, long against an answer.
const LOOK_GAP: Duration = Duration::from_millis(100);

/// Runs until the hold is over or `stop` is cancelled; either way the counts are checked, and everybody leaves.
///
/// # Errors
/// If the file limit cannot be raised.
pub async fn run(config: LoadConfig, stop: CancellationToken) -> anyhow::Result<Report> {
    rlimit::increase_nofile_limit(u64::MAX).context("failed to raise the file limit")?;
    let mut load = Load::new(config);
    let stopped_early = load.keep_up(&stop).await;
    let (verdict, settled) = load.settle().await;
    let report = Report::of(Run {
        config: &load.config,
        totals: &load.tally.totals(),
        counts_received: load.tally.counts_received(),
        missing: load.missing(),
        verdict,
        took: load.start.elapsed(),
        settled,
        stopped_early,
    });
    load.end().await;
    Ok(report)
}

/// A run.
struct Load {
    config: LoadConfig,
    tally: Arc<Tally>,
    crowd: Crowd,
    schedule: Schedule,
    progress: Progress,
    start: Instant,
    /// When everybody had joined for once, or had been refused.
    full_at: Option<Instant>,
}

impl Load {
    fn new(config: LoadConfig) -> Self {
        let tally = Arc::new(Tally::new());
        Self {
            crowd: Crowd::new(&config, Arc::clone(&tally)),
            schedule: Schedule::new(&config),
            progress: Progress::new(),
            start: Instant::now(),
            full_at: None,
            tally,
            config,
        }
    }

    /// Keeps as many visitors there as there should be, until the hold is over. True if it was stopped before.
    async fn keep_up(&mut self, stop: &CancellationToken) -> bool {
        let mut steps = interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return true,
                _ = steps.tick() => {}
            }
            self.step();
            let left = self.hold_left();
            if left.is_some_and(|left| left.is_zero()) {
                return false;
            }
            let phase = if self.full_at.is_some() { Phase::Holding } else { Phase::Joining };
            self.show(phase, left);
        }
    }

    fn step(&mut self) {
        self.crowd.notice();
        let at = self.start.elapsed();
        let taken = self.crowd.taken();
        if self.full_at.is_none()
            && taken >= self.schedule.goal(at)
            && self.tally.totals().on_the_way() == 0
        {
            self.full_at = Some(Instant::now());
        }
        let due = self.schedule.due(at, Standing { taken, is_full: self.full_at.is_some() });
        for _ in 0..due.joins {
            self.crowd.join();
        }
        for _ in 0..due.leaves {
            self.crowd.leave();
        }
    }

    /// `None` while it does not run, or without an end.
    fn hold_left(&self) -> Option<Duration> {
        Some(self.config.hold?.saturating_sub(self.full_at?.elapsed()))
    }

    /// Looks at the counts until they are right or the time for that is over; how long that was.
    async fn settle(&mut self) -> (Verdict, Duration) {
        let start = Instant::now();
        loop {
            self.show(Phase::Settling, None);
            let servers = servers::ask(&self.config.targets).await;
            self.crowd.notice();
            self.take_back();
            let told = self.crowd.told().collect();
            let verdict = Verdict::of(Evidence { told, servers, alone: self.config.alone });
            let is_over = start.elapsed() >= self.config.settle;
            let is_complete = self.tally.totals().on_the_way() == 0 && self.crowd.returning() == 0;
            if is_over || (is_complete && verdict.is_right()) {
                self.crowd.give_up_on_the_way();
                return (verdict, start.elapsed());
            }
            sleep(LOOK_GAP).await;
        }
    }

    /// Those who come back after a loss may do so until the end, at the rate of joins.
    fn take_back(&mut self) {
        let returning = self.crowd.returning().min(self.missing());
        for _ in 0..self.schedule.joins(self.start.elapsed(), returning) {
            self.crowd.join();
        }
    }

    fn missing(&self) -> usize {
        self.crowd.missing(self.schedule.goal(self.start.elapsed()))
    }

    async fn end(mut self) {
        self.show(Phase::Leaving, None);
        self.crowd.disperse().await;
        self.progress.end();
    }

    fn show(&mut self, phase: Phase, left: Option<Duration>) {
        if !self.progress.is_due(phase) {
            return;
        }
        let totals = self.tally.totals();
        let (refused, lost) = (totals.refused_sum(), totals.lost_sum());
        drop(totals);
        let connected = self.crowd.told().count();
        let goal = self.schedule.goal(self.start.elapsed());
        let told = self.crowd.told().last();
        self.progress.show(&Sight { phase, connected, goal, refused, lost, told, left });
    }
}
