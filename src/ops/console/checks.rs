//! What needs an operator's attention: conditions of the alerts that one instance can judge by itself. Prometheus judges all
//! of them, over time and over all instances; this is what it is about to say, or says already.

use std::{collections::BTreeMap, time::Duration};

use super::{
    counted,
    finding::{Check, Finding, Level, alarm, fine, notice},
    instances::{self, Departure},
    look::Look,
    words,
};
use crate::core::report::RosterEntry;

/// The alert of a store that is away fires after this long.
const AWAY_FIRES: Duration = Duration::from_mins(1);
/// The alert of an estimate fires after this long.
const ESTIMATE_FIRES: Duration = Duration::from_mins(2);
/// The alert of rooms that are behind looks at so much time, and fires after so much more.
const BEHIND_WITHIN: Duration = Duration::from_mins(15);
const BEHIND_FIRES: Duration = Duration::from_mins(5);
/// Sessions, in percent of the limit, from which on an alert fires.
const SESSIONS_PERCENT: u64 = 80;
/// Rooms, in percent of the limit, from which on an alert fires.
const ROOMS_PERCENT: u64 = 80;
/// Memory, in percent of the limit, from which on an alert fires.
const MEMORY_PERCENT: u64 = 85;
/// The most names in one sentence.
const NAMES_MAX: usize = 3;

/// All conditions, those that matter first.
pub(super) fn all(look: &Look<'_>) -> Vec<Check> {
    let findings = [
        ("store", store(look)),
        ("exact", exact(look)),
        ("sum", sum(look)),
        ("instances", missing(look)),
        ("draining", draining(look)),
        ("versions", versions(look)),
        ("users", counted::users(look)),
        ("refusing", counted::turned_away(look)),
        ("joins", counted::joins(look)),
        ("sessions", sessions(look)),
        ("memory", memory(look)),
        ("rooms", counted::refused_rooms(look).unwrap_or_else(|| rooms(look))),
        ("behind", behind(look)),
        ("kept", counted::kept(look)),
        ("announced", counted::announced(look)),
        ("origins", counted::foreign_pages(look)),
        ("issuers", counted::issuers(look)),
    ];
    let mut checks: Vec<_> =
        findings.into_iter().map(|(key, finding)| Check::of(key, finding)).collect();
    checks.sort_by_key(|check| check.level);
    checks
}

/// The conditions in a few words.
pub(super) fn verdict(checks: &[Check]) -> String {
    let of = |level| checks.iter().filter(|check| check.level == level).count() as u64;
    match (of(Level::Alarm), of(Level::Notice)) {
        (0, 0) => "Nothing needs attention".to_owned(),
        (0, notices) => words::several(notices, "thing") + " to know",
        (1, _) => "1 thing needs attention".to_owned(),
        (alarms, _) => words::several(alarms, "thing") + " need attention",
    }
}

fn store(look: &Look<'_>) -> Finding {
    let alert = "HeadcountStoreDown";
    if look.is_embedded {
        return fine("There is no Redis: this instance counts for itself");
    }
    let failed = counted::failed_reports(look);
    if look.view.is_reachable(look.now) {
        return failed.unwrap_or_else(|| fine("Redis answers"));
    }
    let Some(answered) = look.view.answered() else {
        return alarm(alert, "Redis has not answered since this instance started");
    };
    let away = look.now.saturating_duration_since(answered);
    let level = if away < AWAY_FIRES { Level::Notice } else { Level::Alarm };
    // Errors are answers, though none that help.
    if let Some(failed) = failed.filter(|_| counted::fails_now(look)) {
        return Finding { level: failed.level.min(level), ..failed };
    }
    let text = format!("Redis has not answered this instance for {}", words::ago(away));
    Finding { level, text, alert }
}

fn exact(look: &Look<'_>) -> Finding {
    let alert = "HeadcountEstimateTooLong";
    let (since, of) = match (look.estimate_since, look.rooms_estimate_since) {
        (None, None) => return fine("All counts are exact"),
        (Some(since), _) => (since, "The number has been an estimate"),
        (None, Some(since)) => (since, "The counts of rooms have been estimates"),
    };
    let time = look.now.saturating_duration_since(since);
    let text = format!("{of} for {}", words::ago(time));
    if time < ESTIMATE_FIRES { notice(alert, text) } else { alarm(alert, text) }
}

fn sum(look: &Look<'_>) -> Finding {
    if let Some(drift) = counted::drift(look).or_else(|| counted::drift_of_rooms(look)) {
        return drift;
    }
    let Some((_, roster)) = look.instances.last() else { return fine("No sum has been read yet") };
    let sum = roster.sum();
    if sum == roster.count.users && sum == roster.users {
        let text = if look.view.is_reachable(look.now) {
            "The instances add up to the number"
        } else {
            "The instances added up when Redis last answered"
        };
        return fine(text);
    }
    let [sum, total, shown] = [sum, roster.count.users, roster.users].map(words::number);
    alarm(
        "HeadcountCountNotExact",
        format!(
            "The instances add up to {sum}, the total in Redis is {total}, its public key says {shown}"
        ),
    )
}

