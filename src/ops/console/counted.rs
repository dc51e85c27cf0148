//! Conditions of alerts that go by what this instance has counted in the last minutes.

use std::time::Duration;

use super::{
    counters::{Counter, SLOW_JOIN_SECONDS},
    finding::{Finding, Level, alarm, fine, notice},
    history::{SPAN, Sample},
    look::Look,
    words,
};

/// The time over which most alerts count.
pub(super) const RECENT: Duration = Duration::from_mins(5);
/// The time over which corrections and losses of data are counted.
pub(super) const LONG: Duration = Duration::from_mins(10);
/// Events within [`RECENT`] or [`LONG`] that are no pattern yet.
pub(super) const FEW: u64 = 3;
/// Joins of rooms refused within [`RECENT`] that are no pattern yet.
pub(super) const FEW_REFUSALS: u64 = 10;
/// The time over which clients that were turned away are counted, and how many are no pattern yet: who is refused finds a place
/// elsewhere. The alert fires once it has been so for longer than that.
pub(super) const TURNED_AWAY_WITHIN: Duration = Duration::from_mins(2);
pub(super) const FEW_TURNED_AWAY: u64 = 5;
/// Requests of foreign pages within [`RECENT`] that no alert fires for: one a second.
pub(super) const FEW_FOREIGN: u64 = 300;
/// Slow first counts within [`RECENT`] that are a pattern.
pub(super) const SLOW_JOINS: u64 = 5;
/// The alert of reports that fail counts over this time, and fires after that.
pub(super) const FAILING_WITHIN: Duration = Duration::from_mins(3);
pub(super) const FAILING_FIRES: Duration = Duration::from_mins(5);
/// A store that answered with an error so long ago may not answer at all by now.
const FAILS_NOW: Duration = Duration::from_secs(10);
/// The mean drift is taken over this time.
pub(super) const DRIFT_SPAN: Duration = Duration::from_mins(2);
/// The least mean drift that is one, and what is allowed for each who comes or goes a second: they are under way to the store.
pub(super) const DRIFT_USERS: f64 = 0.5;
pub(super) const DRIFT_PER_CHANGE: f64 = 0.05;
/// The drift of rooms must be there all the time for so long, at every look at so much time.
pub(super) const ROOMS_DRIFT_FIRES: Duration = Duration::from_mins(5);
/// The fewest users, or sessions outside of the site, of whom half may be missed, and for how long half must be missing.
pub(super) const MANY_USERS: u64 = 50;
pub(super) const FELL_FOR: Duration = Duration::from_mins(2);
/// Keys of issuers that are older were not fetched several times.
pub(super) const KEYS_OLD: Duration = Duration::from_mins(30);

pub(super) fn turned_away(look: &Look<'_>) -> Finding {
    let alert = "HeadcountRefusing";
    let turned_away = look.history.grown(Counter::TurnedAway, RECENT);
    if turned_away == 0 {
        return fine("Nobody was turned away lately");
    }
    let clients = words::several(turned_away, "client");
    let text = format!("This instance turned away {clients} in the last 5 minutes: it was full");
    let level = lasting(
        look,
        TURNED_AWAY_WITHIN,
        [Counter::TurnedAway, Counter::SessionStarts],
        |[refused, begun]| refused > FEW_TURNED_AWAY && refused * 100 >= begun,
    );
    if level == Level::Alarm { alarm(alert, text) } else { notice(alert, text) }
}

/// How much it matters that there are many of what was counted in the last `span`: it is an alarm if there were many in as long a time
/// before as well, since alerts that count wait for that.
fn lasting<const COUNTED: usize>(
    look: &Look<'_>,
    span: Duration,
    counters: [Counter; COUNTED],
    are_many: impl Fn([u64; COUNTED]) -> bool,
) -> Level {
    let now = counters.map(|counter| look.history.grown(counter, span));
    let before = counters.map(|counter| look.history.grown_before(counter, span));
    match (are_many(now), are_many(before)) {
        (false, _) => Level::Fine,
        (true, false) => Level::Notice,
        (true, true) => Level::Alarm,
    }
}

/// Answers of the store that are errors; `None` if there are none.
pub(super) fn failed_reports(look: &Look<'_>) -> Option<Finding> {
    let alert = "HeadcountStoreRefuses";
    let lasting = look.history.keeps_growing(Counter::FailedReports, FAILING_WITHIN)?;
    let text = "Redis answers this instance's reports with errors: see its log";
    Some(if lasting < FAILING_FIRES { notice(alert, text) } else { alarm(alert, text) })
}

