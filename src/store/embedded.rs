//! The count of a single instance, in its own memory: the default store, which needs no server.
//!
//! `State` has the rules, without clock or I/O. It follows the steps of `report.lua`, except those that repair lost or edited
//! keys. [`EmbeddedStore`] passes it the time and publishes its announcements.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Announcements, Store, StoreError, StoreFuture};
use crate::{
    core::{
        about::About,
        count::{Count, Incarnation, Revision, Sequence},
        pace::ANNOUNCEMENT_GAP_PER_INSTANCE,
        report::{Outcome, REAPED_MAX, Reply, Report, ReportKind, Roster, RosterEntry},
    },
    store::Announcement,
};

/// The most announcements by which a slow subscriber may be late. After that it misses the oldest ones.
const ANNOUNCEMENTS_HELD: usize = 16;

/// The count in this process.
pub struct EmbeddedStore {
    /// Shared by all tasks. The lock is held during one step, never across an await. Announcements are sent under the lock, so
    /// that they are in the order of revisions.
    state: Mutex<State>,
    announcements: broadcast::Sender<Count>,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl EmbeddedStore {
    /// An empty store.
    pub fn new() -> Self {
        let start = Instant::now();
        Self::with_clock(move || start.elapsed())
    }

    /// An empty store with its own clock: `clock` returns the time since some fixed moment.
    pub fn with_clock(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            state: Mutex::default(),
            announcements: broadcast::Sender::new(ANNOUNCEMENTS_HELD),
            clock: Box::new(clock),
        }
    }

    fn apply(&self, report: &Report) -> Result<Reply, StoreError> {
        if !report.is_valid() {
            return Err(StoreError::Protocol("bad argument".into()));
        }
        let mut state = self.lock();
        let (reply, announced) = state.apply(report, (self.clock)());
        if let Some(count) = announced {
            // An error means that there are no subscribers.
            let _ = self.announcements.send(count);
        }
        Ok(reply)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for EmbeddedStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Store for EmbeddedStore {
    fn report(&self, report: Report) -> StoreFuture<'_, Reply> {
        Box::pin(async move { self.apply(&report) })
    }

    fn subscribe(&self) -> StoreFuture<'_, Announcements> {
        let receiver = self.announcements.subscribe();
        let counts = stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(count) => return Some((Ok(Announcement::Own(count)), receiver)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        Box::pin(async move { Ok(counts.boxed()) })
    }

    fn roster(&self) -> StoreFuture<'_, Roster> {
        Box::pin(async move { Ok(self.lock().roster()) })
    }

    fn kind(&self) -> &'static str {
        "embedded"
    }
}

/// The state of the store. All times but `heard` are times of the lease clock.
#[derive(Debug, Default)]
struct State {
    /// All incarnations with a lease, including those that have sent a farewell.
    leases: BTreeMap<Incarnation, Lease>,
    /// The sum of the counts in `leases`; `None` before the first report.
    total: Option<u64>,
    revision: Revision,
    announced: Revision,
    announced_at: Option<Duration>,
    /// The end of the recovery, if the store is recovering.
    recovering: Option<Duration>,
    /// The lease clock, which advances with reports.
    clock: Duration,
    /// The time of the last report, on the clock of the caller.
    heard: Duration,
}

/// The last report of an incarnation.
#[derive(Debug)]
struct Lease {
    /// `None` after a farewell: a tombstone that keeps late reports fenced.
    users: Option<u64>,
    sequence: Sequence,
    expiry: Duration,
    /// The name and version that it told last.
    about: Option<Arc<About>>,
}

impl State {
    /// Applies a report that arrives at `now`. Returns the reply, and the count if it must be announced.
    fn apply(&mut self, report: &Report, now: Duration) -> (Reply, Option<Count>) {
        let stored = self.leases.get(&report.incarnation).map(|lease| lease.sequence);
        if stored.is_some_and(|stored| report.sequence <= stored) {
            return (self.reply(stored), None);
        }
        self.run_lease_clock(report.lease, now);
        self.store(report);
        let (reaped, crashed) = self.reap();
        self.revise(report);
        let announced = self.announce();
        (Reply { outcome: Outcome::Applied, reaped, crashed, ..self.reply(stored) }, announced)
    }

    /// Advances the lease clock. A silence of more than half a lease counts as an eighth of one: it means that this process
    /// stood still, not that instances died.
    fn run_lease_clock(&mut self, lease: Duration, now: Duration) {
        let gap =
            if self.total.is_some() { now.saturating_sub(self.heard) } else { Duration::ZERO };
        self.clock += if gap > lease / 2 { lease / 8 } else { gap };
        self.heard = now;
    }

    fn store(&mut self, report: &Report) {
        let is_live = report.kind != ReportKind::Farewell;
        let before = self.leases.remove(&report.incarnation);
        let about = report.about.clone().or(before.and_then(|lease| lease.about));
        let lease = Lease {
            users: is_live.then_some(report.users),
            sequence: report.sequence,
            expiry: self.clock + report.lease,
            about: about.filter(|_| is_live),
        };
        self.leases.insert(report.incarnation, lease);
    }

