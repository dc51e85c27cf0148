//! Random histories under virtual time: instances that report as real ones do, and what may happen to them, to
//! their messages and to the server. The cases show that each rule is there; this shows that the rules suffice.

use proptest::{prelude::*, test_runner::TestRunner};

use super::{
    REAL_TIME, SOURCE, VIRTUAL_TIME, replace_once,
    stage::{
        Answer, CONNECTIONS, Instance, LEASE, LEASES, META, NO_ARGUMENTS, Outcome, PUBLIC, Stage,
        ensure, same,
    },
};
use crate::redis_server::RedisServer;

const HEARTBEAT: u64 = 500;
const PLAYERS: usize = 4;

/// The bound of the design: the store is right again within a lease and two heartbeats.
const RIGHT_AGAIN_WITHIN: u64 = LEASE + 2 * HEARTBEAT;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Time passes, with heartbeats.
    Pass {
        ms: u64,
    },
    /// Users come or go, and it is reported at once; the reply may be lost.
    Change {
        who: usize,
        users: u64,
        reply_lost: bool,
    },
    /// A report is sent that does not arrive yet.
    Delay {
        who: usize,
    },
    /// All delayed reports arrive, twice.
    Arrive,
    /// The server is away for all, and all report within a heartbeat of its return.
    Away {
        ms: u64,
    },
    /// The server's time is set.
    Jump {
        ms: i64,
    },
    /// An instance dies, and a new one takes its place.
    Crash {
        who: usize,
    },
    /// An instance says farewell, and a new one takes its place.
    Replace {
        who: usize,
    },
    /// The server's data is remembered, for a later `RollBack`.
    Save,
    RollBack,
    Flush,
    Delete {
        key: &'static str,
    },
    Edit {
        users: u64,
    },
}

/// What takes nothing from anybody: the count must follow exactly, all the time.
fn harmless() -> BoxedStrategy<Event> {
    let who = 0..PLAYERS;
    prop_oneof![
        4 => (1_u64..900).prop_map(|ms| Event::Pass { ms }),
        4 => (who.clone(), 0_u64..50, any::<bool>())
            .prop_map(|(who, users, reply_lost)| Event::Change { who, users, reply_lost }),
        1 => who.prop_map(|who| Event::Delay { who }),
        1 => Just(Event::Arrive),
        1 => (100_u64..300_000).prop_map(|ms| Event::Away { ms }),
        1 => (100_u64..3_000).prop_map(|ms| Event::Away { ms }),
        1 => (-3_600_000_i64..3_600_000).prop_map(|ms| Event::Jump { ms }),
    ]
    .boxed()
}

/// What loses something: afterwards the count must come right in time.
fn harmful() -> BoxedStrategy<Event> {
    let who = 0..PLAYERS;
    prop_oneof![
        8 => harmless(),
        1 => who.clone().prop_map(|who| Event::Crash { who }),
        1 => who.prop_map(|who| Event::Replace { who }),
        1 => Just(Event::Save),
        1 => Just(Event::RollBack),
        1 => Just(Event::Flush),
        1 => proptest::sample::select(&[PUBLIC, CONNECTIONS, LEASES, META][..])
            .prop_map(|key| Event::Delete { key }),
        1 => (0_u64..99).prop_map(|users| Event::Edit { users }),
    ]
    .boxed()
}

/// An instance and its timer.
struct Player {
    instance: Instance,
    /// What the store was last told, and the sequence it was told with.
    reported: u64,
    applied: u64,
    next_report: u64,
}

/// A report on its way.
struct Delayed {
    who: usize,
    sequence: u64,
    users: u64,
    report: Vec<String>,
}

struct World<'a, 'b> {
    stage: &'a mut Stage<'b>,
    players: Vec<Player>,
    delayed: Vec<Delayed>,
    saved: Option<Vec<Option<Vec<u8>>>>,
    /// The time that passes for the instances; the server's may be set.
    time: u64,
    born: usize,
    /// Whether the count must be exact after every report.
    exact: bool,
}

impl<'a, 'b> World<'a, 'b> {
    fn begin(stage: &'a mut Stage<'b>, exact: bool) -> Result<Self, String> {
        stage.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        stage.sums = exact;
        let mut world = Self {
            stage,
            players: Vec::new(),
            delayed: Vec::new(),
            saved: None,
            time: 0,
            born: 0,
            exact,
        };
        for who in 0..PLAYERS {
            let player = world.give_birth();
            world.players.push(player);
            world.report(who, false)?;
        }
        Ok(world)
    }

    fn give_birth(&mut self) -> Player {
        self.born += 1;
        Player {
            instance: Instance::new(format!("life-{}", self.born), 1),
            reported: 0,
            applied: 0,
            next_report: self.time,
        }
    }

