//! The script against a reference model: random histories of instances that report as real ones do, of what may
//! happen to them, to their messages and to the server, under virtual time. The cases show that each rule is
//! there; this shows that the rules suffice.
//!
//! The model knows the truth and the promises, not the script. A history that breaks a promise is made smaller
//! until nothing more can be left out, and printed.

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
    REAL_TIME, SOURCE, VIRTUAL_TIME,
    mutants::MUTANTS,
    replace_once,
    stage::{CHANNEL, Outcome, Stage},
};
use crate::setup::SOON;
use ground::{Ground, Seen};
use headcount_testkit::redis_server::RedisServer;
use transition::{Histories, Transition};
use truth::Truth;
use world::World;

/// How many histories are played, unless the environment says otherwise, for a long run.
const EPISODES: u32 = 400;
const EPISODES_VARIABLE: &str = "HEADCOUNT_EPISODES";
/// More transitions make a history slower rather than more telling.
const TRANSITIONS_MAX: usize = 60;
/// Attempts to make a failing history smaller; each costs as much as a history.
const SHRINKS_MAX: u32 = 3000;

/// Broken scripts that random histories find out soon. What is not here is either seen only by what they never do
/// (a server out of memory, hundreds of deaths at once, lifetimes of keys), or so rare that only its case is sure
/// to find it: the cases find them all.
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
    "reused revision unnoticed",
    "edits stay",
    "held back for ever",
    "mark not published",
];

/// How histories are drawn.
#[derive(Clone, Copy)]
struct Draw {
    episodes: u32,
    seed: RngSeed,
    /// Attempts to make a failing history smaller.
    shrinks: u32,
}

impl Draw {
    /// Other histories each time, or those of the seed in proptest's own variable.
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

/// Plays random histories until one breaks a promise; says what they came to, or why and where the smallest
/// fails.
fn play_histories(server: &RedisServer, source: &str, draw: Draw) -> Result<Seen, String> {
    let script = replace_once(source, REAL_TIME, VIRTUAL_TIME);
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
        // By this, what was not played before a failure is left out first.
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

/// Plays one history to a good end.
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

/// Goal: whatever happens, the script keeps what is promised: sums, the fence, revisions, no dip while nobody dies,
/// and all right in time. Method: random histories beside a model of the truth; and a look at whether they came to
/// everything that there is to check.
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

/// Goal: random histories would notice a broken rule. Method: break one rule each time, and draw histories, always
/// the same, until one fails.
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
