//! Two versions on one Redis during a rolling upgrade: the script of the version without rooms and this one count together, and
//! rooms are right again in time.

use std::collections::BTreeMap;

use headcount_testkit::redis_server::RedisServer;
use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};

use super::{
    SOURCE,
    instance::{Holder, Instance, counts, nothing_is_left},
    stage::{LEASE, NO_ARGUMENTS, Outcome, Stage, ensure, same},
    virtual_time,
};

/// The script of version 0.2.0.
const BEFORE_ROOMS: &str = include_str!("fixtures/before_rooms.lua");
/// How many arguments that script gets.
const ARGUMENTS_BEFORE_ROOMS: usize = 10;
const HEARTBEAT: u64 = 500;
/// Within this time everything is right again, whatever happened.
const RIGHT_WITHIN: u64 = 2 * LEASE + 2 * HEARTBEAT;
/// Number of random histories.
const HISTORIES: u32 = 150;

/// An instance of either version. One with rooms has as many connections in `/p` as in the site, and a user in `/q`.
#[derive(Clone, Debug)]
enum Member {
    Old(Instance),
    New(Box<Holder>),
}

impl Member {
    fn users(&self) -> u64 {
        match self {
            Self::Old(instance) => instance.users,
            Self::New(holder) => holder.users,
        }
    }

    fn set_users(&mut self, users: u64) {
        match self {
            Self::Old(instance) => instance.users = users,
            Self::New(holder) => {
                holder.users = users;
                holder.set("/p", users);
            }
        }
    }
}

/// A Redis that both versions use.
struct Both<'a> {
    stage: Stage<'a>,
    old_hash: String,
    members: Vec<Member>,
    born: u32,
}

impl<'a> Both<'a> {
    fn new(server: &'a RedisServer) -> Result<Self, String> {
        let mut stage = Stage::new(server, &virtual_time(SOURCE));
        stage.sums = false;
        let old_hash = stage.redis("SCRIPT", ("LOAD", virtual_time(BEFORE_ROOMS)))?;
        Ok(Self { stage, old_hash, members: Vec::new(), born: 0 })
    }

    fn add_old(&mut self, users: u64) -> Outcome {
        self.born += 1;
        self.members.push(Member::Old(Instance::new(format!("old-{}", self.born), users)));
        self.report(self.members.len() - 1)
    }

    fn add_new(&mut self, users: u64) -> Outcome {
        self.born += 1;
        let mut holder = Holder::new(&format!("m{}", self.born), users);
        holder.set("/p", users).join("/q", "u");
        self.members.push(Member::New(Box::new(holder)));
        self.report(self.members.len() - 1)
    }

    fn report(&mut self, place: usize) -> Outcome {
        match &mut self.members[place] {
            Member::Old(instance) => {
                let mut report = instance.prepare("report");
                report.truncate(ARGUMENTS_BEFORE_ROOMS);
                let (revision, count) = self.stage.evaluate_other(&self.old_hash, &report)?;
                if revision > instance.seen_revision {
                    (instance.seen_revision, instance.seen_count) = (revision, count);
                }
                Ok(())
            }
            Member::New(holder) => holder.report(&mut self.stage).map(drop),
        }
    }

    /// Everybody says everything, every heartbeat, for this time.
    fn run(&mut self, ms: u64) -> Outcome {
        for _ in 0..ms / HEARTBEAT {
            self.stage.wait(HEARTBEAT);
            for place in 0..self.members.len() {
                if let Member::New(holder) = &mut self.members[place] {
                    holder.say_all();
                }
                self.report(place)?;
            }
        }
        Ok(())
    }

    /// Compares the store with the members. Rooms are right as long as an instance that knows of them reports.
    fn check(&mut self) -> Outcome {
        let users: u64 = self.members.iter().map(Member::users).sum();
        same("the site", self.stage.public()?, users.cast_signed())?;
        let in_rooms: Vec<u64> = self
            .members
            .iter()
            .filter(|member| matches!(member, Member::New(_)))
            .map(Member::users)
            .collect();
        if in_rooms.is_empty() {
            return Ok(());
        }
        counts(&mut self.stage, "/p", in_rooms.iter().sum::<u64>().cast_signed())?;
        counts(&mut self.stage, "/q", 1)
    }

    fn happen(&mut self, event: &Event) -> Outcome {
        let most = self.members.len();
        match *event {
            Event::OldJoins { users } => self.add_old(users)?,
            Event::NewJoins { users } => self.add_new(users)?,
            Event::Dies { which } if most > 1 => drop(self.members.remove(which % most)),
            Event::Dies { .. } => {}
            Event::Changes { which, users } => {
                self.members[which % most].set_users(users);
                self.report(which % most)?;
            }
            Event::Pauses { which, ms } => {
                let paused = self.members.remove(which % most);
                self.run(ms)?;
                self.members.push(paused);
            }
            Event::Passes { ms } => self.stage.wait(ms),
            Event::IsLost => self.stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?,
        }
        Ok(())
    }

