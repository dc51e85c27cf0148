//! The figures of the section `rooms-redis` with their bounds, as one table. Pure.

use crate::{chart::number, results::Results, script, statistics::median};

/// A figure: its name in the results, what it is, and what it must not exceed.
type Line = (&'static str, &'static str, Option<f64>);

/// The bound of 8 µs for each of 256 rooms was set on a machine where a call of the script before rooms took 30 to 39 µs. In such calls it
/// holds on any machine. For users of a large room it is half of that; 128 users in a room each have the same as 256 rooms.
const FULL_CALLS: f64 = 256.0 * 8.0 / 39.0;

const LINES: &[Line] = &[
    (
        "site_1_same_ratio",
        "report of the site, 1 instance, no news: × the script before rooms",
        Some(1.2),
    ),
    ("site_1_changing_ratio", "the same with news", Some(1.2)),
    ("site_20_same_ratio", "20 instances, no news", Some(1.2)),
    ("site_20_changing_ratio", "20 instances, with news", Some(1.2)),
    ("site_1_same_subscribed_ratio", "1 instance, no news, 4 subscribers", Some(1.2)),
    ("site_1_changing_subscribed_ratio", "1 instance, with news, 4 subscribers", Some(1.2)),
    ("site_20_same_subscribed_ratio", "20 instances, no news, 4 subscribers", Some(1.2)),
    ("site_20_changing_subscribed_ratio", "20 instances, with news, 4 subscribers", Some(1.2)),
    ("site_1_changing_us", "report of the site, 1 instance, with news: µs", None),
    ("site_1_changing_before_us", "the same with the script before rooms: µs", None),
    (
        "entry_room_us",
        "an entry of a full report, a room that changed: µs in the script",
        Some(8.0),
    ),
    ("entry_room_cpu_us", "the same, with reading the arguments: µs of CPU", Some(8.0)),
    ("full_room_units", "the whole report in calls of the script before rooms", Some(FULL_CALLS)),
    ("entry_user_us", "an entry, a user of a large room: µs in the script", Some(4.0)),
    ("entry_user_cpu_us", "the same: µs of CPU", Some(4.0)),
    (
        "full_user_units",
        "the whole report in calls of the script before rooms",
        Some(FULL_CALLS / 2.0),
    ),
    ("entry_user_and_room_us", "a user in a room each: µs in the script", Some(16.0)),
    ("entry_user_and_room_cpu_us", "the same: µs of CPU", Some(16.0)),
    (
        "full_user_and_room_units",
        "the whole report in calls of the script before rooms",
        Some(FULL_CALLS),
    ),
    ("full_call_p50_ms", "a full report with an audit and a page, median: ms of CPU", None),
    ("full_call_p99_ms", "the same, p99: ms of CPU", Some(5.0)),
    ("full_call_max_ms", "the same, longest: ms of CPU", None),
    ("room_small_bytes", "a room, small store: bytes", Some(250.0)),
    ("room_large_bytes", "a room, large store: bytes", Some(250.0)),
    ("instance_small_bytes", "a further instance in a room, small store: bytes", Some(100.0)),
    ("instance_large_bytes", "a further instance in a room, large store: bytes", Some(100.0)),
    ("user_small_bytes", "a user in a room, small store: bytes", Some(160.0)),
    ("user_large_bytes", "a user in a room, large store: bytes", Some(160.0)),
    ("reaping_rooms_calls", "taking away the rooms of a dead instance: calls", None),
    ("reaping_rooms_cpu_ms", "the same: ms of CPU in all", None),
    ("reaping_rooms_max_ms", "the same, longest call: ms of CPU", Some(5.0)),
    ("reaping_users_calls", "taking away as many users of one room: calls", None),
    ("reaping_users_max_ms", "the same, longest call: ms of CPU", Some(5.0)),
    ("reaping_users_and_rooms_calls", "taking away a user in each of as many rooms: calls", None),
    ("reaping_users_and_rooms_max_ms", "the same, longest call: ms of CPU", Some(5.0)),
    ("crowd_bytes", "very many users in one room (see below): a user, bytes", Some(160.0)),
    ("crowd_entry_us", "there, an entry of a full report: µs in the script", Some(4.0)),
    ("crowd_entry_cpu_us", "the same: µs of CPU", Some(4.0)),
    ("crowd_full_ms", "the whole report: ms of CPU", Some(5.0)),
    ("crowd_join_us", "a report with which one user joins there: µs in the script", None),
    ("crowd_leave_us", "a report with which one user leaves: µs in the script", None),
    ("crowd_minute_ms", "a minute of 20 instances without news: ms of CPU", None),
    ("crowd_gone_calls", "taking away one of the 20 instances there: calls", None),
    ("crowd_gone_ms", "the same: ms of CPU in all", None),
    ("crowd_gone_max_ms", "the same, longest call: ms of CPU", Some(5.0)),
    ("heartbeat_commands", "commands in a heartbeat without news", Some(8.0)),
];

/// The table.
pub fn table(results: &Results) -> String {
    let mut table = "| what | median | bound | |\n|---|---:|---:|---|\n".to_owned();
    for (name, what, bound) in LINES {
        let values =
            results.of(script::NAME).filter_map(|sample| sample.figures.get(*name).copied());
        let Some(value) = median(values) else { continue };
        let shown = bound.map_or_else(|| "–".to_owned(), number);
        let verdict = match bound {
            Some(bound) if value > *bound => "**missed**",
            Some(_) => "met",
            None => "",
        };
        table.push_str(&format!("| {what} | {} | {shown} | {verdict} |\n", precise(value)));
    }
    table
}

/// Bounds are near their figures, so ratios need two decimals.
fn precise(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { number(value) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::Sample;

    /// Goal: a figure above its bound is said to miss it, whatever it is after rounding. Method: two figures beside their bounds.
    #[test]
    fn bounds_are_judged() {
        let figures = [("entry_room_us", 8.02), ("heartbeat_commands", 8.0)];
        let figures = figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let section = script::NAME.to_owned();
        let size = BTreeMap::new();
        let sample = Sample { section, server: "headcount".to_owned(), size, round: 0, figures };
        let table = table(&Results { samples: vec![sample], ..Results::default() });
        assert!(table.contains("µs in the script | 8.02 | 8 | **missed** |"), "{table}");
        assert!(table.contains("without news | 8.00 | 8 | met |"), "{table}");
    }
}
