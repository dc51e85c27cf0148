//! `headcount load`: many simulated visitors in one process. They join at a set rate, stay and leave. In the end all
//! must have received the same count, and the servers must show it too. Visitors may have identities, several connections each;
//! then every count on the way is judged, too.
//!
//! It is a client: it uses only the public addresses of the server.

mod failure;
mod flag;
mod flags;
mod identities;
mod identity_flags;
mod rooms;

mod on_the_way;
mod presences;
mod stats;
mod visitor;

mod progress;
mod schedule;
mod servers;
mod swarm;

mod report;
mod room_verdict;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

pub use flag::FlagError;
pub use flags::{LoadArgs, LoadConfig, Target};
pub use identities::IdentityPlan;
pub use identity_flags::IdentityArgs;
pub use on_the_way::{OnTheWay, WrongCount};
pub use report::{IdentitiesReport, Latency, Report, RoomsReport};
pub use room_verdict::{RoomsVerdict, WorstRoom};
pub use rooms::RoomPlan;
pub use verdict::{ServerSays, Verdict};

use progress::{Phase, Progress, Snapshot};
use report::Run;
use schedule::{Schedule, Situation};
use stats::Stats;
use swarm::{Swarm, ToldInRoom, WINDOW_MIN};
use verdict::Evidence;

/// The time between two steps. A step starts visitors and asks others to leave. At 500 joins per second it starts five.
const STEP: Duration = Duration::from_millis(10);
/// The time between two checks of the counts: much shorter than the settle time, much longer than an answer takes.
const LOOK_GAP: Duration = Duration::from_millis(100);

/// Runs until the hold is over or `stop` is cancelled. In both cases the counts are checked, and all visitors leave.
///
/// # Errors
/// If the file limit cannot be raised.
pub async fn run(config: LoadConfig, stop: CancellationToken) -> anyhow::Result<Report> {
    rlimit::increase_nofile_limit(u64::MAX).context("failed to raise the file limit")?;
    let mut load = Load::new(config);
    load.wait_until_alone(&stop).await;
    let stopped_early = load.keep_up(&stop).await;
    let (verdict, rooms, settled) = load.settle().await;
    let report = Report::of(Run {
        config: &load.config,
        totals: &load.stats.totals(),
        counts_received: load.stats.counts_received(),
        missing: load.missing(),
        verdict,
        rooms,
        others_at_start: load.others_at_start,
        on_the_way: load.swarm.on_the_way(|room| load.room_name(room)),
        took: load.start.elapsed(),
        settled,
        stopped_early,
    });
    load.end().await;
    Ok(report)
}

/// A run in progress.
struct Load {
    config: LoadConfig,
    stats: Arc<Stats>,
    swarm: Swarm,
    schedule: Schedule,
    progress: Progress,
    start: Instant,
    /// The users that were online before the first visitor, although there must be no others.
    others_at_start: u64,
    /// When every visitor had joined or been refused once.
    full_at: Option<Instant>,
}

impl Load {
    fn new(config: LoadConfig) -> Self {
        let stats = Arc::new(Stats::new());
        Self {
            swarm: Swarm::new(&config, Arc::clone(&stats)),
            schedule: Schedule::new(&config),
            progress: Progress::new(),
            start: Instant::now(),
            others_at_start: 0,
            full_at: None,
            stats,
            config,
        }
    }

    /// With `--alone`: waits until no server counts anybody. Users of an earlier run are counted for the grace of the servers. Whoever
    /// stays longer than the settle time is no such user, and makes counts wrong.
    async fn wait_until_alone(&mut self, stop: &CancellationToken) {
        let patience = self.config.settle.max(WINDOW_MIN);
        while self.config.alone && !stop.is_cancelled() {
            self.others_at_start = self.others().await;
            if self.others_at_start == 0 || self.start.elapsed() >= patience {
                break;
            }
            self.show(Phase::Waiting, Some(patience.saturating_sub(self.start.elapsed())));
            sleep(LOOK_GAP).await;
        }
        self.start = Instant::now();
    }

    /// The most users that a server counts in the site or in a room. One that does not answer counts nobody.
    async fn others(&self) -> u64 {
        let site = servers::ask(&self.config.targets).await;
        let rooms = self.ask_for_rooms().await.unwrap_or_default();
        let said = site.iter().chain(rooms.values().flatten());
        said.filter_map(|server| server.count).max().unwrap_or_default()
    }

