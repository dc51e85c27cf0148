//! The task that tells the connections of this instance the counts of their rooms. Nothing else emits them.
//!
//! ```text
//!  the table of rooms ──due──▶ newcomers: told at once
//!                        └───▶ the count changed? ──▶ ready, or waiting for the end of its interval
//!                                                       │
//!              one turn: a part of one large room, then a batch of small rooms; then a rest as long
//! ```
//!
//! - A client is told nothing until the count includes it. So its first value includes itself. It follows the acknowledgement
//!   of the join, and does not have to wait for an emission that is under way. Nor is it told a later count that leaves it out
//!   (`broadcast::provisional`).
//! - The first change of a room is emitted at once, and later ones at most once in every interval.
//! - Rooms that change shortly after each other are told in one round. Rounds begin half an interval apart at least: waking up
//!   for each room, and sending a little each time, would cost more than the sending.
//! - Large and small rooms take turns: a turn writes to at most `WRITES_AT_ONCE` members of one large room, and to about as
//!   many of small rooms. So neither waits for all of the other.
//! - A client that leaves a room and joins it again has another place in it. What was meant for the former place does not
//!   reach it, so no older count follows a newer one.

mod table;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    fan_out::{FanOut, PRUNED_ABOVE, RoomListener, WRITES_AT_ONCE, tell},
    provisional::Provisional,
};
use crate::{
    core::{
        count::MaybeCount,
        pace::HalfTime,
        prune::Prune,
        room::RoomName,
        rooms::{DueRoom, RoomId, RoomNewcomer, Rooms},
        view::View,
    },
    engine::{flusher::Flusher, session::RoomMembership},
    protocol::frame::RoomFrame,
    telemetry::metrics::{Metrics, observe, signed},
};
use table::RoomTable;

/// The state of the task.
#[derive(Debug)]
pub struct RoomBroadcaster {
    table: Arc<Rooms<RoomMembership>>,
    news: watch::Receiver<u64>,
    view: watch::Receiver<View>,
    flusher: Flusher,
    metrics: Metrics,
    interval: Duration,
    half: HalfTime,
    /// When the next round may begin; `None` before the first one.
    next_round: Option<Instant>,
    rooms: RoomTable<Room>,
    /// Small rooms whose next emission may start.
    ready: VecDeque<RoomId>,
    /// Rooms whose next emission may start at the end of their interval, or with the next round.
    waiting: BinaryHeap<Reverse<(Instant, RoomId)>>,
    /// The emissions of large rooms that are under way.
    large: VecDeque<Emission>,
    /// The rooms with clients that the store may not have counted yet.
    provisional: BTreeMap<RoomId, Provisional<RoomMembership>>,
}

/// A room with connections on this instance.
#[derive(Debug)]
struct Room {
    name: RoomName,
    audience: FanOut<RoomListener>,
    /// The newest count.
    users: u64,
    /// The count that the audience was last told, or will be told by its slots or by the present emission. None once some
    /// were told another count; then an emission must follow.
    told: MaybeCount,
    /// When the last emission began.
    emitted: Option<Instant>,
    plan: Plan,
}

/// Whether an emission of a room will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Nothing,
    /// The room is ready, or waits.
    Planned,
    /// An emission is under way.
    Emitting,
}

/// An emission of a large room.
#[derive(Debug)]
struct Emission {
    id: RoomId,
    frame: RoomFrame,
    /// How many of the audience it has not reached.
    untold: usize,
}

impl RoomBroadcaster {
    /// A broadcaster with at least `interval` between two emissions of a room. [`RoomBroadcaster::run`] starts it.
    pub fn new(
        table: Arc<Rooms<RoomMembership>>,
        view: watch::Receiver<View>,
        flusher: Flusher,
        metrics: Metrics,
        interval: Duration,
    ) -> Self {
        Self {
            news: table.subscribe(),
            table,
            view,
            flusher,
            metrics,
            interval,
            half: HalfTime::default(),
            next_round: None,
            rooms: RoomTable::new(),
            ready: VecDeque::new(),
            waiting: BinaryHeap::new(),
            large: VecDeque::new(),
            provisional: BTreeMap::new(),
        }
    }

