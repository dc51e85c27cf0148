//! One history: instances start, change, fail and end, and what must hold is checked.

mod dips;
mod guests;
mod listed;
mod scenes;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use headcount::{core::room::SITE, telemetry::metrics::Metrics};
use headcount_testkit::redis_server::RedisServer;
use tokio::time::{Instant, sleep};

use super::{
    chance::Chance,
    database::Database,
    faulty::Fault,
    instance::Instance,
    parts,
    tampering::STRANGER,
    world::{Backend, Backing, HEARTBEAT, LEASE, Shared, Size, World, lock},
};

pub(crate) const ROOMS: [&str; 4] = ["/a", "/b", "/c", "/d/e"];
/// The site and the rooms.
pub(crate) const PLACES: [&str; 5] = [SITE, "/a", "/b", "/c", "/d/e"];
pub(crate) const USERS: [&str; 5] = ["t:u1", "t:u2", "t:u3", "t:u4", "t:u5"];

/// What happens in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    /// The store is away for a time.
    Outage,
    /// It loses everything.
    Flush,
    /// It goes back to an older state.
    Snapshot,
    /// Its clock is set.
    Clock,
    /// Instances crash.
    Death,
    /// Instances crash while the store is away.
    DeathOut,
    /// Instances crash while they report everything again, or while rooms of the dead are taken away.
    Crash,
    /// Very many changes in a short time.
    Burst,
    /// Users move from instance to instance, and are always on at least one, or come within the grace.
    Hop,
    /// The same users come and go on all instances at once.
    Same,
    /// Announcements are lost.
    Unheard,
    /// Reports, replies and announcements are lost or late; instances are cut off.
    Net,
    /// The same, and the store loses data.
    Loss,
    /// Every key is deleted once.
    EveryKey,
    /// The same as `Loss`, and the store is edited by hand.
    Tamper,
}

impl Category {
    pub(crate) const ALL: [Self; 15] = [
        Self::Outage,
        Self::Flush,
        Self::Snapshot,
        Self::Clock,
        Self::Death,
        Self::DeathOut,
        Self::Crash,
        Self::Burst,
        Self::Hop,
        Self::Same,
        Self::Unheard,
        Self::Net,
        Self::Loss,
        Self::EveryKey,
        Self::Tamper,
    ];

    /// The embedded store loses nothing, and nobody can edit it.
    pub(crate) fn suits(self, backend: Backend) -> bool {
        let needs_redis = matches!(
            self,
            Self::Flush | Self::Snapshot | Self::Crash | Self::Loss | Self::EveryKey | Self::Tamper
        );
        backend == Backend::Redis || !needs_redis
    }

    /// Whether the store's sums must be right all the time.
    fn is_strict(self) -> bool {
        !matches!(self, Self::EveryKey | Self::Tamper)
    }
}

/// What a history came to.
pub(crate) struct Outcome {
    pub(crate) wrong: Vec<String>,
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

/// Plays one history.
pub(crate) fn play(
    server: Option<&RedisServer>,
    backend: Backend,
    category: Category,
    size: Size,
    seed: u64,
    fault: Fault,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let backing = Backing::new(server, backend, size);
        let world = World::new(backing, Chance::new(seed));
        lock(&world).is_strict = category.is_strict() && fault == Fault::Nothing;
        let metrics = Metrics::new("history").unwrap();
        let mut episode = Episode {
            world: world.clone(),
            chance: Chance::new(seed ^ 0xabcd),
            instances: Vec::new(),
            born: 0,
            size,
            metrics,
            fault,
            floor: None,
            unknown: BTreeMap::new(),
            there: None,
            is_edited: !category.is_strict(),
            reload: None,
        };
        episode.play(category).await;
        let mut world = lock(&world);
        Outcome { wrong: std::mem::take(&mut world.wrong), seen: std::mem::take(&mut world.seen) }
    })
}

