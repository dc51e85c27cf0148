//! What is on the page, in words. It is rendered twice from here: as HTML by the server, and as JSON for the page's script,
//! which puts the same texts into the same places.

use std::time::{Duration, UNIX_EPOCH};

use askama::Template;
use serde::Serialize;

use super::{
    checks,
    finding::{Check, Level},
    history::Line,
    instances::Row,
    look::{Facts, Look},
    pace::PACE,
    rooms::{LargestRooms, RoomRow},
    words,
};
use crate::{
    core::{peaks::ShownPeaks, report::RosterEntry, site_users::UsersHere},
    store::facts::{StoreFacts, StoreRole},
};

/// The page: the screen, and the list of rooms that one reader looks for. Every text in it is escaped by the template, and set as
/// text by the script.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "console.html")]
pub(super) struct Page<'a> {
    pub(super) screen: &'a Screen,
    pub(super) rooms: &'a LargestRooms,
}

/// What all readers of the page are shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Screen {
    /// `exact`, `estimate` or `waiting`.
    pub(super) state: &'static str,
    pub(super) title: String,
    /// The instance that shows this, and its version.
    pub(super) host: String,
    pub(super) version: String,
    /// When this was written, by the clock of the instance.
    pub(super) at: String,
    pub(super) count: String,
    /// `long` if the number needs room.
    pub(super) size: &'static str,
    pub(super) people: &'static str,
    /// All who are connected, in a sentence; empty while nearly everybody is in the site.
    pub(super) connected: String,
    /// The highest counts, in a sentence; empty if none is known.
    pub(super) peaks: String,
    /// How sure the number is, in a word and in a sentence.
    pub(super) sure: &'static str,
    pub(super) why: String,
    pub(super) line: Line,
    pub(super) verdict: String,
    /// The level of what matters most.
    pub(super) level: Level,
    pub(super) checks: Vec<Check>,
    pub(super) instances: Vec<Row>,
    pub(super) instances_note: String,
    /// `old` if the table is not of this moment.
    pub(super) instances_age: &'static str,
    /// Of this instance: its sessions, its connections and users in the site, and what is known of these.
    pub(super) sessions: String,
    pub(super) connections: String,
    pub(super) users: String,
    pub(super) users_note: String,
    /// Sessions that begin and end a second.
    pub(super) begun: String,
    pub(super) ended: String,
    pub(super) refusals: Vec<Named>,
    pub(super) refusals_note: String,
    /// Rooms of this instance, and connections in them.
    pub(super) rooms_here: String,
    pub(super) members: String,
    pub(super) watchers: String,
    pub(super) store: Vec<Named>,
    pub(super) store_note: String,
    /// Whether operators sign in.
    pub(super) has_token: bool,
}

/// A name and a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Named {
    pub(super) key: String,
    pub(super) value: String,
}

impl Named {
    /// An empty item, which the page's script copies.
    fn blank() -> Self {
        Self::default()
    }
}

impl Screen {
    pub(super) fn of(look: &Look<'_>) -> Self {
        let shown = look.view.shown(look.now);
        let checks = checks::all(look);
        let level = checks.first().map_or(Level::Fine, |check| check.level);
        let this = look.view.incarnation().map(|incarnation| incarnation.to_string());
        let (instances_note, instances_age) = instances_note(look);
        let rate = |of: fn(_) -> f64| {
            look.history.rates().map_or_else(|| "–".to_owned(), |rates| words::rate(of(rates)))
        };
        let count = words::number(shown.users);
        let in_all = sessions_also_outside(look);
        Self {
            state: state(look),
            title: format!("{count} online – Headcount console"),
            host: look.host.to_owned(),
            version: look.version.to_owned(),
            at: clock(look.unix_millis),
            size: if count.len() > 5 { "long" } else { "" },
            count,
            people: people(shown.users, in_all.is_some()),
            connected: in_all.map(connected).unwrap_or_default(),
            peaks: peaks(look),
            sure: sure(look),
            why: why(look),
            line: look.history.line(),
            verdict: checks::verdict(&checks),
            level,
            checks,
            instances: look.instances.rows(this.as_deref(), look.now, look.unix_millis),
            instances_note,
            instances_age,
            sessions: words::number(look.sessions[0]),
            connections: words::number(look.connections),
            users: words::number(look.users_here.total()),
            users_note: users_note(look.users_here),
            begun: rate(|rates| rates.begun),
            ended: rate(|rates| rates.ended),
            refusals: refusals(look),
            refusals_note: refusals_note(look),
            rooms_here: words::number(look.rooms.rooms as u64),
            members: words::number(look.memberships[0]),
            watchers: words::number(look.memberships[1]),
            store: store(look),
            store_note: store_note(look),
            has_token: look.has_token,
        }
    }

