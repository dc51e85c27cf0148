//! The visitors of a run: connected, connecting and missing ones. It starts them, asks them to leave, and records how
//! they end.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime},
};

use headcount_client::auth::Auth;

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    failure::Failure,
    flags::{LoadConfig, POLLING_LEAVES_AT_ONCE, Target},
    identities::{IdentityPlan, User},
    on_the_way::{Judge, OnTheWay},
    presences::{Connection, Presences, Step},
    stats::Stats,
    visitor::{End, Slot, Visit},
};

/// The pause before a refused or lost visitor tries again. Browsers have tried twice by then.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);
/// How old a count may be, and how long a user that has left may be counted, at least. `--settle` makes it longer.
pub(crate) const WINDOW_MIN: Duration = Duration::from_secs(5);
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
    slots: BTreeMap<u64, Seat>,
    next_id: u64,
    /// What is judged if the run has identities.
    people: Option<People>,
    /// The times at which missing visitors were refused or lost, the earliest first.
    missing: VecDeque<Instant>,
}

/// A visitor in the swarm.
#[derive(Debug)]
struct Seat {
    slot: Arc<Slot>,
    user: User,
    /// Its place among all that are there at a time.
    place: u32,
    /// Its rooms.
    rooms: Vec<u32>,
    /// Whether it is recorded as joined.
    has_joined: bool,
}

/// The identities of a run, and how many there are at the moment.
#[derive(Debug)]
struct People {
    plan: IdentityPlan,
    presences: Presences,
    judge: Arc<Judge>,
    /// Those that were asked to leave and have not ended.
    leaving: HashMap<u64, Seat>,
    /// Places that a visitor has left.
    free: BTreeSet<u32>,
    /// The first place that nobody ever had.
    unused: u32,
}

/// What the visitors in one room were told last.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToldInRoom {
    /// The last count that each of them received.
    pub(crate) last_counts: Vec<u64>,
    /// How many users they are.
    pub(crate) users: u64,
}