/// The instances of a history, and what may happen to them.
struct Episode {
    world: Shared,
    chance: Chance,
    instances: Vec<Instance>,
    born: usize,
    size: Size,
    metrics: Metrics,
    fault: Fault,
    /// The numbers that must not dip while nobody comes or goes.
    floor: Option<BTreeMap<&'static str, u64>>,
    /// The rooms whose numbers are unknown meanwhile to an instance that has somebody in them, and since when.
    unknown: BTreeMap<(usize, &'static str), Instant>,
    /// The users who must be on all lists meanwhile.
    there: Option<listed::Users>,
    /// Whether the store is edited by hand.
    is_edited: bool,
    reload: Option<guests::Reload>,
}

impl Episode {
    fn start(&mut self, is_filled: bool) {
        self.born += 1;
        let mut instance =
            Instance::start(&self.world, self.born, self.size, &self.metrics, self.fault);
        if is_filled {
            self.fill(&mut instance);
        }
        self.instances.push(instance);
    }

    fn fill(&mut self, instance: &mut Instance) {
        for room in PLACES {
            if self.chance.percent(60) {
                instance.set(room, None, self.chance.between(1, 9).try_into().unwrap());
            }
            for user in USERS {
                if self.chance.percent(25) {
                    instance.set(room, Some(user), self.chance.between(1, 2).try_into().unwrap());
                }
            }
            if room != SITE && self.chance.one_in(4) {
                instance.toggle_watch(room);
            }
        }
    }

    /// A random change on a random instance.
    fn change(&mut self) {
        let index = self.chance.index(self.instances.len());
        let instance = &mut self.instances[index];
        for _ in 0..self.chance.pick(&[1, 1, 1, 2, 5]) {
            let room = self.chance.pick(&PLACES);
            match self.chance.between(0, 99) {
                0..=39 => instance.set(room, None, self.chance.pick(&[0, 0, 1, 5, 9])),
                40..=44 => instance.toggle_watch(self.chance.pick(&ROOMS)),
                _ => {
                    let user = self.chance.pick(&USERS);
                    let choices: [&[usize]; 3] = [&[1, 2], &[0, 0, 2], &[0, 1]];
                    let connections = choices[instance.connections(room, user)];
                    instance.set(room, Some(user), self.chance.pick(connections));
                }
            }
        }
    }

    async fn changes(&mut self, most: u64, gap_ms: u64) {
        for _ in 0..self.chance.between(0, most) {
            self.change();
            let ms = self.chance.between(1, gap_ms);
            self.pass(ms).await;
        }
    }

    /// A random instance ends without a word.
    fn crash(&mut self) {
        let index = self.chance.index(self.instances.len());
        self.instances.swap_remove(index).die();
    }

    async fn pass(&mut self, ms: u64) {
        if self.floor.is_none() {
            return sleep(Duration::from_millis(ms)).await;
        }
        // In the first seconds everything happens.
        let mut left = ms;
        while left > 0 {
            let step = if ms - left < 6000 { 10 } else { 1000 }.min(left);
            sleep(Duration::from_millis(step)).await;
            self.look_for_dips();
            left -= step;
        }
    }

    async fn pass_all(&mut self, times: &[Duration]) {
        let sum: Duration = times.iter().sum();
        self.pass(u64::try_from(sum.as_millis()).unwrap()).await;
    }

    /// What resends and the taking away of rooms may take beyond the other times.
    fn portions(&self) -> Duration {
        match self.size {
            Size::Full => Duration::from_millis(300),
            Size::Small => Duration::from_millis(1500),
        }
    }

    /// The count of the site or of a room.
    fn truth(&self, room: &str) -> u64 {
        let mut users = BTreeSet::new();
        let mut count = 0;
        for (user, connections) in self.instances.iter().flat_map(|it| it.here(room)) {
            match user {
                None => count += connections,
                Some(user) if connections > 0 => {
                    users.insert(user);
                }
                Some(_) => {}
            }
        }
        count + users.len() as u64
    }

