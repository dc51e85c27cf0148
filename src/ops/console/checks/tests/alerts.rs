//! What the console judges against the rules of Prometheus.

use super::*;
use crate::ops::{console::counters::SLOW_JOIN_SECONDS, runbook};

/// An alert that the console judges, and what of its rule it relies on.
type Judged = (&'static str, Vec<String>);

fn minutes(time: Duration) -> String {
    format!("{}m", time.as_secs() / 60)
}

/// The window of a rule.
fn last(time: Duration) -> String {
    format!("[{}]", minutes(time))
}

fn over(percent: u64) -> Vec<String> {
    let share = if percent.is_multiple_of(10) { percent / 10 } else { percent };
    vec![format!("> 0.{share}")]
}

fn by_what_is() -> Vec<Judged> {
    let fell = |record| {
        let within = last(counted::FELL_FOR);
        format!(
            "max_over_time(headcount:{record}{within}) < 0.5 * max_over_time(headcount:{record}"
        )
    };
    let many =
        |record| format!("max_over_time(headcount:{record}[15m]) >= {}", counted::MANY_USERS);
    let mut users = ["users", "sessions", "sessions_outside"].map(fell).to_vec();
    users.extend(["users", "sessions_outside"].map(many));
    let behind =
        vec![last(BEHIND_WITHIN), format!("for: {}", minutes(BEHIND_FIRES)), "> 0".to_owned()];
    let estimate = vec![
        format!("for: {}", minutes(ESTIMATE_FIRES)),
        "headcount:instance_exact == 0 or headcount:instance_rooms_exact == 0".to_owned(),
    ];
    let drift = format!("> {} + {} * (", counted::DRIFT_USERS, counted::DRIFT_PER_CHANGE);
    let fires = format!("for: {}", minutes(counted::ROOMS_DRIFT_FIRES));
    vec![
        ("HeadcountUsersFell", users),
        ("HeadcountStoreDown", vec![format!("for: {}", minutes(AWAY_FIRES))]),
        ("HeadcountEstimateTooLong", estimate),
        ("HeadcountCountNotExact", Vec::new()),
        ("HeadcountDrift", vec![drift.clone(), last(counted::DRIFT_SPAN)]),
        ("HeadcountRoomsDrift", vec![drift, last(counted::DRIFT_SPAN), fires]),
        ("HeadcountNearlyFull", over(SESSIONS_PERCENT)),
        ("HeadcountRoomsNearlyFull", over(ROOMS_PERCENT)),
        ("HeadcountRoomsBehind", behind),
        ("HeadcountIssuerAway", vec![format!("> {}", counted::KEYS_OLD.as_secs())]),
        ("HeadcountMemoryHigh", over(MEMORY_PERCENT)),
        ("HeadcountTwoVersions", Vec::new()),
    ]
}

fn by_what_was_counted() -> Vec<Judged> {
    let (recent, long) = (last(counted::RECENT), last(counted::LONG));
    let [few, refusals] = [counted::FEW, counted::FEW_REFUSALS].map(|few| format!("> {few}"));
    let foreign = format!("> {}", counted::FEW_FOREIGN / counted::RECENT.as_secs());
    let lasting = format!("for: {}", minutes(counted::RECENT));
    let slow = [
        format!("> {SLOW_JOIN_SECONDS}"),
        format!("headcount_join_to_emit_seconds_bucket{{le=\"{SLOW_JOIN_SECONDS}\"}}"),
        format!("headcount_room_join_to_emit_seconds_bucket{{le=\"{SLOW_JOIN_SECONDS}\"}}"),
        format!(">= {}", counted::SLOW_JOINS),
        recent.clone(),
        lasting.clone(),
    ];
    let failing = format!("for: {}", minutes(counted::FAILING_FIRES));
    let deaf = vec![recent.clone(), few.clone(), format!(">= {}", counted::FEW)];
    let share = vec![
        last(counted::TURNED_AWAY_WITHIN),
        format!("> {}", counted::FEW_TURNED_AWAY),
        "< 0.01 *".to_owned(),
        format!("headcount_sessions_started_total{}", last(counted::TURNED_AWAY_WITHIN)),
    ];
    vec![
        ("HeadcountStoreRefuses", vec![last(counted::FAILING_WITHIN), failing]),
        ("HeadcountLeaseReaped", vec![recent.clone()]),
        ("HeadcountDeaf", deaf),
        ("HeadcountResending", vec![long.clone(), few]),
        ("HeadcountRepaired", vec![long, "> 0".to_owned()]),
        ("HeadcountJoinSlow", slow.to_vec()),
        ("HeadcountRefusing", share),
        ("HeadcountRoomsRefused", vec![recent.clone(), refusals, ">= 0.99".to_owned()]),
        ("HeadcountForeignPages", vec![recent, foreign, lasting]),
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

/// The rule, and the record that it reads first.
fn with_record(rules: &str, rule: &str) -> String {
    let expression =
        rule.split_once("expr: >-").map_or("", |(_, expression)| expression.trim_start());
    let name = expression.split_whitespace().next().unwrap_or_default();
    let record = rules.split("- record: ").find(|record| record.lines().next() == Some(name));
    format!("{rule}{}", record.unwrap_or_default())
}

/// Goal: what the console calls an alarm is what Prometheus fires for. Method: the rules' file: each alert is judged here or is known
/// not to be; the bounds of those that are judged stand in their rules; and the runbook has a section for each.
#[test]
fn the_alerts_agree() {
    const RULES: &str = include_str!("../../../../../deploy/prometheus/rules/headcount.rules.yml");
    let judged = [by_what_is(), by_what_was_counted()].concat();
    let mut rules = 0;
    for rule in RULES.split("- alert: ").skip(1) {
        let rule = &with_record(RULES, rule);
        let alert = rule.lines().next().unwrap();
        let Some((_, bounds)) = judged.iter().find(|(judged, _)| *judged == alert) else {
            assert!(NOT_JUDGED.contains(&alert), "the console does not judge {alert}");
            continue;
        };
        for bound in bounds {
            assert!(rule.contains(bound), "{alert} has no {bound:?}: {rule}");
        }
        assert!(runbook::section(alert).is_some(), "{alert}");
        rules += 1;
    }
    assert_eq!(rules, judged.len(), "an alert that is judged has no rule");
}