/// Whether the store still answers reports, with errors.
pub(super) fn fails_now(look: &Look<'_>) -> bool {
    look.history.grown(Counter::FailedReports, FAILS_NOW) > 0
}

/// What was lost or changed in the store behind the back of this instance.
pub(super) fn kept(look: &Look<'_>) -> Finding {
    let [resends, repairs] =
        [Counter::Resends, Counter::Repairs].map(|counter| look.history.grown(counter, LONG));
    let times = words::several(resends, "time");
    let lost = format!("Redis has lost this instance's reports {times} in the last 10 minutes");
    if resends > FEW {
        return alarm("HeadcountResending", lost);
    }
    if repairs > 0 {
        let values = words::several(repairs, "value");
        let text = format!(
            "This instance has put {values} in Redis right in the last 10 minutes: somebody else writes there"
        );
        return alarm("HeadcountRepaired", text);
    }
    if resends > 0 {
        return notice("HeadcountResending", lost);
    }
    if !look.view.is_reachable(look.now) {
        return fine("Redis kept what it was told while it answered");
    }
    fine("Redis keeps what it is told")
}

/// Whether announcements reach this instance.
pub(super) fn announced(look: &Look<'_>) -> Finding {
    let grown = |counter| look.history.grown(counter, RECENT);
    let (again, missed) = (grown(Counter::Resubscribes), grown(Counter::PagesMissed));
    let is_deaf = grown(Counter::Announcements) == 0 && look.history.revisions(RECENT) >= FEW;
    if look.is_embedded || (again <= FEW && missed <= FEW && !is_deaf) {
        let is_away = !look.view.is_reachable(look.now);
        let text = if is_away {
            "Announcements arrived until Redis was away"
        } else {
            "Announcements arrive"
        };
        return fine(text);
    }
    alarm(
        "HeadcountDeaf",
        "Announcements of Redis do not reach this instance: visitors are told late",
    )
}

/// Whether newcomers are told in time, in the site and in rooms.
pub(super) fn joins(look: &Look<'_>) -> Finding {
    let of_site = [Counter::SlowFirstCounts, Counter::FirstCounts];
    let of_rooms = [Counter::SlowFirstRoomCounts, Counter::FirstRoomCounts];
    let [site, rooms] = [(of_site, "newcomers"), (of_rooms, "newcomers in rooms")]
        .map(|(counters, who)| told_late(look, counters, who));
    if rooms.level < site.level { rooms } else { site }
}

fn told_late(look: &Look<'_>, counters: [Counter; 2], who: &str) -> Finding {
    let are_many = |[slow, all]: [u64; 2]| slow >= SLOW_JOINS && slow * 100 > all;
    let level = lasting(look, RECENT, counters, are_many);
    if level == Level::Fine {
        return fine("Newcomers are told at once");
    }
    let [slow, all] = counters.map(|counter| words::number(look.history.grown(counter, RECENT)));
    let text = format!(
        "{slow} of {all} {who} waited over {SLOW_JOIN_SECONDS} s for the count in the last 5 minutes"
    );
    Finding { level, text, alert: "HeadcountJoinSlow" }
}

pub(super) fn foreign_pages(look: &Look<'_>) -> Finding {
    let counters = [Counter::ForeignPages];
    let level = lasting(look, RECENT, counters, |[requests]| requests > FEW_FOREIGN);
    if level == Level::Fine {
        return fine("Few pages of foreign origins ask, or none");
    }
    let text = format!(
        "Pages of an origin that is not allowed asked {} times in the last 5 minutes",
        words::number(look.history.grown(Counter::ForeignPages, RECENT))
    );
    Finding { level, text, alert: "HeadcountForeignPages" }
}

/// Joins that were refused because the table of rooms is full; `None` if there were few.
pub(super) fn refused_rooms(look: &Look<'_>) -> Option<Finding> {
    let refused = look.history.grown(Counter::RoomsRefused, RECENT);
    // A client that is in too many rooms by itself gets the same code.
    let is_full = look.rooms.rooms as u64 * 100 >= look.rooms.most as u64 * 99;
    let text = || {
        let joins = words::several(refused, "join");
        format!("This instance refused {joins} of rooms in the last 5 minutes: it has no room left")
    };
    (refused > FEW_REFUSALS && is_full).then(|| alarm("HeadcountRoomsRefused", text()))
}

