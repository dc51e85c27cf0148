//! Tests of the decision which counts become peaks. A world of instances, clients and a store is moved by hand: each step says
//! what happens, and the watches see what real instances would.

use std::collections::BTreeMap;

use super::*;
use crate::core::peaks::Attendee;

#[path = "tests/dead.rs"]
mod dead;
#[path = "tests/model.rs"]
mod model;

const LEASE: Duration = Duration::from_secs(2);
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A time in the middle of a day.
const NOON: u64 = 20_000 * DAY_MS + DAY_MS / 2;

/// One watch, a store that it calls, and a time that only the test moves.
struct Stage {
    watch: PeakWatch,
    start: Instant,
    now: Instant,
    /// The store's time minus the time of the test.
    noon: u64,
    stored: Peaks,
    instances: BTreeMap<&'static str, (u64, bool)>,
    has_dead: bool,
    revision: u64,
}

impl Stage {
    fn new() -> Self {
        let start = Instant::now();
        let instances = BTreeMap::from([("a", (10, true)), ("b", (10, true))]);
        let stored = Peaks::default();
        let watch = PeakWatch::new(LEASE, HEARTBEAT);
        let (now, noon, has_dead, revision) = (start, NOON, false, 1);
        let mut stage = Self { watch, start, now, noon, stored, instances, has_dead, revision };
        stage.call();
        stage.pass(60_000);
        stage
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// The view shows this count exactly, at a new revision.
    fn see(&mut self, users: u64) {
        self.revision += 1;
        self.see_again(users);
    }

    fn see_again(&mut self, users: u64) {
        let (revision, instances) = (Revision(self.revision), 2);
        self.watch.see(Sight { users, revision, instances, at: self.now });
    }

    /// Every instance reports this many times.
    fn report(&mut self, times: u64) {
        self.instances.values_mut().for_each(|(sequence, _)| *sequence += times);
    }

    fn time(&self) -> u64 {
        let passed = whole_millis(self.now.duration_since(self.start));
        self.noon + passed
    }

    /// Calls the store, which answers at once.
    fn call(&mut self) {
        let known = self.watch.call(self.now);
        self.stored.merge(&known);
        let (now, peaks) = (self.time(), self.stored.clone());
        let attendees = self.instances.iter().map(|(&name, &(sequence, is_counted))| {
            (name.to_owned(), Attendee { sequence: Sequence(sequence), is_counted })
        });
        let (revision, has_dead) = (Revision(self.revision), self.has_dead);
        let attendance = Attendance { revision, has_dead, instances: attendees.collect() };
        self.watch.answered(PeaksAnswer { now, peaks, attendance }, self.now);
    }

    /// Calls the store when it is due.
    fn call_when_due(&mut self) {
        self.now = self.watch.due(self.now).max(self.now);
        self.call();
    }

    /// The store is asked once more, a lagging view shows this count of before, and then all goes its way.
    fn see_late(&mut self, users: u64) {
        self.revision += 1;
        self.call_when_due();
        self.revision -= 1;
        self.see_again(users);
        self.revision += 1;
        for _ in 0..3 {
            self.report(3);
            self.call_when_due();
        }
    }

    fn today(&self) -> Option<u64> {
        self.watch.shown(self.now).today.map(|peak| peak.users)
    }

    fn ever(&self) -> Option<u64> {
        self.watch.shown(self.now).ever.map(|peak| peak.users)
    }
}

/// Goal: a count that lasts for a moment becomes a peak, with the time of that moment, and is told to the store. Method: 5 users
/// for 10 ms, then 1.
#[test]
fn a_moment_is_enough() {
    let mut stage = Stage::new();
    stage.see(1);
    stage.call_when_due();
    stage.pass(3000);
    let at = stage.time();
    stage.see(5);
    stage.pass(10);
    stage.see(1);
    stage.call_when_due();
    assert_eq!((stage.today(), stage.ever()), (None, None), "nothing is proven yet");
    stage.report(3);
    stage.call_when_due();
    assert_eq!(stage.watch.shown(stage.now).today, Some(Peak { users: 5, at }));
    stage.call_when_due();
    assert_eq!(stage.stored.ever(), Some(Peak { users: 5, at }));
    assert!(!stage.watch.has_business());
}

/// Goal: users of a crashed instance, who are counted twice for a lease, raise no peak. Method: of two instances with three users
/// each, one dies. Its users come back to the other one by one, while the store still counts it.
#[test]
fn a_crash_raises_nothing() {
    let mut stage = Stage::new();
    stage.see(6);
    stage.call_when_due();
    stage.report(3);
    stage.call_when_due();
    assert_eq!(stage.today(), Some(6));
    for users in [7, 8, 9] {
        stage.pass(500);
        stage.see(users);
        stage.instances.get_mut("a").unwrap().0 += 1;
        stage.call_when_due();
    }
    stage.instances.remove("b");
    // The view of this instance has not been told yet that the dead are gone.
    stage.see_again(9);
    stage.revision += 1;
    stage.call_when_due();
    stage.revision -= 1;
    stage.see_again(9);
    stage.revision += 1;
    stage.see_again(6);
    for _ in 0..4 {
        stage.report(3);
        stage.call_when_due();
    }
    assert_eq!((stage.today(), stage.ever()), (Some(6), Some(6)));
    stage.see(7);
    stage.call_when_due();
    stage.report(3);
    stage.call_when_due();
    assert_eq!(stage.today(), Some(7), "afterwards it counts as ever");
}

/// Goal: a count from before a death that nobody has noticed yet raises no peak, if somebody is missing when the store is asked.
/// Method: after a quiet time two instances have nine users; before the store is called, one is counted out.
#[test]
fn a_death_before_the_call_is_noticed() {
    let mut stage = Stage::new();
    stage.see(9);
    stage.instances.remove("b");
    stage.revision += 1;
    stage.call_when_due();
    stage.report(3);
    stage.call_when_due();
    assert_eq!((stage.today(), stage.watch.has_business()), (None, false));
}

/// Goal: a count is not judged by who was alive before it. Method: it is seen while a call is under way.
#[test]
fn a_count_waits_for_the_next_call() {
    let mut stage = Stage::new();
    let called_at = stage.now;
    stage.watch.call(called_at);
    stage.pass(5);
    stage.see(9);
    let b = Attendee { sequence: Sequence(10), is_counted: true };
    let attendance = Attendance {
        revision: Revision(1),
        has_dead: false,
        instances: [("b".to_owned(), b)].into_iter().collect(),
    };
    let answer = PeaksAnswer { now: stage.time(), peaks: Peaks::default(), attendance };
    stage.watch.answered(answer, called_at);
    assert_eq!((stage.watch.waiting.len(), stage.watch.fresh.len()), (0, 1));
    stage.call_when_due();
    stage.report(3);
    stage.call_when_due();
    assert_eq!(stage.today(), Some(9));
}

/// Goal: a death is noticed although the store was not asked for longer than a lease. Method: a count waits; then, after a
/// pause, one of its instances is gone, and the view shows once more a count of before.
#[test]
fn a_death_during_a_pause_is_noticed() {
    let mut stage = Stage::new();
    stage.see(6);
    stage.call_when_due();
    stage.pass(3000);
    stage.instances.remove("b");
    stage.see_late(9);
    assert_eq!((stage.today(), stage.watch.has_business()), (None, false));
}

/// Goal: reports of a dead instance that were under way prove nothing. Method: the two that there may be are applied after its
/// death.
#[test]
fn reports_under_way_prove_nothing() {
    let mut stage = Stage::new();
    stage.see(6);
    stage.call_when_due();
    stage.report(2);
    stage.call_when_due();
    stage.report(0);
    stage.instances.get_mut("a").unwrap().0 += 5;
    stage.call_when_due();
    assert_eq!(stage.today(), None);
    stage.instances.remove("b");
    stage.call_when_due();
    assert_eq!((stage.today(), stage.watch.has_business()), (None, false));
}

/// Goal: an instance that leaves in order does not cost a peak. Method: its farewell comes right after the count.
#[test]
fn a_farewell_is_a_proof() {
    let mut stage = Stage::new();
    stage.see(6);
    stage.call_when_due();
    stage.instances.insert("b", (11, false));
    stage.see(3);
    stage.call_when_due();
    stage.instances.remove("b");
    stage.instances.get_mut("a").unwrap().0 += 3;
    stage.call_when_due();
    assert_eq!(stage.today(), Some(6));
}

/// Goal: a count that grows without end is decided all the same. Method: one more user in every heartbeat.
#[test]
fn growth_is_no_starvation() {
    let mut stage = Stage::new();
    for users in 1..50 {
        stage.see(users);
        stage.report(1);
        stage.call_when_due();
    }
    let today = stage.today().unwrap();
    assert!((42..50).contains(&today), "{today} of 49");
    assert!(stage.watch.waiting.len() <= WAITING_PER_DAY_MAX);
}

/// Goal: the store is called at once for the first count above the peaks, then once a heartbeat while something is undecided, and
/// otherwise every 30 s. Method: ask at each of these moments when a call is due.
#[test]
fn calls_are_few() {
    let mut stage = Stage::new();
    stage.call();
    let called_at = stage.now;
    assert_eq!(stage.watch.due(stage.now), called_at + READ_EVERY);
    stage.pass(1);
    stage.see(4);
    assert_eq!(stage.watch.due(stage.now), stage.now);
    stage.call();
    let called_at = stage.now;
    stage.see(5);
    assert_eq!(stage.watch.due(stage.now), called_at + HEARTBEAT);
    stage.report(9);
    stage.call_when_due();
    assert_eq!(stage.today(), Some(4));
    stage.see(3);
    stage.report(3);
    stage.call_when_due();
    stage.call_when_due();
    let called_at = stage.now;
    assert_eq!((stage.today(), stage.watch.has_business()), (Some(5), false));
    stage.see(5);
    assert_eq!(stage.watch.due(stage.now), called_at + READ_EVERY, "what is known is no news");
    stage.watch.count_instances(200);
    stage.see(6);
    stage.call();
    assert_eq!(
        stage.watch.due(stage.now),
        stage.now + 4 * HEARTBEAT,
        "many instances call less often"
    );
}

/// Goal: a store that fails is called less and less often, up to every 30 s, and as usual once it answers. Method: failures.
#[test]
fn failures_are_paced() {
    let mut stage = Stage::new();
    stage.see(4);
    let mut waits = Vec::new();
    for _ in 0..9 {
        stage.watch.call(stage.now);
        stage.watch.failed();
        let due = stage.watch.due(stage.now);
        waits.push(due.duration_since(stage.now).as_secs());
        stage.now = due;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
    stage.call();
    assert_eq!(stage.watch.due(stage.now), stage.now + HEARTBEAT);
}

/// Goal: each day has its own peak, and the first count of a day is one, however low. Method: 5 users before midnight, 2 after
/// it. A client that is slow sees both before the store is called.
#[test]
fn days_are_apart() {
    let mut stage = Stage::new();
    stage.call();
    let midnight = stage.watch.midnight(stage.now).unwrap();
    stage.now = midnight.checked_sub(Duration::from_millis(5)).unwrap();
    stage.see(5);
    stage.now = midnight + Duration::from_millis(5);
    stage.see(2);
    stage.call_when_due();
    stage.report(3);
    stage.call_when_due();
    assert_eq!((stage.today(), stage.ever()), (Some(2), Some(5)));
    let yesterday = stage.watch.known.days().next().unwrap();
    assert_eq!((yesterday.users, yesterday.at % DAY_MS), (5, DAY_MS - 5));
    assert_eq!(stage.watch.midnight(stage.now).unwrap().duration_since(midnight).as_secs(), 86_400);
}

/// Goal: no clock resets a peak. Method: the store's clock jumps by years, in both directions, while users come and go, and
/// returns.
#[test]
fn a_jump_of_the_clock_loses_nothing() {
    let mut stage = Stage::new();
    let decided = |stage: &mut Stage, users| {
        stage.see(users);
        for _ in 0..3 {
            stage.call_when_due();
            stage.report(3);
        }
    };
    decided(&mut stage, 7);
    for wrong in [NOON + 900 * DAY_MS, NOON - 900 * DAY_MS, DAY_MS, NOON + 3 * DAY_MS] {
        stage.noon = wrong;
        stage.call_when_due();
        assert_eq!((stage.today(), stage.ever()), (None, Some(7)));
        decided(&mut stage, 4);
        assert_eq!((stage.today(), stage.ever()), (Some(4), Some(7)));
        stage.noon = NOON;
        stage.call_when_due();
        assert_eq!((stage.today(), stage.ever()), (Some(7), Some(7)));
    }
}

/// Goal: a store that lost its data is told again soon, and what was not proven is not told. Method: empty the store while a
/// higher count waits.
#[test]
fn an_emptied_store_gets_it_back() {
    let mut stage = Stage::new();
    stage.see(7);
    stage.call_when_due();
    stage.report(3);
    stage.call_when_due();
    stage.call_when_due();
    stage.see(9);
    stage.call_when_due();
    stage.stored = Peaks::default();
    stage.watch.store_forgot();
    let soon = stage.now + HEARTBEAT;
    assert!(stage.watch.due(stage.now) <= soon);
    stage.report(3);
    stage.call_when_due();
    assert_eq!(stage.stored.ever().map(|peak| peak.users), Some(7));
    assert_eq!(stage.today(), Some(7));
    assert!(!stage.watch.has_business());
}

/// Goal: nobody is no peak. Method: a count of 0.
#[test]
fn nobody_is_no_peak() {
    let mut stage = Stage::new();
    stage.see(0);
    assert!(!stage.watch.has_business());
    assert_eq!((stage.today(), stage.ever()), (None, None));
}