    /// Plays one history. At its end all rooms are left, and nothing of them must remain.
    fn play(&mut self, events: &[Event]) -> Outcome {
        self.stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        self.members.clear();
        self.add_old(3)?;
        self.add_new(2)?;
        for event in events {
            self.happen(event)?;
        }
        self.run(RIGHT_WITHIN)?;
        self.check()?;
        self.members.retain(|member| matches!(member, Member::Old(_)));
        let mut last = Holder::new("last", 0);
        for _ in 0..RIGHT_WITHIN / HEARTBEAT {
            self.run(HEARTBEAT)?;
            last.report(&mut self.stage)?;
        }
        nothing_is_left(&mut self.stage)
    }
}

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    OldJoins { users: u64 },
    NewJoins { users: u64 },
    Dies { which: usize },
    Changes { which: usize, users: u64 },
    Pauses { which: usize, ms: u64 },
    Passes { ms: u64 },
    IsLost,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (0_u64..9).prop_map(|users| Event::OldJoins { users }),
        1 => (0_u64..9).prop_map(|users| Event::NewJoins { users }),
        1 => (0_usize..9).prop_map(|which| Event::Dies { which }),
        4 => (0_usize..9, 0_u64..9).prop_map(|(which, users)| Event::Changes { which, users }),
        1 => (0_usize..9, 1_u64..9).prop_map(|(which, n)| Event::Pauses { which, ms: n * HEARTBEAT }),
        3 => (0_u64..6).prop_map(|n| Event::Passes { ms: n * HEARTBEAT / 2 }),
        1 => Just(Event::IsLost),
    ]
}

/// Goal: instances of both versions count together on one Redis, whatever happens, and rooms are right in time. Method: random
/// histories with reports of both scripts, deaths, pauses and losses.
#[test]
fn versions_count_together() {
    let server = RedisServer::start(&[]);
    let both = std::cell::RefCell::new(Both::new(&server).unwrap());
    let config = ProptestConfig {
        cases: HISTORIES,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::default()
    };
    let histories = proptest::collection::vec(any_event(), 1..15);
    let outcome = TestRunner::new(config)
        .run(&histories, |events| both.borrow_mut().play(&events).map_err(TestCaseError::fail));
    outcome.unwrap_or_else(|why| panic!("{why}"));
}

/// Goal: a new instance that an old one has counted out loses its rooms, too, and returns with them. Method: the new one pauses
/// for longer than its lease while only the old one reports; then another new one comes; then it continues.
#[test]
fn rooms_of_the_counted_out_go() {
    let server = RedisServer::start(&[]);
    let mut both = Both::new(&server).unwrap();
    both.add_old(3).unwrap();
    both.add_new(2).unwrap();
    let paused = both.members.pop().unwrap();
    both.run(LEASE + 2 * HEARTBEAT).unwrap();
    same("the site", both.stage.public(), Ok(3)).unwrap();
    counts(&mut both.stage, "/p", 2).unwrap();
    both.add_new(0).unwrap();
    both.run(2 * HEARTBEAT).unwrap();
    counts(&mut both.stage, "/p", 0).unwrap();
    both.members.push(paused);
    both.run(2 * HEARTBEAT).unwrap();
    both.check().unwrap();
}

/// Goal: no revision of an old instance looks like a loss, and what it holds back is announced by a new one. Method: changes of
/// both in turn, and the replies to the new one.
#[test]
fn old_revisions_are_no_loss() {
    let server = RedisServer::start(&[]);
    let mut both = Both::new(&server).unwrap();
    both.add_old(3).unwrap();
    let mut new = Holder::new("new", 2);
    for users in 0..20 {
        both.members[0].set_users(users);
        both.report(0).unwrap();
        new.users = 2 * users;
        let answer = new.report(&mut both.stage).unwrap();
        ensure("no loss", !answer.recovering && answer.applied).unwrap();
        both.members[0].set_users(users + 1);
        both.report(0).unwrap();
        both.stage.wait(20);
        let answer = new.report(&mut both.stage).unwrap();
        same("announced", answer.announced, answer.revision).unwrap();
        ensure("no loss", !answer.recovering && answer.applied).unwrap();
    }
    let meta: BTreeMap<String, String> =
        both.stage.redis("HGETALL", "{currentUsers}:meta").unwrap();
    assert!(meta.contains_key("stamp") && meta.contains_key("census"), "{meta:?}");
}