    /// As JSON text.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts can be written as JSON")
    }
}

fn state(look: &Look<'_>) -> &'static str {
    if look.view.shown(look.now).exact {
        "exact"
    } else if look.view.answered().is_none() {
        "waiting"
    } else {
        "estimate"
    }
}

fn sure(look: &Look<'_>) -> &'static str {
    match state(look) {
        "exact" => "Exact",
        "waiting" => "Not known yet",
        _ => "An estimate",
    }
}

/// All sessions on all instances as last known, if a tenth of them or more are not counted in the site. There are always some: of
/// clients that have not joined yet, of those that only watch, and of probes.
fn sessions_also_outside(look: &Look<'_>) -> Option<u64> {
    let sessions = look.instances.sum(RosterEntry::sessions);
    let outside = sessions.saturating_sub(look.instances.sum(RosterEntry::connections));
    (outside > 0 && outside.saturating_mul(10) >= sessions).then_some(sessions)
}

/// What the number is of. Where visitors are only in rooms it is not of all of them.
fn people(users: u64, are_outside: bool) -> &'static str {
    match (users, are_outside) {
        (1, false) => "person online",
        (_, false) => "people online",
        (1, true) => "person in the site itself",
        (_, true) => "people in the site itself",
    }
}

fn connected(sessions: u64) -> String {
    let sessions = words::several(sessions, "session");
    format!("Connected in all: {sessions}, in the site or in whatever rooms.")
}

fn peaks(look: &Look<'_>) -> String {
    let ShownPeaks { today, ever } = look.peaks;
    let Some(ever) = ever else { return String::new() };
    let most =
        format!("{} ever, on {} at {}", words::number(ever.users), day(ever.at), clock(ever.at));
    match today {
        None => format!("The most at a time: {most}."),
        Some(today) if today == ever => {
            format!(
                "The most at a time: {} ever, today at {}.",
                words::number(ever.users),
                clock(ever.at)
            )
        }
        Some(today) => {
            let users = words::number(today.users);
            format!("The most at a time: {users} today at {}; {most}.", clock(today.at))
        }
    }
}

fn why(look: &Look<'_>) -> String {
    let (view, now) = (look.view, look.now);
    let shown = view.shown(now);
    let age = words::moment(view.age(now));
    if shown.exact && look.is_embedded {
        return "This instance counts for itself.".to_owned();
    }
    if shown.exact {
        return match view.instances() {
            0 | 1 => format!("Redis confirmed it {age} ago. There is one instance."),
            count => {
                format!(
                    "It counts everybody on {count} instances once. Redis confirmed it {age} ago."
                )
            }
        };
    }
    if view.answered().is_none() {
        let here = words::several(look.users_here.total(), "user");
        return format!(
            "Redis has not answered since this instance started. It has {here} of its own."
        );
    }
    let users_here = look.users_here.total();
    let here = words::number(users_here);
    let elsewhere = words::number(shown.users.saturating_sub(users_here));
    let parts = format!("{here} here, which is sure, and {elsewhere} elsewhere, as last known.");
    if view.is_reachable(now) {
        return format!(
            "Redis lost its data, and all instances report again: a few seconds. {parts}"
        );
    }
    format!("Redis has not answered for {age}. {parts}")
}

/// What is known of the users of this instance; empty if nothing is.
fn users_note(UsersHere { token, visitor, none }: UsersHere) -> String {
    if token + visitor == 0 {
        return String::new();
    }
    let [token, visitor, none] = [token, visitor, none].map(words::number);
    format!("Users by token: {token}, by visitor key: {visitor}, without an identity: {none}.")
}

fn instances_note(look: &Look<'_>) -> (String, &'static str) {
    let Some((at, roster)) = look.instances.last() else {
        return ("Redis has not been asked yet, or does not answer.".to_owned(), "old");
    };
    let age = look.now.saturating_duration_since(at);
    let count = words::several(roster.instances.len() as u64, "instance");
    if age > 3 * PACE {
        return (format!("{count}, as Redis said {} ago", words::ago(age)), "old");
    }
    (count, "")
}

/// What was refused, in words of operators rather than in labels.
fn refusals(look: &Look<'_>) -> Vec<Named> {
    let mut refusals: Vec<_> = look.refusals.iter().filter(|(_, count)| *count > 0).collect();
    refusals.sort_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
    let named = refusals.into_iter().map(|(label, count)| {
        let key = match label.as_str() {
            "full" => "no session left",
            "draining" => "shutting down",
            "origin" => "page of a foreign origin",
            "flood" => "too many messages",
            "slow" => "message too slow",
            "descriptors" => "no connection left",
            "admin" => "no connection for operators left",
            "streams" => "no event stream left",
            other => other,
        };
        Named { key: key.to_owned(), value: words::number(*count) }
    });
    named.collect()
}

fn refusals_note(look: &Look<'_>) -> String {
    let is_any = look.refusals.iter().any(|(_, count)| *count > 0);
    if is_any { "Refused since its start" } else { "Nothing refused since its start" }.to_owned()
}

fn store(look: &Look<'_>) -> Vec<Named> {
    let Facts::Known(facts) = &look.store.facts else {
        return round_trip(look).into_iter().collect();
    };
    let StoreFacts { program, role, up, memory_used, memory_max } = facts;
    let role = match role {
        StoreRole::Primary(0) => "primary, no replicas".to_owned(),
        StoreRole::Primary(replicas) => {
            format!("primary, {}", words::several(*replicas, "replica"))
        }
        StoreRole::Replica => "replica: it takes no reports".to_owned(),
    };
    let used = words::bytes(*memory_used);
    let memory = match memory_max {
        Some(max) => format!("{used} of {}", words::bytes(*max)),
        None => format!("{used}, no limit"),
    };
    let facts = [
        ("Server", program.as_str().to_owned()),
        ("Role", role),
        ("Memory", memory),
        ("Running for", words::ago(*up)),
    ];
    let facts = facts.map(|(key, value)| Named { key: key.to_owned(), value });
    round_trip(look).into_iter().chain(facts).collect()
}

fn round_trip(look: &Look<'_>) -> Option<Named> {
    if look.is_embedded || look.store.error.is_some() {
        return None;
    }
    let value = words::millis(look.store.round_trip?);
    Some(Named { key: "Answers in".to_owned(), value })
}

fn store_note(look: &Look<'_>) -> String {
    if look.is_embedded {
        return "None is set: this instance counts for itself.".to_owned();
    }
    match (&look.store.error, &look.store.facts) {
        (Some(error), _) => format!("The last question: {error}."),
        (None, Facts::Denied) => {
            "This user may not ask for more: give it +info in the ACL to see role, version and memory here."
                .to_owned()
        }
        (None, _) => String::new(),
    }
}

/// The time of day in UTC.
fn clock(unix_millis: u64) -> String {
    format!("{} UTC", date_and_time(unix_millis)[1])
}

/// The day in UTC.
fn day(unix_millis: u64) -> String {
    date_and_time(unix_millis)[0].clone()
}

fn date_and_time(unix_millis: u64) -> [String; 2] {
    let at = UNIX_EPOCH + Duration::from_secs(unix_millis / 1000);
    let stamp = humantime::format_rfc3339_seconds(at).to_string();
    let (date, time) = stamp.split_once('T').unwrap_or_default();
    [date.to_owned(), time.trim_end_matches('Z').to_owned()]
}

#[cfg(test)]
#[path = "screen/tests.rs"]
pub(in crate::ops::console) mod tests;
