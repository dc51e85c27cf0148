//! The visitors of a run: connected, connecting and missing ones. It starts them, asks them to leave, and records how
//! they end.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    failure::Failure,
    flags::{LoadConfig, POLLING_LEAVES_AT_ONCE, Target},
    stats::Stats,
    visitor::{End, Slot, Visit},
};

/// The pause before a refused or lost visitor tries again. Browsers have tried twice by then.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);
/// The time in which all visitors together may leave. After that, the remaining connections are dropped.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// The visitors of one run, each in a separate task.
#[derive(Debug)]
pub(crate) struct Swarm {
    targets: Vec<Target>,
    visit: Visit,
    reconnect: bool,
    tasks: JoinSet<(u64, End)>,
    /// The running visitors that were not asked to leave, in the order of their start.
    slots: BTreeMap<u64, Arc<Slot>>,
    next_id: u64,
    /// The times at which missing visitors were refused or lost, the earliest first.
    missing: VecDeque<Instant>,
}

impl Swarm {
    pub(crate) fn new(config: &LoadConfig, stats: Arc<Stats>) -> Self {
        let leaves = Arc::new(Semaphore::new(POLLING_LEAVES_AT_ONCE));
        Self {
            targets: config.targets.clone(),
            visit: Visit {
                transport: config.transport,
                rooms: config.rooms.clone().map(Arc::new),
                stats,
                leaves,
            },
            reconnect: config.reconnect,
            tasks: JoinSet::new(),
            slots: BTreeMap::new(),
            next_id: 0,
            missing: VecDeque::new(),
        }
    }

    /// Starts one more visitor. The servers are used in turn.
    pub(crate) fn join(&mut self) {
        if self.returning() > 0 {
            self.missing.pop_front();
        }
        let id = self.next_id;
        self.next_id += 1;
        let turn = usize::try_from(id).unwrap_or_default() % self.targets.len();
        let (visit, target) = (self.visit.clone(), self.targets[turn].clone());
        let rooms = visit.rooms.as_ref().map(|plan| plan.rooms_of(id)).unwrap_or_default();
        let slot = Arc::new(Slot::new(&rooms));
        self.slots.insert(id, Arc::clone(&slot));
        self.visit.stats.started();
        self.tasks.spawn(async move { (id, visit.run(target, slot).await) });
    }

    /// Asks the visitor with the oldest connection to leave.
    pub(crate) fn leave(&mut self) {
        let oldest = self.slots.iter().find(|(_, slot)| slot.last_count().is_some());
        if let Some(id) = oldest.map(|(&id, _)| id)
            && let Some(slot) = self.slots.remove(&id)
        {
            slot.ask_to_leave();
            self.visit.stats.left();
        }
    }

    /// Records the visitors that have ended without being asked to. Must be called often.
    pub(crate) fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            // A task ends without a result only if the program ends.
            let Ok((id, end)) = ended else { continue };
            if self.slots.remove(&id).is_none() {
                continue;
            }
            match end {
                End::Refused(failure) => self.visit.stats.refused(&failure),
                End::Lost(failure) => self.visit.stats.lost(&failure),
                End::Left => unreachable!("a visitor that was asked to leave has no slot"),
            }
            self.missing.push_back(Instant::now());
        }
    }

    /// Gives up on the visitors that have received no count yet. They count as refused.
    pub(crate) fn give_up_on_the_way(&mut self) {
        let (stats, missing) = (&self.visit.stats, &mut self.missing);
        self.slots.retain(|_, slot| {
            let is_connected = slot.last_count().is_some();
            if !is_connected {
                slot.ask_to_leave();
                stats.refused(&Failure::Late);
                missing.push_back(Instant::now());
            }
            is_connected
        });
    }

    /// The connected and connecting visitors, and the missing ones that do not try again yet. No other visitor may be
    /// started in place of any of these.
    pub(crate) fn taken(&self) -> usize {
        self.slots.len() + self.missing.len() - self.returning()
    }

    /// The missing visitors that would try again now.
    pub(crate) fn returning(&self) -> usize {
        if !self.reconnect {
            return 0;
        }
        self.missing.partition_point(|missing_since| missing_since.elapsed() >= RECONNECT_AFTER)
    }

    /// The missing visitors, limited by the target number.
    pub(crate) fn missing(&self, goal: usize) -> usize {
        let missing = self.missing.len();
        if self.reconnect { missing.min(goal.saturating_sub(self.slots.len())) } else { missing }
    }

    /// The last count that each connected visitor received.
    pub(crate) fn last_counts(&self) -> impl Iterator<Item = u64> {
        self.slots.values().filter_map(|slot| slot.last_count())
    }

    /// The last counts of every room that connected visitors received.
    pub(crate) fn last_counts_of_rooms(&self) -> BTreeMap<u32, Vec<u64>> {
        let mut counts = BTreeMap::<u32, Vec<u64>>::new();
        for (room, count) in self.slots.values().flat_map(|slot| slot.room_counts()) {
            counts.entry(room).or_default().push(count);
        }
        counts
    }

    /// Asks all visitors to leave and waits until they have, but no longer than [`LEAVE_WITHIN`].
    pub(crate) async fn leave_all(mut self) {
        for slot in self.slots.values() {
            slot.ask_to_leave();
        }
        let deadline = Instant::now() + LEAVE_WITHIN;
        while let Ok(Some(_)) = timeout_at(deadline, self.tasks.join_next()).await {}
    }
}
