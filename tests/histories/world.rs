//! What the instances of a history share: the store, the time, the state of the network, and the truth.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use headcount::{
    core::{
        people::People,
        report::{Outcome, Reply, Report},
    },
    store::{Announcement, Announcements, Store, embedded::EmbeddedStore, people::PeopleQuery},
};
use headcount_testkit::redis_server::RedisServer;
use tokio::{sync::mpsc::UnboundedSender, time::Instant};

use super::{
    chance::Chance,
    database::{Applied, Database},
    parts,
};

pub(crate) const LEASE: Duration = Duration::from_secs(2);
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);
/// The store's time at the start, in ms.
const EPOCH: u64 = 1_700_000_000_000;

/// Which store a history uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Redis,
    Embedded,
}

/// Whether the limits are the product's, or so small that everything takes several portions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Full,
    Small,
}

pub(crate) enum Backing {
    Redis(Box<Database>),
    Embedded(Box<Memory>),
}

/// The embedded store, its announcements, and the time that it reads.
pub(crate) struct Memory {
    store: EmbeddedStore,
    heard: Announcements,
    clock: Arc<Mutex<Duration>>,
}

impl Backing {
    pub(crate) fn new(server: Option<&RedisServer>, backend: Backend, size: Size) -> Self {
        match backend {
            Backend::Redis => Self::Redis(Box::new(Database::new(server.unwrap(), size))),
            Backend::Embedded => {
                let clock = Arc::new(Mutex::new(Duration::ZERO));
                let read = Arc::clone(&clock);
                let store = EmbeddedStore::with_clock(move || *read.lock().unwrap());
                let heard = store.subscribe().now_or_never().unwrap().unwrap();
                Self::Embedded(Box::new(Memory { store, heard, clock }))
            }
        }
    }
}

/// The state of a history.
pub(crate) struct World {
    pub(crate) backing: Backing,
    pub(crate) chance: Chance,
    start: Instant,
    /// By how much the server's time was set forward, in ms.
    pub(crate) skew: i64,
    /// How long users are counted after their last connection.
    pub(crate) grace: Duration,
    /// Whether the store cannot be reached.
    pub(crate) is_away: bool,
    /// The instances that cannot reach the store, nor hear of it.
    pub(crate) cut: BTreeSet<usize>,
    /// Percentages: reports that are lost or late, replies that are late, messages that are lost.
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) unheard: u64,
    /// Whether all sums must be right after every report.
    pub(crate) is_strict: bool,
    pub(crate) listeners: Vec<(usize, UnboundedSender<Announcement>)>,
    pub(crate) calls: u64,
    /// Which key was deleted last, as the end of what is noted.
    pub(crate) deed: String,
    pub(crate) wrong: Vec<String>,
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

pub(crate) type Shared = Arc<Mutex<World>>;

pub(crate) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new(backing: Backing, mut chance: Chance) -> Shared {
        let grace = Duration::from_millis(chance.pick(&[0, 300, 900]));
        Arc::new(Mutex::new(Self {
            backing,
            chance,
            grace,
            start: Instant::now(),
            skew: 0,
            is_away: false,
            cut: BTreeSet::new(),
            lost: 0,
            late: 0,
            unheard: 0,
            is_strict: true,
            listeners: Vec::new(),
            calls: 0,
            deed: String::new(),
            wrong: Vec::new(),
            seen: BTreeMap::new(),
        }))
    }

    pub(crate) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    pub(crate) fn note(&mut self, why: &str) {
        if self.wrong.len() < 3 {
            self.wrong.push(format!("at {} ms: {why}{}", self.elapsed_ms(), self.deed));
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub(crate) fn database(&mut self) -> Option<&mut Database> {
        match &mut self.backing {
            Backing::Redis(database) => Some(database),
            Backing::Embedded(_) => None,
        }
    }

    /// The store applies a report, and tells the listeners what it announces.
    pub(crate) fn run(&mut self, report: &Report) -> Option<Reply> {
        self.calls += 1;
        self.count("reports");
        if !report.is_valid() {
            self.note(&format!("a report is not valid: {report:?}"));
            return None;
        }
        let now = (EPOCH + self.elapsed_ms()).saturating_add_signed(self.skew);
        let outcome = match &mut self.backing {
            Backing::Redis(database) => database.report(report, now, self.is_strict),
            Backing::Embedded(memory) => {
                let Memory { store, heard, clock } = &mut **memory;
                *clock.lock().unwrap() = Duration::from_millis(now);
                let reply = store.report(report.clone()).now_or_never().unwrap();
                let mut news = Vec::new();
                while let Some(Some(Ok(announcement))) = heard.next().now_or_never() {
                    news.push(announcement);
                }
                let applied = |reply| Applied { reply, news, held: None };
                reply.map(applied).map_err(|error| error.to_string())
            }
        };
        let Applied { reply, news, held } = match outcome {
            Ok(applied) => applied,
            Err(why) => {
                self.note(&why);
                return None;
            }
        };
        self.look_at(report, &reply, &news);
        if let Some(held) = held.filter(|_| reply.outcome != Outcome::Stale)
            && let Err(why) = parts::check(&held)
        {
            self.note(&format!("after {report:?}: {why}"));
        }
        self.spread(&news);
        Some(reply)
    }

    /// The store says who is in a room.
    pub(crate) fn people(&mut self, query: &PeopleQuery) -> Option<People> {
        self.count("lists");
        let people = match &mut self.backing {
            Backing::Redis(database) => database.people(query),
            Backing::Embedded(memory) => {
                let people = memory.store.people(query.clone()).now_or_never().unwrap();
                people.map_err(|error| error.to_string())
            }
        };
        let is_strict = self.is_strict;
        // Who edits the store can make a question fail.
        people
            .inspect_err(|why| {
                if is_strict {
                    self.note(why);
                }
            })
            .ok()
    }

    fn look_at(&mut self, report: &Report, reply: &Reply, news: &[Announcement]) {
        let outcome = match reply.outcome {
            Outcome::Applied => "applied",
            Outcome::Stale => "stale",
            Outcome::Resend => "resend",
        };
        self.count(outcome);
        if reply.count.recovering {
            self.count("recovering");
        }
        if reply.dead > 0 {
            self.count("dead");
        }
        for announcement in news {
            self.count(if matches!(announcement, Announcement::Rooms(_)) {
                "page"
            } else {
                "site"
            });
        }
        if !self.is_strict || reply.outcome == Outcome::Stale {
            return;
        }
        if reply.count.revision < report.seen.revision {
            self.note(&format!("revision {:?} is below {:?}", reply.count.revision, report.seen));
        }
    }

    fn spread(&mut self, news: &[Announcement]) {
        for announcement in news {
            for (who, listener) in &self.listeners {
                let is_unheard = self.chance.percent(self.unheard);
                if !is_unheard && !self.cut.contains(who) {
                    // An error means that the listener has ended.
                    let _ = listener.send(announcement.clone());
                }
            }
        }
        self.listeners.retain(|(_, listener)| !listener.is_closed());
    }

    /// The store goes away. Subscriptions end, or hear nothing.
    pub(crate) fn go_away(&mut self) {
        self.is_away = true;
        if self.chance.one_in(2) {
            self.listeners.clear();
        }
    }
}