fn missing(look: &Look<'_>) -> Finding {
    let gone = look.instances.gone().iter();
    let crashed = gone.clone().filter(|gone| gone.how == Departure::Crashed);
    if let Some(newest) = crashed.clone().next() {
        let since = look.now.saturating_duration_since(newest.at);
        let (names, ago) = (names(crashed.map(instances::Gone::name)), words::ago(since));
        return Finding {
            level: if since < counted::RECENT { Level::Alarm } else { Level::Notice },
            text: format!("{names} ended without a farewell, or was cut off from Redis, {ago} ago"),
            alert: "HeadcountLeaseReaped",
        };
    }
    if let Some(reaped) = counted::reaped(look) {
        return reaped;
    }
    let unseen = gone.filter(|gone| gone.how == Departure::Unseen);
    if unseen.clone().next().is_some() {
        let names = names(unseen.map(instances::Gone::name));
        return notice("HeadcountInstanceDown", format!("{names} went while Redis was away"));
    }
    let there = look.view.instances();
    let most = look.history.instances_max();
    let text = words::several(there.into(), "instance");
    if there < most {
        return fine(format!("{text} now; lately there were up to {most}"));
    }
    fine(format!("{text}, none is missing"))
}

fn draining(look: &Look<'_>) -> Finding {
    let entries = look.instances.last().map_or(&[][..], |(_, roster)| &roster.instances);
    let leaving = entries.iter().filter(|entry| instances::is_draining(entry));
    if look.is_draining && leaving.clone().next().is_none() {
        return notice("", "This instance is shutting down");
    }
    if leaving.clone().next().is_none() {
        return fine("No instance is shutting down");
    }
    let left = leaving.clone().map(RosterEntry::sessions).fold(0, u64::saturating_add);
    let (names, left) = (names(leaving.map(instances::name)), words::several(left, "session"));
    notice("", format!("Shutting down: {names}, with {left} left"))
}

fn versions(look: &Look<'_>) -> Finding {
    let entries = look.instances.last().map_or(&[][..], |(_, roster)| &roster.instances);
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in entries {
        let version = entry.about.as_ref().map_or("unknown", |about| about.version.as_str());
        *versions.entry(version).or_default() += 1;
    }
    match versions.len() {
        0 => fine("No instance has said its version"),
        1 => fine("All instances are of one version"),
        _ => {
            let each = versions.into_iter().map(|(version, count)| format!("{version} on {count}"));
            notice("HeadcountTwoVersions", format!("Several versions: {}", names(each)))
        }
    }
}

fn sessions(look: &Look<'_>) -> Finding {
    let [taken, max] = look.sessions.map(words::number);
    let text = format!("This instance has {taken} of {max} sessions");
    let [taken, max] = look.sessions;
    if words::percent(taken, max) > SESSIONS_PERCENT {
        return alarm("HeadcountNearlyFull", text);
    }
    fine(text)
}

fn memory(look: &Look<'_>) -> Finding {
    let Some([used, max]) = look.memory else { return fine("No limit of memory is known") };
    let text = format!("This instance's memory: {} of {}", words::bytes(used), words::bytes(max));
    if words::percent(used, max) > MEMORY_PERCENT {
        return alarm("HeadcountMemoryHigh", text);
    }
    fine(text)
}

fn rooms(look: &Look<'_>) -> Finding {
    let (rooms, most) = (look.rooms.rooms as u64, look.rooms.most as u64);
    let text =
        format!("This instance has {} of {} rooms", words::number(rooms), words::number(most));
    if words::percent(rooms, most) > ROOMS_PERCENT {
        return alarm("HeadcountRoomsNearlyFull", text);
    }
    fine(text)
}

fn behind(look: &Look<'_>) -> Finding {
    let alert = "HeadcountRoomsBehind";
    let Some((since, ended)) = look.behind else {
        return fine("No room has users of ended instances");
    };
    let instances = match ended {
        1 => "an instance".to_owned(),
        _ => words::several(ended.into(), "instance"),
    };
    let time = look.now.saturating_duration_since(since);
    let text = format!(
        "For {} rooms have had users of {instances} that ended: their counts are too high",
        words::ago(time)
    );
    if time < BEHIND_WITHIN + BEHIND_FIRES { notice(alert, text) } else { alarm(alert, text) }
}

/// Some names in a row. They may be anything, so they are escaped here.
fn names(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.collect();
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    let shown = names.join(", ");
    let shown = crate::telemetry::escaped::Escaped::new(&shown);
    if more == 0 {
        shown.as_str().to_owned()
    } else {
        format!("{} and {more} more", shown.as_str())
    }
}

#[cfg(test)]
#[path = "checks/tests.rs"]
mod tests;