/// What the store holds for this instance against what it has; `None` if that is the same.
pub(super) fn drift(look: &Look<'_>) -> Option<Finding> {
    let mean = look.history.drift(DRIFT_SPAN)?;
    if mean.abs() <= drift_allowed(look, &[Counter::Joins, Counter::Leaves]) {
        return None;
    }
    let (by, more) = (mean.abs().round(), if mean > 0.0 { "more" } else { "fewer" });
    let text =
        format!("Redis has held {by} users {more} for this instance than it has, for 2 minutes");
    Some(alarm("HeadcountDrift", text))
}

/// The drift that is allowed for the changes that these counters count: they are under way to the store.
fn drift_allowed(look: &Look<'_>, counters: &[Counter]) -> f64 {
    let changes: u64 =
        counters.iter().map(|&counter| look.history.grown(counter, DRIFT_SPAN)).sum();
    #[allow(clippy::cast_precision_loss, reason = "nobody joins 2^53 times in two minutes")]
    let changes = changes as f64;
    DRIFT_USERS + DRIFT_PER_CHANGE * changes / DRIFT_SPAN.as_secs_f64()
}

/// The same of rooms; `None` if there is no difference that lasts.
pub(super) fn drift_of_rooms(look: &Look<'_>) -> Option<Finding> {
    let by = look.history.lasting_drift_of_rooms(DRIFT_SPAN)?;
    let changes = [Counter::Joins, Counter::Leaves, Counter::RoomChanges];
    #[allow(clippy::cast_precision_loss, reason = "no instance has 2^53 memberships")]
    if by.abs() as f64 <= drift_allowed(look, &changes) {
        return None;
    }
    let more = if by > 0 { "more" } else { "fewer" };
    let text = format!(
        "Redis has held {} users and connections {more} in rooms for this instance than it has",
        words::number(by.unsigned_abs())
    );
    let lasts = look.history.lasting_drift_of_rooms(DRIFT_SPAN + ROOMS_DRIFT_FIRES);
    let alert = "HeadcountRoomsDrift";
    Some(if lasts.unwrap_or_default() == 0 { notice(alert, text) } else { alarm(alert, text) })
}

/// Leases that had run out and that this instance has taken out of the count; `None` if there were none.
pub(super) fn reaped(look: &Look<'_>) -> Option<Finding> {
    let reaped = look.history.grown(Counter::Reaped, RECENT);
    let text = || {
        let instances = words::several(reaped, "instance");
        format!(
            "In the last 5 minutes {instances} ended without a farewell, or was cut off from Redis"
        )
    };
    (reaped > 0).then(|| alarm("HeadcountLeaseReaped", text()))
}

/// Whether more than half have left: of the site's users on all instances, or of the sessions here of which most are not in the site.
pub(super) fn users(look: &Look<'_>) -> Finding {
    let alert = "HeadcountUsersFell";
    let users = fall(look, |sample| sample.users);
    let outside = fall(look, |sample| sample.outside);
    let sessions = fall(look, |sample| sample.sessions).filter(|_| outside.is_some());
    let (fall, whose) = match (users, sessions) {
        (Some(users), _) => (users, "users"),
        // Who shuts down sends all of them elsewhere.
        (None, Some(sessions)) if !look.is_draining => {
            let has_lasted = sessions.has_lasted && outside.is_some_and(|fall| fall.has_lasted);
            (Fall { has_lasted, ..sessions }, "sessions of this instance")
        }
        _ => return fine("No sudden loss of users or sessions"),
    };
    let most = words::number(fall.most);
    let text =
        format!("More than half of the {whose} have left within 10 minutes: they were {most}");
    if fall.has_lasted { alarm(alert, text) } else { notice(alert, text) }
}

/// A number of which less than half is left.
struct Fall {
    most: u64,
    /// Whether it has been so low for [`FELL_FOR`].
    has_lasted: bool,
}

fn fall(look: &Look<'_>, value: fn(&Sample) -> u64) -> Option<Fall> {
    let most = look.history.most(value, SPAN);
    let is_below = |number: u64| number * 2 < most;
    let now = look.history.most(value, Duration::ZERO);
    (most >= MANY_USERS && is_below(now))
        .then(|| Fall { most, has_lasted: is_below(look.history.most(value, FELL_FOR)) })
}

pub(super) fn issuers(look: &Look<'_>) -> Finding {
    match look.keys_age {
        age if age.is_zero() => fine("No issuer is asked for keys of tokens"),
        age if age > KEYS_OLD => {
            let text =
                format!("The keys of an issuer of tokens were fetched {} ago", words::ago(age));
            alarm("HeadcountIssuerAway", text)
        }
        _ => fine("The keys of tokens are fresh"),
    }
}

#[cfg(test)]
#[path = "counted/tests.rs"]
mod tests;