    /// Task: emits until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wake = self.act().await;
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = self.news.changed() => {}
                Ok(()) = self.view.changed() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Does what is due now. Returns when something is due next even if nothing changes.
    async fn act(&mut self) -> Option<Instant> {
        loop {
            let now = Instant::now();
            self.take_in(now);
            let has_work = !self.ready.is_empty() || !self.large.is_empty();
            let rested = self.half.due(now);
            if !has_work || rested.is_some() {
                let waiting = self.waiting.peek().map(|Reverse((at, _))| *at);
                let patience_ends = self.table.patience_ends().filter(|&at| at > now);
                let rested = rested.filter(|_| has_work);
                return [rested, waiting, patience_ends].into_iter().flatten().min();
            }
            self.take_turns(now);
            // Between the turns, other tasks and newcomers have theirs.
            yield_now().await;
        }
    }

    /// Takes in what the table of rooms has to tell.
    fn take_in(&mut self, now: Instant) {
        self.news.mark_unchanged();
        let view = *self.view.borrow_and_update();
        for due in self.table.take_due(&view, now) {
            self.update(due, now);
        }
        while let Some(&Reverse((at, id))) = self.waiting.peek()
            && at <= now
        {
            self.waiting.pop();
            self.make_ready_or_wait(id, now, now);
        }
        self.metrics.rooms.set(signed(self.rooms.len() as u64));
    }

    fn update(&mut self, due: DueRoom<RoomMembership>, now: Instant) {
        let DueRoom { id, name, shown, included, newcomers, is_over, changed } = due;
        if is_over {
            // What is planned for it finds nothing.
            self.rooms.remove(id);
            self.provisional.remove(&id);
            return;
        }
        let is_new = self.rooms.get_mut(id).is_none();
        if newcomers.is_empty() && is_new {
            return;
        }
        let room = self.rooms.get_or_insert(id, || Room::new(name));
        if changed || is_new {
            room.hear(shown.users);
        }
        if let Some(provisional) = self.provisional.get_mut(&id) {
            provisional.hear(included);
        }
        self.review(id);
        let room = self.rooms.get_mut(id).expect("it was found or added");
        for newcomer in newcomers {
            if room.let_in(&newcomer, &self.flusher) {
                self.metrics.room_emitted_packets.inc();
                let waited = newcomer.joined_at.elapsed();
                observe(&self.metrics.room_join_to_emit_seconds, waited);
                if let Some(change) = newcomer.uncounted {
                    let provisional = self.provisional.entry(id);
                    let provisional = provisional.or_insert_with(|| Provisional::beside(included));
                    provisional.add(newcomer.member, change);
                }
            }
        }
        self.plan(id, now);
    }

    /// Keeps counts from the clients that the room's count leaves out, and tells the others, unless an older count is being emitted.
    fn review(&mut self, id: RoomId) {
        let Some(provisional) = self.provisional.get_mut(&id) else { return };
        let Some(room) = self.rooms.get_mut(id).filter(|room| room.plan != Plan::Emitting) else {
            return;
        };
        if !provisional.review().is_empty() {
            room.told = MaybeCount::NONE;
        }
        if provisional.is_empty() {
            self.provisional.remove(&id);
        }
    }

