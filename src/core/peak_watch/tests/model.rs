//! Random histories of a cluster, against what is true. Instances start, crash and leave, clients move between them, reports of
//! the dead arrive late, views lag behind, and users of the dead are taken out of the count one by one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A step of the model. Everything in it happens at one moment.
const STEP: Duration = Duration::from_millis(50);
/// Steps in a heartbeat, and in a lease.
const HEARTBEAT_STEPS: u64 = 10;
const LEASE_STEPS: u64 = 40;

/// What happens in a step. Numbers choose an instance.
#[derive(Clone, Debug)]
enum Deed {
    Nothing,
    Join(usize),
    Leave(usize),
    /// The users are without a server from now on, and so many reports that were under way are applied later.
    Crash(usize, u64),
    Farewell(usize),
    Start,
    /// A user of an instance that has ended comes back.
    Return(usize),
    /// The view of an instance shows what was true a step ago.
    Lag(usize),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        8 => Just(Deed::Nothing),
        6 => any::<usize>().prop_map(Deed::Join),
        3 => any::<usize>().prop_map(Deed::Leave),
        1 => (any::<usize>(), 0_u64..3).prop_map(|(who, late)| Deed::Crash(who, late)),
        1 => any::<usize>().prop_map(Deed::Farewell),
        1 => Just(Deed::Start),
        6 => any::<usize>().prop_map(Deed::Return),
        3 => any::<usize>().prop_map(Deed::Lag),
    ];
    proptest::collection::vec(deed, 1..400)
}

struct Instance {
    name: String,
    users: u64,
    sequence: u64,
    watch: PeakWatch,
    /// When it was started.
    since: u64,
    lags: bool,
    /// What it has not seen yet.
    missed: Option<Total>,
}

/// What the store holds of an instance.
struct Part {
    users: u64,
    sequence: u64,
    ends: u64,
    is_counted: bool,
}

/// A late report: the step in which it is applied, whose it is, and its number.
type Late = (u64, String, u64);

/// What the store says to everybody.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    users: u64,
    revision: u64,
    instances: u32,
    has_dead: bool,
}

