//! Connections that have not been told a count of their room yet. Few rooms have any at a time, so they are kept apart from the
//! rooms.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use super::due::RoomId;
use crate::core::tally::NEWCOMER_PATIENCE;

/// The queues keep space for so many entries when they become empty. After a rush, the rest of their memory is given back.
pub(super) const QUEUE_KEPT: usize = 64;

/// The newcomers of all rooms.
#[derive(Debug)]
pub(super) struct Newcomers<V> {
    /// Those of each room in the order of joining.
    by_room: BTreeMap<RoomId, Vec<Newcomer<V>>>,
    /// Those of all rooms in the order of joining, also some that were told a count since.
    queue: VecDeque<(Instant, RoomId, u64)>,
    arrivals: u64,
}

/// A newcomer.
#[derive(Debug)]
pub(super) struct Newcomer<V> {
    /// `None` once it has left: it is told nothing.
    pub(super) member: Option<V>,
    /// Numbers the newcomers of all rooms.
    pub(super) arrival: u64,
    /// The change that the count must include; `None` for a watcher, who is told any count.
    pub(super) change: Option<u64>,
    pub(super) joined_at: Instant,
}

impl<V> Newcomer<V> {
    /// Whether it has waited so long that it is told the estimate.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.joined_at + NEWCOMER_PATIENCE <= now
    }
}

impl<V> Newcomers<V> {
    pub(super) fn new() -> Self {
        Self { by_room: BTreeMap::new(), queue: VecDeque::new(), arrivals: 0 }
    }

    /// Adds a newcomer. Returns the number of its arrival.
    pub(super) fn add(
        &mut self,
        id: RoomId,
        member: V,
        change: Option<u64>,
        joined_at: Instant,
    ) -> u64 {
        let arrival = self.arrivals;
        self.arrivals += 1;
        let newcomer = Newcomer { member: Some(member), arrival, change, joined_at };
        let newcomers = self.by_room.entry(id).or_default();
        // Most rooms have one at a time, and a vector would begin with space for four.
        newcomers.reserve_exact(usize::from(newcomers.is_empty()));
        newcomers.push(newcomer);
        self.queue.push_back((joined_at, id, arrival));
        arrival
    }

    /// Records that a connection has left its room, if it is still a newcomer.
    pub(super) fn leave(&mut self, id: RoomId, arrival: u64) {
        if let Some(newcomer) = self.find(id, arrival) {
            newcomer.member = None;
        }
    }

    /// When the one that has waited longest is told the estimate.
    pub(super) fn patience_ends(&mut self) -> Option<Instant> {
        while let Some(&(joined_at, id, arrival)) = self.queue.front() {
            if self.find(id, arrival).is_some_and(|newcomer| newcomer.member.is_some()) {
                return Some(joined_at + NEWCOMER_PATIENCE);
            }
            self.queue.pop_front();
        }
        self.queue.shrink_to(QUEUE_KEPT);
        None
    }

    /// The room of one that has waited too long. It is returned once for each of them.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<RoomId> {
        self.patience_ends().filter(|at| *at <= now)?;
        self.queue.pop_front().map(|(_, id, _)| id)
    }

    /// Takes out the newcomers of a room.
    pub(super) fn take(&mut self, id: RoomId) -> Vec<Newcomer<V>> {
        self.by_room.remove(&id).unwrap_or_default()
    }

    /// Puts those of them back that were not told a count.
    pub(super) fn put_back(&mut self, id: RoomId, waiting: Vec<Newcomer<V>>) {
        if !waiting.is_empty() {
            self.by_room.insert(id, waiting);
        }
    }

    fn find(&mut self, id: RoomId, arrival: u64) -> Option<&mut Newcomer<V>> {
        let newcomers = self.by_room.get_mut(&id)?;
        let place = newcomers.binary_search_by_key(&arrival, |it| it.arrival).ok()?;
        Some(&mut newcomers[place])
    }
}
