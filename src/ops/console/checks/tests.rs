//! Tests of the conditions: each of them met and not met.

use super::*;
use crate::ops::console::{
    counters::SLOW_JOIN_SECONDS,
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

/// Alerts that the console judges, and what of their rules it relies on.
fn judged() -> Vec<(&'static str, Vec<String>)> {
    let over = |percent: u64| {
        format!("> 0.{}", if percent.is_multiple_of(10) { percent / 10 } else { percent })
    };
    let seconds = |time: Duration| format!("for: {}s", time.as_secs());
    let minutes = |time: Duration| format!("{}m", time.as_secs() / 60);
    let last = |time| format!("[{}]", minutes(time));
    vec![
        ("HeadcountUsersFell", vec!["0.5 * max".to_owned(), format!(">= {}", counted::MANY_USERS)]),
        ("HeadcountStoreDown", vec![seconds(AWAY_FIRES)]),
        (
            "HeadcountStoreRefuses",
            vec![last(counted::FAILING_WITHIN), seconds(counted::FAILING_FIRES)],
        ),
        ("HeadcountEstimateTooLong", vec![format!("for: {}", minutes(ESTIMATE_FIRES))]),
        ("HeadcountCountNotExact", Vec::new()),
        (
            "HeadcountDrift",
            vec![
                format!("> {} + {}", counted::DRIFT_USERS, counted::DRIFT_PER_JOIN),
                last(counted::DRIFT_SPAN),
            ],
        ),
        ("HeadcountLeaseReaped", vec![last(counted::RECENT)]),
        (
            "HeadcountDeaf",
            vec![
                last(counted::RECENT),
                format!("> {}", counted::FEW),
                format!(">= {}", counted::FEW),
            ],
        ),
        ("HeadcountResending", vec![last(counted::LONG), format!("> {}", counted::FEW)]),
        ("HeadcountRepaired", vec![last(counted::LONG), "> 0".to_owned()]),
        (
            "HeadcountJoinSlow",
            vec![
                format!("> {SLOW_JOIN_SECONDS}"),
                format!("le=\"{SLOW_JOIN_SECONDS}\""),
                format!(">= {}", counted::SLOW_JOINS),
                last(counted::RECENT),
            ],
        ),
        ("HeadcountNearlyFull", vec![over(SESSIONS_PERCENT)]),
        (
            "HeadcountRefusing",
            vec![
                last(counted::RECENT),
                format!("> {}", counted::FEW_REFUSALS),
                "< 0.01 *".to_owned(),
            ],
        ),
        ("HeadcountRoomsNearlyFull", vec![over(ROOMS_PERCENT)]),
        (
            "HeadcountRoomsRefused",
            vec![
                last(counted::RECENT),
                format!("> {}", counted::FEW_REFUSALS),
                ">= 0.99".to_owned(),
            ],
        ),
        (
            "HeadcountForeignPages",
            vec![
                last(counted::RECENT),
                format!("> {}", counted::FEW_FOREIGN / counted::RECENT.as_secs()),
            ],
        ),
        ("HeadcountIssuerAway", vec![format!("> {}", counted::KEYS_OLD.as_secs())]),
        ("HeadcountMemoryHigh", vec![over(MEMORY_PERCENT)]),
        ("HeadcountTwoVersions", Vec::new()),
    ]
}

/// Alerts of which one instance knows nothing: of other instances, of the balancer, of the way to the site.
const NOT_JUDGED: [&str; 12] = [
    "HeadcountAllDown",
    "HeadcountInstanceDown",
    "HeadcountRestarting",
    "HeadcountNoJoins",
    "HeadcountBalancerDown",
    "HeadcountBalancerNoServers",
    "HeadcountBalancerNearlyFull",
    "HeadcountBalancerFull",
    "HeadcountServerErrors",
    "HeadcountProbeFails",
    "HeadcountCertificateEnds",
    "HeadcountInstancesDisagree",
];

/// Goal: what the console calls an alarm is what Prometheus fires for. Method: the rules' file: each alert is judged here or is known
/// not to be; the bounds of those that are judged stand in their rules; and the runbook has a section for each.
#[test]
fn the_alerts_agree() {
    const RULES: &str = include_str!("../../../../deploy/prometheus/rules/headcount.rules.yml");
    let judged = judged();
    let mut rules = 0;
    for rule in RULES.split("- alert: ").skip(1) {
        let alert = rule.lines().next().unwrap();
        let Some((_, bounds)) = judged.iter().find(|(judged, _)| *judged == alert) else {
            assert!(NOT_JUDGED.contains(&alert), "the console does not judge {alert}");
            continue;
        };
        for bound in bounds {
            assert!(rule.contains(bound), "{alert} has no {bound:?}: {rule}");
        }
        assert!(crate::ops::runbook::section(alert).is_some(), "{alert}");
        rules += 1;
    }
    assert_eq!(rules, judged.len(), "an alert that is judged has no rule");
}