struct World {
    start: Instant,
    step: u64,
    alive: Vec<Instance>,
    started: u64,
    homeless: u64,
    late: Vec<Late>,
    parts: BTreeMap<String, Part>,
    /// Users of the dead who are not taken out of the count yet.
    dead: u64,
    total: Total,
    before: Total,
    stored: Peaks,
    /// The highest count that was true, and the highest that the store said.
    truth: u64,
    counted: u64,
    /// When the store said that first.
    counted_at: u64,
    crashes: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            start: Instant::now(),
            step: 0,
            alive: Vec::new(),
            started: 0,
            homeless: 0,
            late: Vec::new(),
            parts: BTreeMap::new(),
            dead: 0,
            total: Total::default(),
            before: Total::default(),
            stored: Peaks::default(),
            truth: 0,
            counted: 0,
            counted_at: 0,
            crashes: 0,
        };
        world.begin_instance();
        world.begin_instance();
        world
    }

    fn begin_instance(&mut self) {
        self.started += 1;
        let name = self.started.to_string();
        let watch = PeakWatch::new(LEASE, HEARTBEAT);
        let (since, lags, missed) = (self.step, false, None);
        self.alive.push(Instance { name, users: 0, sequence: 0, watch, since, lags, missed });
    }

    fn one(&mut self, who: usize) -> &mut Instance {
        let index = who % self.alive.len();
        &mut self.alive[index]
    }

    fn live(&mut self, deed: &Deed) {
        self.step += 1;
        let can_end = self.alive.len() > 1;
        match *deed {
            Deed::Join(who) => self.one(who).users += 1,
            Deed::Leave(who) => self.one(who).users = self.one(who).users.saturating_sub(1),
            Deed::Lag(who) => self.one(who).lags = true,
            Deed::Return(who) if self.homeless > 0 => {
                self.homeless -= 1;
                self.one(who).users += 1;
            }
            Deed::Crash(who, late) if can_end => {
                let crashed = self.alive.remove(who % self.alive.len());
                self.crashes += 1;
                self.homeless += crashed.users;
                let late = (1..=late)
                    .map(|n| (self.step + 5 * n, crashed.name.clone(), crashed.sequence + n));
                self.late.extend(late);
            }
            Deed::Farewell(who) if can_end => {
                let leaving = self.alive.remove(who % self.alive.len());
                self.homeless += leaving.users;
                self.report(&leaving.name, 0, leaving.sequence + 1, false);
            }
            Deed::Start if self.alive.len() < 5 => self.begin_instance(),
            _ => {}
        }
        self.truth = self.truth.max(self.alive.iter().map(|one| one.users).sum());
        self.report_late();
        self.report_all();
        self.reap();
        self.watch();
    }

    fn report(&mut self, name: &str, users: u64, sequence: u64, is_counted: bool) {
        let ends = self.step + LEASE_STEPS;
        self.parts.insert(name.to_owned(), Part { users, sequence, ends, is_counted });
    }

    fn report_late(&mut self) {
        let (due, later): (Vec<Late>, Vec<Late>) =
            self.late.drain(..).partition(|(at, ..)| *at <= self.step);
        self.late = later;
        for (_, name, sequence) in due {
            let users = self.parts.get(&name).map_or(0, |part| part.users);
            self.report(&name, users, sequence, true);
        }
    }

    fn report_all(&mut self) {
        for index in 0..self.alive.len() {
            let one = &mut self.alive[index];
            let part = self.parts.get(&one.name);
            let is_news = part.is_none_or(|part| part.users != one.users);
            if is_news || (self.step + index as u64).is_multiple_of(HEARTBEAT_STEPS) {
                one.sequence += 1;
                let (name, users, sequence) = (one.name.clone(), one.users, one.sequence);
                self.report(&name, users, sequence, true);
            }
        }
    }

    fn reap(&mut self) {
        self.dead = self.dead.saturating_sub(1);
        let over = self.parts.values().filter(|part| part.ends <= self.step);
        self.dead += over.map(|part| part.users).sum::<u64>();
        self.parts.retain(|_, part| part.ends > self.step);
        let counted = self.parts.values().filter(|part| part.is_counted);
        let instances = u32::try_from(counted.count()).unwrap();
        let (dead, has_dead) = (self.dead, self.dead > 0);
        let users = dead + self.parts.values().map(|part| part.users).sum::<u64>();
        let revision = self.total.revision + u64::from(users != self.total.users);
        let total = Total { users, revision, instances, has_dead };
        self.before = mem::replace(&mut self.total, total);
        if users > self.counted {
            (self.counted, self.counted_at) = (users, self.step);
        }
    }

    /// Lets every instance look at its view, and call the store if that is due.
    fn watch(&mut self) {
        let now = self.start + STEP * u32::try_from(self.step).unwrap();
        for one in &mut self.alive {
            let missed = one.missed.take();
            let current = if mem::take(&mut one.lags) {
                one.missed = Some(self.total);
                self.before
            } else {
                self.total
            };
            for Total { users, revision, instances, has_dead } in
                missed.into_iter().chain([current])
            {
                // The view takes no note of such a count, if the answer to a report said so.
                if !has_dead {
                    let revision = Revision(revision);
                    one.watch.see(Sight { users, revision, instances, at: now });
                }
            }
            if one.watch.due(now) > now {
                continue;
            }
            self.stored.merge(&one.watch.call(now));
            let attendees = self.parts.iter().map(|(name, part)| {
                let Part { sequence, is_counted, .. } = *part;
                (name.clone(), Attendee { sequence: Sequence(sequence), is_counted })
            });
            let (revision, has_dead) = (Revision(self.total.revision), self.total.has_dead);
            let attendance = Attendance { revision, has_dead, instances: attendees.collect() };
            let peaks = self.stored.clone();
            let time = NOON + 50 * self.step;
            one.watch.answered(PeaksAnswer { now: time, peaks, attendance }, now);
        }
    }

    fn highest_known(&self) -> u64 {
        let known = self.alive.iter().filter_map(|one| one.watch.known.ever());
        known.chain(self.stored.ever()).map(|peak| peak.users).max().unwrap_or(0)
    }

    fn is_true(&self) -> Result<(), TestCaseError> {
        let (known, truth) = (self.highest_known(), self.truth);
        prop_assert!(known <= truth, "{known} in step {}, but never more than {truth}", self.step);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Goal: no peak is higher than the truth ever was, whatever crashes; without crashes the highest count is the peak,
    /// however short it lasted, if an instance that saw it is still there; and a count that lasts becomes one in any case. Method: random histories, then quiet.
    #[test]
    fn peaks_are_true(deeds in deeds()) {
        let mut world = World::new();
        for deed in &deeds {
            world.live(deed);
            world.is_true()?;
        }
        for _ in 0..4 * LEASE_STEPS {
            world.live(&Deed::Nothing);
            world.is_true()?;
        }
        prop_assert!(world.highest_known() >= world.total.users);
        let was_seen = world.alive.iter().any(|one| one.since < world.counted_at);
        if world.crashes == 0 && was_seen {
            prop_assert_eq!(world.highest_known(), world.counted);
        }
    }
}
