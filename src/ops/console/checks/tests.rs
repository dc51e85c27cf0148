//! Tests of the conditions: each of them met and not met.

use super::*;
use crate::ops::console::{
    counters::{Counter, Counters},
    instances::tests::{draining, entry},
    screen::tests::World,
};

#[path = "tests/alerts.rs"]
mod alerts;

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
    let text = "Shutting down: web-2, with 2 sessions left".to_owned();
    assert_eq!(first(&leaving.look()), ("draining", Level::Notice, text));

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

/// Goal: errors of Redis are told from silence, and hide no alarm. Method: a Redis that has not applied a report for some time, with
/// errors until now, and with errors before it fell silent; and one that works again.
#[test]
fn errors_are_told_from_silence() {
    let away = |seconds: u32, failing_for: u32| {
        let mut world = World::new();
        for second in 1..=seconds {
            world.now += SECOND;
            let failed = second.min(failing_for).into();
            world.counts(Counters::default().with(Counter::FailedReports, failed));
        }
        let (_, level, text) = first(&world.look());
        (level, text.contains("errors"))
    };
    assert_eq!(away(50, 50), (Level::Notice, true));
    assert_eq!(away(70, 70), (Level::Alarm, true), "it is away for the other alert");
    assert_eq!(away(70, 50), (Level::Alarm, false));
    let mut well = World::new();
    well.counts(Counters::default().with(Counter::FailedReports, 1));
    assert_eq!((first(&well.look()).0, first(&well.look()).1), ("store", Level::Notice));
}

/// Goal: while Redis is away nothing is said of it as if it were now. Method: the sentences of a cluster that is well, and those of
/// the same without Redis.
#[test]
fn nothing_old_is_said_to_be_so() {
    let mut world = World::new();
    let said = |world: &World| {
        let checks = all(&world.look());
        checks.into_iter().map(|check| check.text).collect::<Vec<_>>()
    };
    let of_redis = [
        "The instances add up to the number",
        "Redis keeps what it is told",
        "Announcements arrive",
    ];
    assert!(of_redis.iter().all(|text| said(&world).iter().any(|line| line == text)));
    world.now += 4 * SECOND;
    assert!(said(&world).iter().all(|line| !of_redis.contains(&line.as_str())));
}

/// Goal: a crash is an alarm as long as its alert fires, and a notice after that. Method: both sides of that time.
#[test]
fn a_crash_is_an_alarm_for_a_while() {
    let mut world = World::new();
    world.sees(vec![entry("web-1", 1, 2 * SECOND), entry("web-2", 2, SECOND / 2)]);
    world.now += SECOND;
    world.sees(vec![entry("web-1", 1, 2 * SECOND)]);
    for (age, level) in [(299, Level::Alarm), (300, Level::Notice)] {
        let now = world.now + age * SECOND;
        assert_eq!(missing(&Look { now, ..world.look() }).level, level, "{age}");
    }
}

/// Goal: an instance that says no version is not taken for one of the others' version. Method: one of 0.1.0 says nothing.
#[test]
fn a_silent_version_is_another_one() {
    let mut silent = entry("web-2", 2, SECOND);
    silent.about = None;
    let mut world = World::new();
    world.sees(vec![entry("web-1", 1, SECOND), silent]);
    let text = "Several versions: 0.2.0 on 1, unknown on 1".to_owned();
    assert_eq!(first(&world.look()), ("versions", Level::Notice, text));
}

/// Goal: rooms of instances that ended are told at once, and are an alarm once the alert fires. Method: both sides of that time.
#[test]
fn rooms_that_are_behind() {
    let mut world = World::new();
    assert_eq!(behind(&world.look()).level, Level::Fine);
    world.behind = Some((world.now, 1));
    let text = "For 0 s rooms have had users of an instance that ended: their counts are too high";
    assert_eq!(first(&world.look()), ("behind", Level::Notice, text.to_owned()));
    for (seconds, level) in [(1199, Level::Notice), (1200, Level::Alarm)] {
        let now = world.now + seconds * SECOND;
        assert_eq!(behind(&Look { now, ..world.look() }).level, level, "{seconds}");
    }
    let check = Check::of("behind", behind(&Look { behind: Some((world.now, 2)), ..world.look() }));
    assert!(check.text.contains("users of 2 instances that ended"), "{}", check.text);
    assert_eq!(check.runbook.as_deref(), Some("runbook/HeadcountRoomsBehind"));
}

/// Goal: counts of rooms that are estimates are told like the number, also where that is exact. Method: rooms alone, for less and for
/// longer than the alert waits; and both.
#[test]
fn counts_of_rooms_are_estimates() {
    let mut world = World::new();
    world.rooms_estimate_since = Some(world.now);
    for (seconds, level) in [(119, Level::Notice), (120, Level::Alarm)] {
        let now = world.now + seconds * SECOND;
        assert_eq!(exact(&Look { now, ..world.look() }).level, level, "{seconds}");
    }
    let said = |world: &World| exact(&world.look()).text;
    assert_eq!(said(&world), "The counts of rooms have been estimates for 0 s");
    world.estimate_since = Some(world.now);
    assert_eq!(said(&world), "The number has been an estimate for 0 s");
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