impl Swarm {
    pub(crate) fn new(config: &LoadConfig, stats: Arc<Stats>) -> Self {
        let leaves = Arc::new(Semaphore::new(POLLING_LEAVES_AT_ONCE));
        let people = config.identities.clone().map(|plan| People::new(plan, config));
        Self {
            targets: config.targets.clone(),
            visit: Visit {
                transport: config.transport,
                rooms: config.rooms.clone().map(Arc::new),
                stats,
                judge: people.as_ref().map(|people| Arc::clone(&people.judge)),
                leaves,
            },
            reconnect: config.reconnect,
            tasks: JoinSet::new(),
            slots: BTreeMap::new(),
            next_id: 0,
            people,
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
        let (seat, auth) = self.seat(id);
        let slot = Arc::clone(&seat.slot);
        self.visit.stats.started();
        if let Some(people) = &mut self.people {
            people.record(Step::Start, &seat);
        }
        self.slots.insert(id, seat);
        self.tasks.spawn(async move { (id, visit.run(target, auth, slot).await) });
    }

    /// A seat for a visitor that is about to start, and what it says of itself. All connections of an identity are in the same
    /// rooms.
    fn seat(&mut self, id: u64) -> (Seat, Auth) {
        let (place, user, auth) = match &mut self.people {
            Some(people) => {
                let place = people.take_place();
                let user = people.plan.user(place, id);
                (place, user, people.plan.auth(user, SystemTime::now()))
            }
            None => (0, User::Connection(id), Auth::default()),
        };
        let who = match user {
            User::Connection(id) => id,
            User::Identity(identity) => identity.into(),
        };
        let rooms = self.visit.rooms.as_ref().map(|plan| plan.rooms_of(who)).unwrap_or_default();
        let slot = Arc::new(Slot::new(id, &rooms));
        (Seat { slot, user, place, rooms, has_joined: false }, auth)
    }

    /// Asks the visitor with the oldest connection to leave.
    pub(crate) fn leave(&mut self) {
        let oldest = self.slots.iter().find(|(_, seat)| seat.slot.last_count().is_some());
        if let Some(id) = oldest.map(|(&id, _)| id)
            && let Some(seat) = self.slots.remove(&id)
        {
            self.send_away(id, seat);
            self.visit.stats.left();
        }
    }

    /// Records the visitors that have joined, and those that have ended without being asked to. Must be called often.
    pub(crate) fn reap(&mut self) {
        self.note_joined();
        while let Some(ended) = self.tasks.try_join_next() {
            // A task ends without a result only if the program ends.
            let Ok((id, end)) = ended else { continue };
            let Some(seat) = self.slots.remove(&id) else {
                self.note_ended(id);
                continue;
            };
            match end {
                End::Refused(failure) => self.visit.stats.refused(&failure),
                End::Lost(failure) => self.visit.stats.lost(&failure),
                End::Left => unreachable!("a visitor that was asked to leave has no slot"),
            }
            self.forget(&seat);
            if let Some(people) = &mut self.people {
                people.record(Step::End, &seat);
            }
            self.missing.push_back(Instant::now());
        }
        if let Some(people) = &mut self.people {
            people.pass();
        }
    }

    /// Records that a connection that had to leave has ended.
    fn note_ended(&mut self, id: u64) {
        if let Some(people) = &mut self.people
            && let Some(seat) = people.leaving.remove(&id)
        {
            people.record(Step::End, &seat);
        }
    }

    fn note_joined(&mut self) {
        let joined = self.visit.stats.take_joined();
        let Some(people) = &mut self.people else { return };
        for id in joined {
            if let Some(seat) = self.slots.get_mut(&id) {
                seat.has_joined = true;
                people.record(Step::Join, seat);
            }
        }
    }

    fn send_away(&mut self, id: u64, seat: Seat) {
        seat.slot.ask_to_leave();
        self.forget(&seat);
        if let Some(people) = &mut self.people {
            people.leaving.insert(id, seat);
        }
    }

    /// Records that a visitor is not there any more, or soon will not be. Another one may take its place.
    fn forget(&mut self, seat: &Seat) {
        if let Some(people) = &mut self.people {
            people.record(Step::Leave { had_joined: seat.has_joined }, seat);
            people.free.insert(seat.place);
        }
    }

    /// Gives up on the visitors that have received no count yet. They count as refused.
    pub(crate) fn give_up_on_the_way(&mut self) {
        let on_the_way = self.slots.extract_if(.., |_, seat| seat.slot.last_count().is_none());
        for (id, seat) in on_the_way.collect::<Vec<_>>() {
            self.send_away(id, seat);
            self.visit.stats.refused(&Failure::Late);
            self.missing.push_back(Instant::now());
        }
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
        self.slots.values().filter_map(|seat| seat.slot.last_count())
    }

    /// How many users the connected visitors are.
    pub(crate) fn users(&self) -> u64 {
        let connected = self.slots.values().filter(|seat| seat.slot.has_joined());
        connected.map(|seat| seat.user).collect::<HashSet<_>>().len() as u64
    }

    /// What connected visitors were told last in every room.
    pub(crate) fn told_in_rooms(&self) -> BTreeMap<u32, ToldInRoom> {
        let mut rooms = BTreeMap::<u32, (ToldInRoom, HashSet<User>)>::new();
        for seat in self.slots.values() {
            for (room, count) in seat.slot.room_counts() {
                let (told, users) = rooms.entry(room).or_default();
                told.last_counts.push(count);
                users.insert(seat.user);
            }
        }
        let sum = |(told, users): (ToldInRoom, HashSet<User>)| ToldInRoom {
            users: users.len() as u64,
            ..told
        };
        rooms.into_iter().map(|(room, all)| (room, sum(all))).collect()
    }

    /// What the visitors were told on the way; `None` if the run has no identities. `name` names a room.
    pub(crate) fn on_the_way(&self, name: impl Fn(u32) -> String) -> Option<OnTheWay> {
        self.people.as_ref().map(|people| people.judge.sum(name))
    }

    /// Asks all visitors to leave and waits until they have, but no longer than [`LEAVE_WITHIN`].
    pub(crate) async fn leave_all(mut self) {
        for seat in self.slots.values() {
            seat.slot.ask_to_leave();
        }
        let deadline = Instant::now() + LEAVE_WITHIN;
        while let Ok(Some(_)) = timeout_at(deadline, self.tasks.join_next()).await {}
    }
}

impl People {
    fn new(plan: IdentityPlan, config: &LoadConfig) -> Self {
        let rooms = config.rooms.as_ref().map_or(0, |plan| plan.rooms);
        let presences = Presences::new(rooms, config.settle.max(WINDOW_MIN));
        let judge = Arc::new(Judge::new(presences.limits(), config.alone));
        Self { plan, presences, judge, leaving: HashMap::new(), free: BTreeSet::new(), unused: 0 }
    }

    /// The first place that nobody has. So the identities keep their connections when these are replaced.
    fn take_place(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.unused += 1;
            self.unused - 1
        })
    }

    fn record(&mut self, step: Step, seat: &Seat) {
        let connection = Connection { user: seat.user, rooms: &seat.rooms };
        self.presences.record(step, connection, Instant::now());
    }

    fn pass(&mut self) {
        let now = Instant::now();
        self.presences.pass(now);
        self.judge.pass(now);
    }
}
