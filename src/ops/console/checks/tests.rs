//! Tests of the conditions: each of them met and not met.

use super::*;
use crate::ops::console::{
    instances::tests::{draining, entry},
    screen::tests::World,
};

const SECOND: Duration = Duration::from_secs(1);

/// The first condition, which is the one that matters most.
fn first(look: &Look<'_>) -> (&'static str, Level, String) {
    let check = all(look).remove(0);
    (check.key, check.level, check.text)
}

/// Goal: a cluster that is well needs no attention. Method: one.
#[test]
fn all_is_well() {
    let world = World::new();
    let checks = all(&world.look());
    assert!(checks.iter().all(|check| check.level == Level::Fine), "{checks:?}");
    assert!(checks.iter().all(|check| check.runbook.is_none()), "{checks:?}");
    assert_eq!(verdict(&checks), "Nothing needs attention");
}

/// Goal: the console calls an alarm what fires, and when. Method: read the times and bounds of the rules.
#[test]
fn times_and_bounds_are_those_of_the_alerts() {
    let rules = include_str!("../../../../deploy/prometheus/rules/headcount.rules.yml");
    let alert = |name: &str| {
        let (_, rule) = rules.split_once(&format!("- alert: {name}\n")).expect(name);
        rule.split_once("- alert: ").map_or(rule, |(rule, _)| rule)
    };
    for (name, time) in
        [("HeadcountStoreDown", AWAY_FIRES), ("HeadcountEstimateTooLong", ESTIMATE_FIRES)]
    {
        let fires = format!("for: {}m\n", time.as_secs() / 60);
        assert!(alert(name).contains(&fires), "{name}: {}", alert(name));
    }
    for (name, percent) in [
        ("HeadcountNearlyFull", SESSIONS_PERCENT),
        ("HeadcountRoomsNearlyFull", ROOMS_PERCENT),
        ("HeadcountMemoryHigh", MEMORY_PERCENT),
    ] {
        let bound = format!("> 0.{percent}").trim_end_matches('0').to_owned() + "\n";
        assert!(alert(name).contains(&bound), "{name}: {}", alert(name));
    }
}

/// Goal: what is wrong stands first, in words, with its section of the runbook. Method: one fault after the other.
#[test]
fn what_is_wrong_stands_first() {
    let mut away = World::new();
    away.estimate_since = Some(away.now);
    away.now += 4 * SECOND;
    let text = "Redis has not answered this instance for 4 s".to_owned();
    assert_eq!(first(&away.look()), ("store", Level::Notice, text));
    assert_eq!(verdict(&all(&away.look())), "2 things to know");
    away.now += 120 * SECOND;
    let checks = all(&away.look());
    assert_eq!(verdict(&checks), "2 things need attention");
    assert_eq!(checks[0].runbook.as_deref(), Some("runbook/HeadcountStoreDown"));
    assert_eq!(checks[1].runbook.as_deref(), Some("runbook/HeadcountEstimateTooLong"));

    let mut crashed = World::new();
    crashed.sees(vec![entry("web-1", 1, 2 * SECOND), entry("web-2", 2, SECOND / 2)]);
    crashed.now += SECOND;
    crashed.sees(vec![entry("web-1", 1, 2 * SECOND)]);
    let text = "web-2 ended without a farewell, or was cut off from Redis, 0 s ago".to_owned();
    assert_eq!(first(&crashed.look()), ("instances", Level::Alarm, text));

    let mut leaving = World::new();
    leaving.sees(vec![entry("web-1", 1, SECOND), draining(entry("web-2", 2, SECOND))]);
    let text = "Shutting down: web-2, with 2 connections left".to_owned();
    assert_eq!(first(&leaving.look()), ("draining", Level::Notice, text));

    let mut full = World::new();
    full.now += SECOND;
    full.counts(3);
    let text = "This instance turned away 3 clients in the last 5 minutes: it was full".to_owned();
    assert_eq!(first(&full.look()), ("refusing", Level::Alarm, text));

    let mut roomy = World::new();
    roomy.rooms.rooms = 80;
    assert!(all(&roomy.look()).iter().all(|check| check.level == Level::Fine));
    roomy.rooms.rooms = 81;
    let text = "This instance has 81 of 100 rooms".to_owned();
    assert_eq!(first(&roomy.look()), ("rooms", Level::Alarm, text));
    let runbook = all(&roomy.look()).remove(0).runbook;
    assert_eq!(runbook.as_deref(), Some("runbook/HeadcountRoomsNearlyFull"));
}

/// Goal: versions are compared over all instances. Method: two of them, in order of their age.
#[test]
fn several_versions_are_noticed() {
    let mut newer = entry("web-2", 2, SECOND);
    let about = std::sync::Arc::make_mut(newer.about.as_mut().unwrap());
    about.version = "0.3.0<b>\u{202e}".to_owned();
    let mut world = World::new();
    world.sees(vec![entry("web-1", 1, SECOND), newer]);
    let text = r"Several versions: 0.2.0 on 1, 0.3.0<b>\u{202e} on 1".to_owned();
    assert_eq!(first(&world.look()), ("versions", Level::Notice, text));
}

/// Goal: limits are noticed before they are reached. Method: both sides of each bound.
#[test]
fn limits_are_noticed() {
    for (taken, level) in [(80, Level::Fine), (81, Level::Alarm), (100, Level::Alarm)] {
        let mut world = World::new();
        world.sessions = [taken, 100];
        assert_eq!(sessions(&world.look()).level, level, "{taken}");
    }
    for (used, level) in [(85, Level::Fine), (86, Level::Alarm)] {
        let mut world = World::new();
        world.memory = Some([used << 20, 100 << 20]);
        assert_eq!(memory(&world.look()).level, level, "{used}");
    }
}

/// Goal: a sum that is not the number is an alarm. Method: parts that somebody has edited.
#[test]
fn a_wrong_sum_is_an_alarm() {
    let world = World::new();
    assert_eq!(sum(&world.look()).level, Level::Fine);
    let (_, roster) = world.instances.last().unwrap();
    let mut edited = roster.clone();
    edited.users = 9;
    let mut world = World::new();
    world.instances.see(edited, world.now);
    let text = "The instances add up to 3, the total in Redis is 3, its public key says 9";
    assert_eq!(first(&world.look()), ("sum", Level::Alarm, text.to_owned()));
}

/// Goal: sentences stay short. Method: more names than fit.
#[test]
fn many_names_are_cut() {
    let many = (1..=5).map(|number| format!("web-{number}"));
    assert_eq!(names(many), "web-1, web-2, web-3 and 2 more");
}