    /// Plans an emission of the room, if its audience must be told something.
    fn plan(&mut self, id: RoomId, now: Instant) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        if room.plan != Plan::Nothing || room.told == room.users.into() {
            return;
        }
        room.plan = Plan::Planned;
        let due = room.emitted.map_or(now, |emitted| emitted + self.interval);
        self.make_ready_or_wait(id, due, now);
    }

    fn make_ready_or_wait(&mut self, id: RoomId, due: Instant, now: Instant) {
        let due = self.next_round.map_or(due, |round| round.max(due));
        if due > now {
            self.waiting.push(Reverse((due, id)));
        } else {
            self.make_ready(id, now);
        }
    }

    /// Small rooms wait for their turn in the order in which they are ready. A large room begins its emission, whose parts take
    /// turns with them.
    fn make_ready(&mut self, id: RoomId, now: Instant) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        if room.audience.len() > WRITES_AT_ONCE {
            self.begin(id, now);
        } else {
            self.ready.push_back(id);
        }
    }

    /// Lets one large room and a batch of small ones have their turns.
    fn take_turns(&mut self, start: Instant) {
        if let Some(emission) = self.large.pop_front() {
            self.go_on(emission, start);
        }
        self.next_round = Some(start + self.interval / 2);
        let mut writes = 0;
        while writes < WRITES_AT_ONCE
            && let Some(id) = self.ready.pop_front()
        {
            writes += self.begin(id, start);
        }
        self.half.worked(start, Instant::now());
    }

    /// Begins the emission of a room, and tells all of a small room. Returns the number of writes.
    fn begin(&mut self, id: RoomId, now: Instant) -> usize {
        let Some(room) = self.rooms.get_mut(id) else { return 0 };
        room.plan = Plan::Nothing;
        if room.told == room.users.into() {
            return 0;
        }
        (room.told, room.emitted) = (room.users.into(), Some(now));
        let frame = RoomFrame::new(room.name.as_str(), room.users);
        let untold = room.audience.len();
        self.metrics.room_emissions.inc();
        self.metrics.room_emitted_packets.inc_by(untold as u64);
        if untold > WRITES_AT_ONCE {
            room.plan = Plan::Emitting;
            self.large.push_back(Emission { id, frame, untold });
            return 0;
        }
        room.audience.tell_last_of(untold, &frame, &self.flusher);
        untold.max(1)
    }

    /// Tells the next part of a large room.
    fn go_on(&mut self, mut emission: Emission, now: Instant) {
        let Some(room) = self.rooms.get_mut(emission.id) else { return };
        let (untold, frame) = (emission.untold, &emission.frame);
        emission.untold = room.audience.tell_last_of(untold, frame, &self.flusher);
        if emission.untold > 0 {
            self.large.push_back(emission);
            return;
        }
        room.plan = Plan::Nothing;
        room.audience.enlist_entering();
        self.review(emission.id);
        self.plan(emission.id, now);
    }
}

impl Room {
    fn new(name: RoomName) -> Self {
        Self {
            name,
            audience: FanOut::new(Prune::above(PRUNED_ABOVE)),
            users: 0,
            told: MaybeCount::NONE,
            emitted: None,
            plan: Plan::Nothing,
        }
    }

    /// Takes in the newest count.
    fn hear(&mut self, users: u64) {
        self.users = users;
        if self.plan != Plan::Emitting {
            self.audience.enlist_entering();
        }
    }

    /// Tells a newcomer its first value, and adds it to the audience. Returns false if it has left.
    ///
    /// While an emission is under way, it does not reach the newcomer: it would tell it an older count.
    fn let_in(&mut self, newcomer: &RoomNewcomer<RoomMembership>, flusher: &Flusher) -> bool {
        let (member, users) = (&newcomer.member, newcomer.shown.users);
        let Some(session) = member.session.upgrade() else { return false };
        let listener = RoomListener { session, place: member.place };
        if !tell(&listener, &RoomFrame::new(self.name.as_str(), users), flusher) {
            return false;
        }
        // One that the count leaves out is told later what all others are told.
        let told = if newcomer.uncounted.is_some() { self.users } else { users };
        if self.audience.is_empty() {
            self.told = told.into();
        } else if self.told != told.into() {
            self.told = MaybeCount::NONE;
        }
        if self.plan == Plan::Emitting {
            self.audience.enter(listener);
        } else {
            self.audience.enlist(listener);
        }
        true
    }
}

#[cfg(test)]
#[path = "rooms/tests.rs"]
mod tests;