    /// Keeps the target number of visitors connected until the hold is over. Returns whether it was stopped before.
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
        self.swarm.reap();
        let at = self.start.elapsed();
        let taken = self.swarm.taken();
        if self.full_at.is_none()
            && taken >= self.schedule.goal(at)
            && self.stats.totals().on_the_way() == 0
        {
            self.full_at = Some(Instant::now());
        }
        let due = self.schedule.due(at, Situation { taken, is_full: self.full_at.is_some() });
        for _ in 0..due.joins {
            self.swarm.join();
        }
        for _ in 0..due.leaves {
            self.swarm.leave();
        }
    }

    /// The rest of the hold. `None` before it begins, or if it has no end.
    fn hold_left(&self) -> Option<Duration> {
        Some(self.config.hold?.saturating_sub(self.full_at?.elapsed()))
    }

    /// Checks the counts until they are right or the settle time is over. Returns the verdicts of the site and of the rooms, and
    /// the time it took.
    async fn settle(&mut self) -> (Verdict, Option<RoomsVerdict>, Duration) {
        let start = Instant::now();
        loop {
            self.show(Phase::Settling, None);
            let servers = servers::ask(&self.config.targets).await;
            let rooms_said = self.ask_for_rooms().await;
            self.swarm.reap();
            self.readmit();
            let (last_counts, users) = (self.swarm.last_counts().collect(), self.swarm.users());
            let alone = self.config.alone;
            let verdict = Verdict::of(Evidence { last_counts, users, servers, alone });
            let rooms = rooms_said.map(|said| self.judge_rooms(said));
            let are_rooms_right = rooms.as_ref().is_none_or(RoomsVerdict::is_right);
            let is_over = start.elapsed() >= self.config.settle;
            let is_complete = self.stats.totals().on_the_way() == 0 && self.swarm.returning() == 0;
            if is_over || (is_complete && verdict.is_right() && are_rooms_right) {
                self.swarm.give_up_on_the_way();
                return (verdict, rooms, start.elapsed());
            }
            sleep(LOOK_GAP).await;
        }
    }

    /// Asks the servers for the counts of some rooms. `None` if the run has no rooms.
    async fn ask_for_rooms(&self) -> Option<BTreeMap<u32, Vec<ServerSays>>> {
        let plan = self.config.rooms.as_ref()?;
        let rooms = plan.sample(servers::ROOMS_MAX);
        Some(servers::ask_for_rooms(&self.config.targets, plan, &rooms).await)
    }

    fn judge_rooms(&self, mut said: BTreeMap<u32, Vec<ServerSays>>) -> RoomsVerdict {
        let alone = self.config.alone;
        let mut told = self.swarm.told_in_rooms();
        let rooms: BTreeSet<u32> = told.keys().chain(said.keys()).copied().collect();
        let verdicts = rooms.into_iter().map(|room| {
            let ToldInRoom { last_counts, users } = told.remove(&room).unwrap_or_default();
            let servers = said.remove(&room).unwrap_or_default();
            (room, Verdict::of(Evidence { last_counts, users, servers, alone }))
        });
        RoomsVerdict::of(verdicts, |room| self.room_name(room))
    }

    fn room_name(&self, room: u32) -> String {
        self.config.rooms.as_ref().map_or_else(String::new, |plan| plan.name(room))
    }

    /// Restarts the visitors that were refused or lost, at the rate of joins. They may come back until the end.
    fn readmit(&mut self) {
        let returning = self.swarm.returning().min(self.missing());
        for _ in 0..self.schedule.joins(self.start.elapsed(), returning) {
            self.swarm.join();
        }
    }

    fn missing(&self) -> usize {
        self.swarm.missing(self.schedule.goal(self.start.elapsed()))
    }

    async fn end(mut self) {
        self.show(Phase::Leaving, None);
        self.swarm.leave_all().await;
        self.progress.end();
    }

    fn show(&mut self, phase: Phase, left: Option<Duration>) {
        if !self.progress.is_due(phase) {
            return;
        }
        let totals = self.stats.totals();
        let (refused, lost) = (totals.refused_sum(), totals.lost_sum());
        drop(totals);
        let connected = self.swarm.last_counts().count();
        let goal = self.schedule.goal(self.start.elapsed());
        let others = Some(self.others_at_start).filter(|_| phase == Phase::Waiting);
        let last_count = others.or_else(|| self.swarm.last_counts().last());
        self.progress.show(&Snapshot { phase, connected, goal, refused, lost, last_count, left });
    }
}