    fn happen(&mut self, event: Event) -> Outcome {
        match event {
            Event::Pass { ms } => self.pass(ms),
            Event::Change { who, users, reply_lost } => {
                self.players[who].instance.users = users;
                self.report(who, reply_lost)
            }
            Event::Delay { who } => {
                let player = &mut self.players[who];
                let report = player.instance.prepare("report");
                let Instance { sequence, users, .. } = player.instance;
                self.delayed.push(Delayed { who, sequence, users, report });
                Ok(())
            }
            Event::Arrive => self.arrive(),
            Event::Away { ms } => {
                self.go_on(ms);
                for player in &mut self.players {
                    let phase = player.next_report % HEARTBEAT;
                    player.next_report = player.next_report.max(self.time + phase);
                }
                self.pass(HEARTBEAT)
            }
            Event::Jump { ms } => {
                self.stage.now = self.stage.now.saturating_add_signed(ms);
                Ok(())
            }
            Event::Crash { who } => self.renew(who),
            Event::Replace { who } => {
                self.players[who].instance.say("farewell", self.stage)?;
                self.renew(who)
            }
            Event::Save => {
                self.saved = Some(self.stage.snapshot()?);
                Ok(())
            }
            Event::RollBack => match self.saved.take() {
                Some(saved) => self.stage.restore(&saved),
                None => Ok(()),
            },
            Event::Flush => self.stage.redis("FLUSHALL", NO_ARGUMENTS),
            Event::Delete { key } => self.stage.redis("DEL", key),
            Event::Edit { users } => self.stage.redis("SET", (PUBLIC, users)),
        }
    }

    fn renew(&mut self, who: usize) -> Outcome {
        // What it sent before its death goes down with it.
        self.delayed.retain(|delayed| delayed.who != who);
        self.players[who] = self.give_birth();
        self.report(who, false)
    }

    fn go_on(&mut self, ms: u64) {
        self.time += ms;
        self.stage.wait(ms);
    }

    /// Lets time pass, and everybody report when it is time.
    fn pass(&mut self, ms: u64) -> Outcome {
        let end = self.time + ms;
        loop {
            let due = (0..PLAYERS).min_by_key(|&who| self.players[who].next_report);
            let who = due.expect("there are players");
            let at = self.players[who].next_report.max(self.time);
            if at > end {
                self.go_on(end - self.time);
                return Ok(());
            }
            self.go_on(at - self.time);
            self.report(who, false)?;
        }
    }

    fn report(&mut self, who: usize, reply_lost: bool) -> Outcome {
        let player = &mut self.players[who];
        player.next_report = self.time + HEARTBEAT;
        player.reported = player.instance.users;
        player.applied = player.instance.sequence + 1;
        let (seen_revision, seen_count) =
            (player.instance.seen_revision, player.instance.seen_count);
        let answer = if reply_lost {
            player.instance.say_deaf("report", self.stage)?
        } else {
            player.instance.report(self.stage)?
        };
        ensure("a report that is newer is applied", answer.applied)?;
        ensure("no revision below one that was seen", answer.revision >= seen_revision)?;
        if answer.revision == seen_revision {
            same("one revision stands for one count", answer.count, seen_count)?;
        }
        self.must_be_exact(&answer)
    }

    /// Delivers what was delayed, and delivers it again.
    fn arrive(&mut self) -> Outcome {
        for delayed in std::mem::take(&mut self.delayed) {
            for _ in 0..2 {
                let answer = self.stage.send(&delayed.report)?;
                let player = &mut self.players[delayed.who];
                if self.exact {
                    same("applied", answer.applied, delayed.sequence > player.applied)?;
                }
                if answer.applied {
                    (player.applied, player.reported) = (delayed.sequence, delayed.users);
                }
                self.must_be_exact(&answer)?;
            }
        }
        Ok(())
    }

    fn must_be_exact(&self, answer: &Answer) -> Outcome {
        if !self.exact || self.players.len() < PLAYERS {
            return Ok(());
        }
        same("reaped", answer.reaped, 0)?;
        same("count", answer.count, self.players.iter().map(|player| player.reported).sum())
    }

    /// Lets the bound pass without faults; then all must be right.
    fn end(mut self) -> Outcome {
        self.delayed.clear();
        self.pass(RIGHT_AGAIN_WITHIN)?;
        let truth = self.players.iter().map(|player| player.instance.users).sum();
        for player in &mut self.players {
            let answer = player.instance.report(self.stage)?;
            same("count", answer.count, truth)?;
            same("instances", answer.instances, PLAYERS as u64)?;
            same("revision announced", answer.announced, answer.revision)?;
            ensure("the mark is gone", !answer.recovering)?;
        }
        same("public", self.stage.public()?, truth.cast_signed())
    }
}

fn play(stage: &mut Stage<'_>, events: &[Event], exact: bool) -> Outcome {
    let mut world = World::begin(stage, exact)?;
    for &event in events {
        world.happen(event)?;
    }
    world.end()
}

fn all_come_right(event: impl Strategy<Value = Event>, exact: bool) {
    let server = RedisServer::start(&[]);
    let script = replace_once(SOURCE, REAL_TIME, VIRTUAL_TIME);
    let stage = std::cell::RefCell::new(Stage::new(&server, &script));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) };
    let histories = proptest::collection::vec(event, 1..60);
    let outcome = TestRunner::new(config).run(&histories, |events| {
        play(&mut stage.borrow_mut(), &events, exact).map_err(TestCaseError::fail)
    });
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

/// Goal: while nobody dies and nothing is lost, the count is exact after every report. Method: random outages,
/// lost replies, late and repeated reports, and settings of the server's clock.
#[test]
fn harmless_histories_stay_exact() {
    all_come_right(harmless(), true);
}

/// Goal: whatever was lost, the count is right again a lease and two heartbeats later, and no reporter ever
/// meets a revision that goes backwards. Method: the same with deaths, flushes, rollbacks and edits.
#[test]
fn harmful_histories_come_right() {
    all_come_right(harmful(), false);
}