    /// Removes expired leases, the earliest first. Returns their number, and how many of them were still counted.
    fn reap(&mut self) -> (u32, u32) {
        let mut expired: Vec<_> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.expiry < self.clock)
            .map(|(incarnation, lease)| (lease.expiry, *incarnation))
            .collect();
        expired.sort_unstable();
        let (mut reaped, mut crashed) = (0, 0);
        for (_, incarnation) in expired.into_iter().take(REAPED_MAX as usize) {
            let lease = self.leases.remove(&incarnation);
            reaped += 1;
            crashed += u32::from(lease.is_some_and(|lease| lease.users.is_some()));
        }
        (reaped, crashed)
    }

    /// Sets the revision, which grows with every change of the total. If the reporter has seen a higher one, this store has
    /// lost data, and is recovering until every instance has had time to report.
    fn revise(&mut self, report: &Report) {
        let total = self.leases.values().filter_map(|lease| lease.users).sum();
        let seen = report.seen;
        let reused = seen.revision == self.revision && Some(seen.users) != self.total;
        let forgot = seen.revision > Revision(0) && (seen.revision > self.revision || reused);
        let recovered = self.recovering.is_some_and(|end| self.clock > end);
        if forgot {
            self.recovering = Some(self.clock + report.lease);
        } else if recovered {
            self.recovering = None;
        }
        if forgot || recovered || self.total != Some(total) {
            self.revision = Revision(self.revision.max(seen.revision).0 + 1);
        }
        self.total = Some(total);
    }

    fn announce(&mut self) -> Option<Count> {
        let gap = ANNOUNCEMENT_GAP_PER_INSTANCE * self.instances();
        let too_early = self.announced_at.is_some_and(|at| self.clock.saturating_sub(at) < gap);
        if self.announced == self.revision || too_early {
            return None;
        }
        self.announced = self.revision;
        self.announced_at = Some(self.clock);
        Some(self.count())
    }

    /// The reply to a report that changes nothing.
    fn reply(&self, stored: Option<Sequence>) -> Reply {
        Reply {
            count: self.count(),
            announced: self.announced,
            instances: self.instances(),
            outcome: Outcome::Stale,
            stored_sequence: stored.unwrap_or_default(),
            unannounced: self.announced != self.revision,
            ..Reply::default()
        }
    }

    fn count(&self) -> Count {
        Count {
            users: self.total.unwrap_or_default(),
            revision: self.revision,
            recovering: self.recovering.is_some(),
            ..Count::default()
        }
    }

    fn instances(&self) -> u32 {
        let live = self.leases.values().filter(|lease| lease.users.is_some()).count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    fn roster(&self) -> Roster {
        let entry = |(incarnation, lease): (&Incarnation, &Lease)| {
            Some(RosterEntry {
                incarnation: incarnation.to_string(),
                users: lease.users?,
                lease_left: Some(lease.expiry.saturating_sub(self.clock)),
                about: lease.about.clone(),
            })
        };
        let count = self.count();
        Roster {
            users: count.users,
            count,
            instances: self.leases.iter().filter_map(entry).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(2);
    const HEARTBEAT: Duration = Duration::from_millis(500);

    /// A state, a time that only the test moves, and the sequences handed out.
    #[derive(Default)]
    struct Stage {
        state: State,
        now: Duration,
        sequence: Sequence,
    }

    impl Stage {
        fn report(&mut self, incarnation: Incarnation, users: u64) -> (Reply, Option<Count>) {
            self.sequence = self.sequence.next();
            let report = Report { users, ..Report::new(incarnation, self.sequence, LEASE) };
            self.state.apply(&report, self.now)
        }
    }

    /// Goal: a long silence expires no lease. Method: a minute without reports, then one instance returns.
    #[test]
    fn a_silence_is_nobodys_death() {
        let (a, b) = (Incarnation::random(), Incarnation::random());
        let mut stage = Stage::default();
        stage.report(a, 5);
        stage.report(b, 3);
        stage.now += Duration::from_mins(1);
        assert_eq!(stage.report(a, 5).0.count.users, 8);
    }

    /// Goal: a lease expires while other instances report. Method: heartbeats of one instance, past the lease of the other.
    #[test]
    fn a_lease_ends_under_heartbeats() {
        let (a, dead) = (Incarnation::random(), Incarnation::random());
        let mut stage = Stage::default();
        stage.report(dead, 3);
        for _ in 0..4 {
            stage.now += HEARTBEAT;
            assert_eq!(stage.report(a, 5).0.count.users, 8);
        }
        stage.now += HEARTBEAT;
        let (reply, announced) = stage.report(a, 5);
        assert_eq!((reply.count.users, reply.reaped), (5, 1));
        assert_eq!(announced, Some(reply.count));
    }

    /// Goal: a crash loop leaves few unexpired leases. Method: forty lives of one report each, three seconds apart.
    #[test]
    fn ghosts_age_in_silence_too() {
        let mut stage = Stage::default();
        for _ in 0..40 {
            stage.report(Incarnation::random(), 10);
            stage.now += Duration::from_secs(3);
        }
        assert!(stage.state.leases.len() <= 10, "{} ghosts", stage.state.leases.len());
    }

    /// Goal: the pace of announcements follows the number of instances. Method: eight instances, so 2 ms, checked to the
    /// millisecond.
    #[test]
    fn announcements_keep_the_gap() {
        let instances: Vec<_> = (0..8).map(|_| Incarnation::random()).collect();
        let mut stage = Stage::default();
        for &instance in &instances {
            stage.report(instance, 0);
        }
        stage.now += HEARTBEAT;
        assert!(stage.report(instances[0], 1).1.is_some());
        stage.now += Duration::from_millis(1);
        assert_eq!(stage.report(instances[0], 2).1, None);
        stage.now += Duration::from_millis(1);
        let (reply, announced) = stage.report(instances[1], 0);
        assert_eq!(announced.map(|count| count.users), Some(2));
        assert_eq!(reply.announced, reply.count.revision);
    }
}