    /// Everything must be right now.
    fn check(&mut self, when: &str) {
        let mut wrong = Vec::new();
        let counts: BTreeMap<String, i64> = ROOMS
            .map(|room| (room.to_owned(), i64::try_from(self.truth(room)).unwrap()))
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        if let Some(database) = lock(&self.world).database() {
            let held = database.held();
            let stored = parts::stored_counts(&held);
            if stored.as_ref() != Ok(&counts) {
                wrong.push(format!("the store holds {stored:?}, and the truth is {counts:?}"));
            }
            let (public, site) = (parts::public_count(&held), self.truth(SITE));
            if public != Ok(i64::try_from(site).unwrap()) {
                wrong.push(format!("the public key is {public:?}, and the truth is {site}"));
            }
        }
        for instance in &self.instances {
            let site = (self.truth(SITE), true);
            if instance.shown_site() != site {
                wrong.push(format!(
                    "{} shows {:?} for the site, and the truth is {site:?}: {:?}",
                    instance.who,
                    instance.shown_site(),
                    instance.view.borrow()
                ));
            }
            let drift = instance.drift();
            if drift != 0 {
                wrong.push(format!("{} drifts by {drift}: {:?}", instance.who, instance.rooms));
            }
            for room in ROOMS.into_iter().filter(|room| instance.cares_for(room)) {
                let (shown, truth) = (instance.shown(room), self.truth(room));
                if shown != Some((truth, true)) || instance.told(room) != Some(truth) {
                    let told = instance.told(room);
                    wrong.push(format!(
                        "{} shows {shown:?} for {room}, told {told:?}, and the truth is {truth}: {:?}",
                        instance.who, instance.rooms
                    ));
                }
            }
        }
        wrong.extend(self.wrong_list());
        if let Some(first) = wrong.into_iter().next() {
            lock(&self.world).note(&format!("{when}: {first}"));
        }
    }

    /// Nothing changes, so each instance reports once in a heartbeat.
    async fn check_that_it_is_quiet(&mut self) {
        let before = lock(&self.world).calls;
        self.pass_all(&[HEARTBEAT * 6]).await;
        let calls = lock(&self.world).calls - before;
        let most = 8 * self.instances.len() as u64;
        if calls > most {
            lock(&self.world).note(&format!("{calls} reports in six heartbeats, at most {most}"));
        }
    }

    /// All leave or die, and nothing about rooms may be left.
    async fn end(&mut self) {
        self.floor = None;
        if self.instances.is_empty() {
            self.start(false);
        }
        let keeps_one = self.chance.one_in(2);
        let keeper = if keeps_one { self.instances.pop() } else { None };
        for instance in std::mem::take(&mut self.instances) {
            if !keeps_one || self.chance.percent(60) {
                instance.leave().await;
            } else {
                instance.die();
            }
        }
        if let Some(mut keeper) = keeper {
            keeper.empty();
            self.instances.push(keeper);
            self.pass_all(&[LEASE, HEARTBEAT * 8, self.portions()]).await;
        }
        let mut world = lock(&self.world);
        let is_edited = self.is_edited;
        let left = world.database().map(|database| parts::about_rooms(&database.held()));
        let mut left = left.unwrap_or_default();
        if is_edited {
            // Nobody knows of what was made by hand for a stranger, for an instance without rooms, or for a room in which nobody is.
            // What the product makes has a lifetime.
            let mut ttl = |key: &String| world.database()?.command("TTL", Database::key(key)).ok();
            left.retain(|key| !key.contains(STRANGER) && !key.starts_with("people:"));
            left.retain(|key| ttl(key) != Some(-1));
        }
        if !left.is_empty() {
            let kind = if keeps_one { "one stays" } else { "all left" };
            world.note(&format!("{kind}, and this is left: {left:?}"));
        }
    }
}
