//! The task that tells the clients of this instance who is in their rooms. Nothing else emits lists.
//!
//! A client is told the whole list first, and after that what has changed. The first change of a list is emitted at once, and
//! later ones at most once in every interval. What is emitted is encoded once for all clients that were told the same before;
//! a client that has missed something is sent the whole list.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::fan_out::{FanOut, ListListener, PRUNED_ABOVE, tell};
use crate::{
    core::{
        lists::{DueList, Lists},
        pace::HalfTime,
        prune::Prune,
        room::RoomName,
        user_list::UserList,
    },
    engine::{flusher::Flusher, list_frames::ListFrames, session::RoomMembership},
    telemetry::metrics::{Metrics, signed},
};

/// The state of the task.
#[derive(Debug)]
pub struct ListBroadcaster {
    lists: Arc<Lists<RoomMembership>>,
    news: watch::Receiver<u64>,
    flusher: Flusher,
    metrics: Metrics,
    interval: Duration,
    half: HalfTime,
    rooms: HashMap<RoomName, Audience>,
    /// When the next emission of a room may begin.
    waiting: BTreeSet<(Instant, RoomName)>,
}

/// The clients that are told the list of a room.
#[derive(Debug)]
struct Audience {
    clients: FanOut<ListListener>,
    /// The newest list, for those who are told it for the first time, and for the next emission.
    newest: Arc<ListFrames>,
    /// The number and the list of the last emission.
    told: (u64, Arc<UserList>),
    emitted: Option<Instant>,
    is_planned: bool,
}

impl ListBroadcaster {
    /// A broadcaster with at least `interval` between two emissions of a list. [`ListBroadcaster::run`] starts it.
    pub fn new(
        lists: Arc<Lists<RoomMembership>>,
        flusher: Flusher,
        metrics: Metrics,
        interval: Duration,
    ) -> Self {
        Self {
            news: lists.subscribe(),
            lists,
            flusher,
            metrics,
            interval,
            half: HalfTime::default(),
            rooms: HashMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Task: emits until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wake = self.act().await;
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = self.news.changed() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Does what is due now. Returns when something is due next even if nothing changes.
    async fn act(&mut self) -> Option<Instant> {
        loop {
            let now = Instant::now();
            self.news.mark_unchanged();
            for due in self.lists.take_due(now) {
                self.update(due, now);
            }
            self.metrics.lists.set(signed(self.rooms.len() as u64));
            let next = self.waiting.first().map(|(at, _)| *at);
            let rested = self.half.due(now);
            if next.is_none_or(|at| at > now) || rested.is_some() {
                let next = next.map(|next| rested.map_or(next, |rested| next.max(rested)));
                return [next, self.lists.patience_ends()].into_iter().flatten().min();
            }
            if let Some((_, room)) = self.waiting.pop_first() {
                self.emit(&room, now).await;
            }
        }
    }

    /// Takes in a list, and tells it to newcomers.
    fn update(&mut self, due: DueList<RoomMembership>, now: Instant) {
        let DueList { room, list, newcomers } = due;
        let Some((number, list)) = list else {
            self.rooms.remove(&room);
            return;
        };
        let is_new = !self.rooms.contains_key(&room);
        let audience = self.rooms.entry(room.clone()).or_insert_with(|| {
            let newest = ListFrames::new(room.clone(), number, Arc::clone(&list), None);
            Audience::new(newest)
        });
        audience.hear(&room, number, list);
        for newcomer in newcomers {
            audience.let_in(&newcomer, &self.flusher);
        }
        if is_new || audience.told.0 == number || audience.is_planned {
            return;
        }
        audience.is_planned = true;
        let from = audience.emitted.map_or(now, |emitted| now.max(emitted + self.interval));
        self.waiting.insert((from, room));
    }

    /// Tells the newest list to all clients of a room, in parts.
    async fn emit(&mut self, room: &RoomName, start: Instant) {
        let Some(audience) = self.rooms.get_mut(room) else { return };
        audience.is_planned = false;
        audience.emitted = Some(start);
        let newest = Arc::clone(&audience.newest);
        audience.told = (newest.number(), Arc::clone(newest.list()));
        let mut untold = audience.clients.len();
        while untold > 0 {
            let start = Instant::now();
            untold = audience.clients.tell_last_of(untold, &newest, &self.flusher);
            self.half.worked(start, Instant::now());
            // Between the parts, other tasks have their turns.
            yield_now().await;
        }
    }
}

impl Audience {
    fn new(newest: ListFrames) -> Self {
        Self {
            clients: FanOut::new(Prune::above(PRUNED_ABOVE)),
            told: (newest.number(), Arc::clone(newest.list())),
            newest: Arc::new(newest),
            emitted: None,
            is_planned: false,
        }
    }

    /// Takes in the newest list.
    fn hear(&mut self, room: &RoomName, number: u64, list: Arc<UserList>) {
        if number == self.newest.number() {
            return;
        }
        let before = Some(self.told.clone());
        self.newest = Arc::new(ListFrames::new(room.clone(), number, list, before));
    }

    /// Tells a client its first list, and adds it to the audience, unless it has left.
    fn let_in(&mut self, newcomer: &RoomMembership, flusher: &Flusher) {
        let Some(session) = newcomer.session.upgrade() else { return };
        let listener = ListListener { session, place: newcomer.place };
        if tell(&listener, &self.newest, flusher) {
            self.clients.enlist(listener);
        }
    }
}

#[cfg(test)]
#[path = "lists/tests.rs"]
mod tests;
