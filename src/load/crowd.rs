//! The visitors of a run: who is there, who is on the way, who will not come. It sends them out, asks them to
//! leave, and notices how they end.

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

use super::{
    fault::Fault,
    tally::Tally,
    visitor::{End, Seat, Visit},
};
use crate::config::load::{LoadConfig, POLLING_LEAVES_AT_ONCE, Target};

/// When browsers that were refused or lost their connection have tried again twice.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);
/// All good-byes together; what is left then is dropped.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Crowd {
    targets: Vec<Target>,
    visit: Visit,
    reconnect: bool,
    tasks: JoinSet<(u64, End)>,
    /// Everybody who was sent out, has not ended and was not asked to leave, in that order.
    seats: BTreeMap<u64, Arc<Seat>>,
    next_id: u64,
    /// When those who were refused or lost were, in that order.
    missing: VecDeque<Instant>,
}

impl Crowd {
    pub(super) fn new(config: &LoadConfig, tally: Arc<Tally>) -> Self {
        let good_byes = Arc::new(Semaphore::new(POLLING_LEAVES_AT_ONCE));
        Self {
            targets: config.targets.clone(),
            visit: Visit { transport: config.transport, tally, good_byes },
            reconnect: config.reconnect,
            tasks: JoinSet::new(),
            seats: BTreeMap::new(),
            next_id: 0,
            missing: VecDeque::new(),
        }
    }

    /// Sends one more visitor out; servers take turns.
    pub(super) fn join(&mut self) {
        if self.returning() > 0 {
            self.missing.pop_front();
        }
        let id = self.next_id;
        self.next_id += 1;
        let turn = usize::try_from(id).unwrap_or_default() % self.targets.len();
        let (visit, target) = (self.visit.clone(), self.targets[turn].clone());
        let seat = Arc::new(Seat::new());
        self.seats.insert(id, Arc::clone(&seat));
        self.visit.tally.started();
        self.tasks.spawn(async move { (id, visit.make(target, seat).await) });
    }

    /// Asks the one who has been connected for longest to leave.
    pub(super) fn leave(&mut self) {
        let oldest = self.seats.iter().find(|(_, seat)| seat.told().is_some());
        if let Some(id) = oldest.map(|(&id, _)| id)
            && let Some(seat) = self.seats.remove(&id)
        {
            seat.ask_to_leave();
            self.visit.tally.left();
        }
    }

    /// Notices who has ended without being asked to. To be called often.
    pub(super) fn notice(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            // A task ends without a word only if the program does.
            let Ok((id, end)) = ended else { continue };
            if self.seats.remove(&id).is_none() {
                continue;
            }
            match end {
                End::Refused(fault) => self.visit.tally.refused(&fault),
                End::Lost(fault) => self.visit.tally.lost(&fault),
                End::Left => unreachable!("whoever was asked to leave has no seat"),
            }
            self.missing.push_back(Instant::now());
        }
    }

    /// Those who have been told no count yet are refused one.
    pub(super) fn give_up_on_the_way(&mut self) {
        let (tally, missing) = (&self.visit.tally, &mut self.missing);
        self.seats.retain(|_, seat| {
            let is_connected = seat.told().is_some();
            if !is_connected {
                seat.ask_to_leave();
                tally.refused(&Fault::Late);
                missing.push_back(Instant::now());
            }
            is_connected
        });
    }

    /// Those who are there, on their way, or will not come yet: nobody is to be sent out in their place.
    pub(super) fn taken(&self) -> usize {
        self.seats.len() + self.missing.len() - self.returning()
    }

    /// Those who were refused or lost their connection and would now try again.
    pub(super) fn returning(&self) -> usize {
        if !self.reconnect {
            return 0;
        }
        self.missing.partition_point(|missing_since| missing_since.elapsed() >= RECONNECT_AFTER)
    }

    /// Those who were refused or lost their connection and have not come back, though there should be so many
    /// visitors.
    pub(super) fn missing(&self, goal: usize) -> usize {
        let missing = self.missing.len();
        if self.reconnect { missing.min(goal.saturating_sub(self.seats.len())) } else { missing }
    }

    /// What everybody who is connected was told last.
    pub(super) fn told(&self) -> impl Iterator<Item = u64> {
        self.seats.values().filter_map(|seat| seat.told())
    }

    /// Asks everybody to leave and waits until they have, but not for ever.
    pub(super) async fn disperse(mut self) {
        for seat in self.seats.values() {
            seat.ask_to_leave();
        }
        let deadline = Instant::now() + LEAVE_WITHIN;
        while let Ok(Some(_)) = timeout_at(deadline, self.tasks.join_next()).await {}
    }
}
