//! Random histories of whole clusters under virtual time: the product's own reporters, subscribers, tallies and tables of rooms,
//! against the script on a real Redis and against the embedded store. People with and without an identity are in the site and in
//! rooms. Faults of all kinds happen to stores, messages and instances.
//!
//! After every report the store's counts must be the sums of its parts. After the documented time every instance must show the
//! truth, and every list of users must have exactly those who are there. While nobody leaves for longer than the grace, no number may
//! dip, nobody may be missing from a list, and no first value may leave its receiver out. A quiet cluster must report at its heartbeat
//! only. When all have left, nothing about rooms may be left.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may panic, print, spawn tasks, and read the environment"
)]

mod audience;
mod chance;
mod database;
mod episode;
mod faulty;
mod instance;
mod listing;
mod parts;
mod stores;
mod tampering;
mod wire;
mod world;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use headcount_testkit::redis_server::RedisServer;

use chance::Chance;
use episode::{Category, play};
use faulty::Fault;
use world::{Backend, Size};

/// Episodes of each category, unless the environment sets another number for a long run.
const EPISODES: u64 = 4;
/// After how many seeds a long run says how far it is.
const PROGRESS_EVERY: u64 = 10;
/// How many episodes may pass before a broken rule is noticed.
const NOTICED_WITHIN: u64 = 25;
const EPISODES_VARIABLE: &str = "HEADCOUNT_ROOM_EPISODES";
/// The seed of the first episode; a random one if it is not set.
const SEED_VARIABLE: &str = "HEADCOUNT_ROOM_SEED";
/// Only this category, if it is set.
const CATEGORY_VARIABLE: &str = "HEADCOUNT_ROOM_CATEGORY";

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, but must be a number")))
}

fn first_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    number(SEED_VARIABLE).unwrap_or_else(|| u64::from(now.subsec_nanos()))
}

fn categories(backend: Backend) -> impl Iterator<Item = Category> {
    let only = std::env::var(CATEGORY_VARIABLE).ok();
    let wanted = move |it: &Category| only.as_ref().is_none_or(|only| format!("{it:?}") == *only);
    Category::ALL.into_iter().filter(move |it| it.suits(backend)).filter(wanted)
}

/// What the episodes of a category came to so far.
#[derive(Debug, Default)]
struct Played {
    took: Duration,
    seen: BTreeMap<&'static str, u64>,
}

/// Plays episodes of every category, and returns what was wrong. It says so at once, too, so that a long run can be watched.
fn play_all(server: Option<&RedisServer>, backend: Backend, episodes: u64) -> Vec<String> {
    let first = first_seed();
    let categories: Vec<Category> = categories(backend).collect();
    let mut played: Vec<Played> = categories.iter().map(|_| Played::default()).collect();
    let mut wrong = Vec::new();
    for seed in first..first + episodes {
        for (&category, played) in categories.iter().zip(&mut played) {
            let size = if seed % 2 == 0 { Size::Full } else { Size::Small };
            let started = Instant::now();
            let outcome = play(server, backend, category, size, seed, Fault::Nothing);
            played.took += started.elapsed();
            for (what, count) in outcome.seen {
                *played.seen.entry(what).or_insert(0) += count;
            }
            for why in outcome.wrong {
                let again = format!("{CATEGORY_VARIABLE}={category:?} {SEED_VARIABLE}={seed}");
                let why = format!("{again} on {backend:?}: {why}");
                println!("{why}");
                wrong.push(why);
            }
        }
        let done = seed + 1 - first;
        if done.is_multiple_of(PROGRESS_EVERY) || done == episodes {
            let (done, wrong) = (done * categories.len() as u64, wrong.len());
            println!("{backend:?}: {done} episodes from seed {first} on, {wrong} violations");
        }
    }
    for (category, Played { took, seen }) in categories.iter().zip(played) {
        println!("{category:?} on {backend:?}: {took:.1?}, {seen:?}");
    }
    wrong
}

/// Goal: rooms keep all promises on Redis, whatever happens. Method: random histories of all categories.
#[test]
fn rooms_keep_every_promise_on_redis() {
    let server = RedisServer::start(&["--hash-max-listpack-entries", "2"]);
    let episodes = number(EPISODES_VARIABLE).unwrap_or(EPISODES);
    let wrong = play_all(Some(&server), Backend::Redis, episodes);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Goal: rooms keep all promises on the embedded store. Method: random histories of the categories that suit it.
#[test]
fn rooms_keep_every_promise_in_one_process() {
    let episodes = number(EPISODES_VARIABLE).unwrap_or(EPISODES);
    let wrong = play_all(None, Backend::Embedded, episodes);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Goal: histories notice every broken rule of the instances. Method: break one rule at a time, and play episodes of the category
/// in which it matters until one fails.
#[test]
fn broken_instances_are_noticed() {
    let server = RedisServer::start(&["--hash-max-listpack-entries", "2"]);
    let notice = |fault: Fault| {
        let backend = fault.backend();
        (1..=NOTICED_WITHIN).find_map(|seed| {
            let size = if Chance::new(seed).one_in(2) { Size::Full } else { Size::Small };
            let outcome = play(Some(&server), backend, fault.category(), size, seed, fault);
            Some((seed, outcome.wrong.into_iter().next()?))
        })
    };
    let mut missed = Vec::new();
    for &fault in Fault::ALL {
        let Some((seed, why)) = notice(fault) else {
            missed.push(fault);
            println!("{fault:?} is not noticed");
            continue;
        };
        let short: String = why.chars().take(160).collect();
        println!("{fault:?} is noticed by episode {seed}: {short}");
    }
    assert!(missed.is_empty(), "{missed:?} are not noticed");
}
