//! Tests the script against a reference model with random histories under virtual time. Instances report as real
//! ones do, and random faults happen to them, to their messages and to the server. The cases show that every rule
//! is there; this test shows that the rules suffice.
//!
//! The model knows the truth and the promises, not the script. A history that breaks a promise is shortened until
//! nothing more can be removed, and printed.

mod deed;
mod ground;
mod life;
mod member;
mod tampering;
mod transition;
mod truth;
mod world;

use std::{
    cell::RefCell,
    sync::atomic::Ordering,
    time::{SystemTime, UNIX_EPOCH},
};

use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};
use proptest_state_machine::ReferenceStateMachine;

use super::{
    SOURCE,
    mutants::MUTANTS,
    replace_once,
    stage::{CHANNEL, Outcome, Stage},
    virtual_time,
};
use crate::setup::SOON;
use ground::{Ground, Seen};
use headcount_testkit::redis_server::RedisServer;
use transition::{Histories, Transition};
use truth::Truth;
use world::World;

/// Number of histories, unless the environment sets another one for a long run.
const EPISODES: u32 = 400;
const EPISODES_VARIABLE: &str = "HEADCOUNT_EPISODES";
/// The longest history. More transitions would make it slower and find no more.
const TRANSITIONS_MAX: usize = 60;
/// The most attempts to shorten a failing history. Each takes as long as a history.
const SHRINKS_MAX: u32 = 3000;

/// Broken scripts that random histories detect soon. The others need something that histories never do (a server
/// out of memory, hundreds of deaths at once, lifetimes of keys) or that is very rare. The cases detect all of
/// them.
const SOON_FOUND: &[&str] = &[
    "no fence",
    "repeats pass the fence",
    "stale renews",
    "silence counts wholly",
    "time runs back",
    "no tombstone",
    "no zero entry",
    "no reaping",
    "no audit",
    "audit never due",
    "wrong types stay",
    "nothing is forgotten",
    "no mark",
    "short mark",
    "mark never ends",
    "end is no revision",
    "revision from the store alone",
    "edits stay",
    "held back for ever",
    "mark not published",
];

/// How histories are generated.
#[derive(Clone, Copy)]
struct Draw {
    episodes: u32,
    seed: RngSeed,
    /// The most attempts to shorten a failing history.
    shrinks: u32,
}

impl Draw {
    /// Different histories each time, or those of the seed in proptest's own variable.
    fn anew() -> Self {
        let seed = match ProptestConfig::default().rng_seed {
            RngSeed::Random => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                RngSeed::Fixed(u64::from(now.subsec_nanos()))
            }
            fixed @ RngSeed::Fixed(_) => fixed,
        };
        let episodes = std::env::var(EPISODES_VARIABLE).map_or(EPISODES, |text| {
            let number = text.parse();
            number
                .unwrap_or_else(|_| panic!("{EPISODES_VARIABLE} is {text:?}, but must be a number"))
        });
        Self { episodes, seed, shrinks: SHRINKS_MAX }
    }
}

/// Plays random histories until one breaks a promise. Returns what they covered. The error says why and where the
/// shortest one fails.
fn play_histories(server: &RedisServer, source: &str, draw: Draw) -> Result<Seen, String> {
    let script = virtual_time(source);
    let mut subscriber = server.connection();
    let mut channel = subscriber.as_pubsub();
    channel.subscribe(CHANNEL).map_err(|error| error.to_string())?;
    channel.set_read_timeout(Some(SOON)).map_err(|error| error.to_string())?;
    let stage = Stage::new(server, &script);
    let ground = RefCell::new(Ground { stage, channel, seen: Seen::default() });
    let config = ProptestConfig {
        cases: draw.episodes,
        rng_seed: draw.seed,
        max_shrink_iters: draw.shrinks,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let histories = Histories::sequential_strategy(1..TRANSITIONS_MAX);
    let outcome = TestRunner::new(config).run(&histories, |(start, transitions, counter)| {
        // With this counter, proptest first removes the transitions that were not reached before the failure.
        let count = || {
            counter.as_ref().map(|counter| counter.fetch_add(1, Ordering::Relaxed));
        };
        play(&mut ground.borrow_mut(), &start, &transitions, count).map_err(TestCaseError::fail)
    });
    match outcome {
        Ok(()) => Ok(ground.borrow().seen),
        Err(error) => Err(format!("with PROPTEST_RNG_SEED={}: {error}", draw.seed)),
    }
}

/// Plays one history to its end.
fn play(
    ground: &mut Ground<'_>,
    start: &Truth,
    transitions: &[Transition],
    count: impl Fn(),
) -> Outcome {
    let mut world = World::new(ground)?;
    let mut audience = |truth: &Truth, deed| world.carry_out(truth, deed);
    let mut truth = Truth::start(start.seed.clone(), &mut audience)?;
    for transition in transitions {
        count();
        truth.happen(transition, &mut audience)?;
    }
    truth.finish(&mut audience)
}

/// Goal: the script keeps all promises in every history: sums, the fence, revisions, no drop of the count while no
/// instance dies, and a right count in time. Method: compare random histories with a model of the truth, and check
/// that they covered every situation.
#[test]
fn histories_keep_every_promise() {
    let server = RedisServer::start(&[]);
    let draw = Draw::anew();
    let outcome = play_histories(&server, SOURCE, draw);
    let seen = outcome.unwrap_or_else(|why| panic!("{why}"));
    eprintln!("{seen:#?}");
    let Seen { reports, stale, reaped, recovering, repaired, renamed, announcements, .. } = seen;
    let rarest = [reports, stale, reaped, recovering, repaired, renamed, announcements]
        .into_iter()
        .chain([seen.right, seen.bounded])
        .min();
    let is_enough = draw.episodes >= EPISODES;
    assert!(!is_enough || rarest > Some(0), "these histories never came to something: {seen:#?}");
}

/// Goal: random histories detect a broken rule. Method: break one rule at a time, and play histories, always the
/// same ones, until one fails.
#[test]
fn histories_find_broken_rules() {
    let server = RedisServer::start(&[]);
    let draw = Draw { episodes: EPISODES, seed: RngSeed::Fixed(1), shrinks: 1 };
    let missed = MUTANTS.iter().filter(|mutant| SOON_FOUND.contains(&mutant.name)).filter(|it| {
        let broken = replace_once(SOURCE, it.from, it.to);
        play_histories(&server, &broken, draw).is_ok()
    });
    let missed: Vec<_> = missed.map(|mutant| mutant.name).collect();
    assert!(missed.is_empty(), "{missed:?} are not found");
}
