//! What needs an operator's attention: conditions of the alerts that one instance can judge by itself. Prometheus judges all
//! of them, over time and over all instances; this is what it is about to say, or says already.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use super::{
    instances::{self, Departure},
    look::Look,
    words,
};
use crate::{core::report::RosterEntry, ops::runbook};

/// The alert of a store that is away fires after this long.
const AWAY_FIRES: Duration = Duration::from_mins(1);
/// The alert of an estimate fires after this long.
const ESTIMATE_FIRES: Duration = Duration::from_mins(2);
/// Sessions, in percent of the limit, from which on an alert fires.
const SESSIONS_PERCENT: u64 = 80;
/// Rooms, in percent of the limit, from which on an alert fires.
const ROOMS_PERCENT: u64 = 80;
/// Memory, in percent of the limit, from which on an alert fires.
const MEMORY_PERCENT: u64 = 85;
/// The most names in one sentence.
const NAMES_MAX: usize = 3;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// An alert fires, or is about to.
    Alarm,
    /// Something is under way that ends by itself, or that somebody has begun.
    Notice,
    /// All is well.
    Fine,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alarm => "alarm",
            Self::Notice => "notice",
            Self::Fine => "fine",
        })
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) key: &'static str,
    pub(super) level: Level,
    /// The level, for who does not see colours.
    pub(super) mark: &'static str,
    pub(super) text: String,
    /// Where the runbook tells what to do; `None` if all is well, or it has nothing to tell.
    pub(super) runbook: Option<String>,
}

impl Check {
    /// An empty item, which the page's script copies.
    pub(super) fn blank() -> Self {
        Self { key: "", level: Level::Fine, mark: "", text: String::new(), runbook: None }
    }
}

/// A condition that does not hold, or does: what is to be said of it.
struct Finding {
    level: Level,
    text: String,
    alert: &'static str,
}

fn fine(text: impl Into<String>) -> Finding {
    Finding { level: Level::Fine, text: text.into(), alert: "" }
}

fn notice(alert: &'static str, text: impl Into<String>) -> Finding {
    Finding { level: Level::Notice, text: text.into(), alert }
}

fn alarm(alert: &'static str, text: impl Into<String>) -> Finding {
    Finding { level: Level::Alarm, text: text.into(), alert }
}

/// All conditions, those that matter first.
pub(super) fn all(look: &Look<'_>) -> Vec<Check> {
    let findings = [
        ("store", store(look)),
        ("exact", exact(look)),
        ("sum", sum(look)),
        ("instances", missing(look)),
        ("draining", draining(look)),
        ("versions", versions(look)),
        ("refusing", refusing(look)),
        ("sessions", sessions(look)),
        ("memory", memory(look)),
        ("rooms", rooms(look)),
    ];
    let mut checks: Vec<_> =
        findings.into_iter().map(|(key, finding)| check(key, finding)).collect();
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

fn check(key: &'static str, Finding { level, text, alert }: Finding) -> Check {
    let mark = match level {
        Level::Alarm => "Alarm",
        Level::Notice => "Notice",
        Level::Fine => "Fine",
    };
    let runbook = runbook::section(alert).map(|_| format!("runbook/{alert}"));
    Check { key, level, mark, text, runbook }
}

fn store(look: &Look<'_>) -> Finding {
    let alert = "HeadcountStoreDown";
    if look.is_embedded {
        return fine("There is no Redis: this instance counts for itself");
    }
    if look.view.is_reachable(look.now) {
        return fine("Redis answers");
    }
    let Some(answered) = look.view.answered() else {
        return alarm(alert, "Redis has not answered since this instance started");
    };
    let away = look.now.saturating_duration_since(answered);
    let text = format!("Redis has not answered this instance for {}", words::ago(away));
    if away < AWAY_FIRES { notice(alert, text) } else { alarm(alert, text) }
}

fn exact(look: &Look<'_>) -> Finding {
    let alert = "HeadcountEstimateTooLong";
    let Some(since) = look.estimate_since else { return fine("The number is exact") };
    let time = look.now.saturating_duration_since(since);
    let text = format!("The number has been an estimate for {}", words::ago(time));
    if time < ESTIMATE_FIRES { notice(alert, text) } else { alarm(alert, text) }
}

fn sum(look: &Look<'_>) -> Finding {
    let Some((_, roster)) = look.instances.last() else { return fine("No sum has been read yet") };
    let sum = roster.sum();
    if sum == roster.count.users && sum == roster.users {
        return fine("The instances add up to the number");
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
        let since = words::ago(look.now.saturating_duration_since(newest.at));
        let names = names(crashed.map(instances::Gone::name));
        return alarm(
            "HeadcountLeaseReaped",
            format!("{names} ended without a farewell, or was cut off from Redis, {since} ago"),
        );
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
    let left = leaving.clone().map(RosterEntry::connections).fold(0, u64::saturating_add);
    let (names, left) = (names(leaving.map(instances::name)), words::several(left, "connection"));
    notice("", format!("Shutting down: {names}, with {left} left"))
}

fn versions(look: &Look<'_>) -> Finding {
    let entries = look.instances.last().map_or(&[][..], |(_, roster)| &roster.instances);
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    for about in entries.iter().filter_map(|entry| entry.about.as_ref()) {
        *versions.entry(&about.version).or_default() += 1;
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

fn refusing(look: &Look<'_>) -> Finding {
    match look.history.turned_away() {
        0 => fine("Nobody was turned away lately"),
        turned_away => alarm(
            "HeadcountRefusing",
            format!(
                "This instance turned away {} in the last 5 minutes: it was full",
                words::several(turned_away, "client")
            ),
        ),
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
