//! The instances of the cluster, look by look: which are there, and how those went that are gone.

use std::{collections::HashSet, time::Duration};

use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use super::{pace::PACE, words};
use crate::{
    core::report::{Roster, RosterEntry},
    telemetry::escaped::Escaped,
};

/// How long an instance is remembered that went without a farewell. Its alert is over before.
const CRASHED_FOR: Duration = Duration::from_mins(10);
/// How long one is remembered that said farewell: long enough to follow a deploy.
const LEFT_FOR: Duration = Duration::from_mins(1);
/// How old the rest of a lease may be when it is read: some instance reports within a heartbeat, 500 ms by default. It is a
/// little less, so that a farewell right after a report of the default lease, 2 s, is still recognised a second later.
const LEASE_STALE_MAX: Duration = Duration::from_millis(450);
/// Two looks further apart say nothing of what happened between them: nobody was looking.
const LOOK_GAP_MAX: Duration = Duration::from_mins(1);
/// The most instances that are listed, and as many that are gone. One store serves some hundred at most.
const LISTED_MAX: usize = 200;
/// The lease that is left is not shown when it was read longer ago than this: by then it has changed.
const LEASE_CURRENT_FOR: Duration = Duration::from_secs(3);
/// Characters of an incarnation that tell it from others: the end is random.
const SHORT_ID_CHARS: usize = 6;

/// What was seen of the instances.
#[derive(Debug, Default)]
pub(super) struct Instances {
    last: Option<(Instant, Roster)>,
    gone: Vec<Gone>,
}

/// An instance that is not there any more.
#[derive(Clone, Debug)]
pub(super) struct Gone {
    entry: RosterEntry,
    pub(super) at: Instant,
    pub(super) how: Departure,
}

/// How an instance went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// It said farewell.
    Left,
    /// Its lease ran out: it ended without a farewell, or could not reach the store.
    Crashed,
    /// The store could not be asked meanwhile.
    Unseen,
}

/// One line of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    /// The incarnation.
    pub(super) key: String,
    pub(super) name: String,
    /// The end of the incarnation, by which two of one name are told apart.
    pub(super) id: String,
    /// Whether it is the instance that shows this.
    pub(super) whose: &'static str,
    /// `serving`, `draining`, `expired`, `left`, `crashed` or `unseen`.
    pub(super) state: &'static str,
    pub(super) state_text: String,
    pub(super) version: String,
    pub(super) up: String,
    pub(super) sessions: String,
    pub(super) users: String,
    pub(super) share: String,
    /// The share again, as the length of a bar.
    pub(super) width: String,
    pub(super) lease: String,
}

impl Row {
    /// An empty item, which the page's script copies.
    pub(super) fn blank() -> Self {
        Self { width: "0%".to_owned(), ..Self::default() }
    }
}

impl Instances {
    /// Takes over a roster that was read at `at`.
    pub(super) fn see(&mut self, roster: Roster, at: Instant) {
        if let Some((before_at, before)) = self.last.take() {
            // A store that has lost its data does not know all yet.
            if !roster.count.recovering && !before.count.recovering {
                self.note_departures(before, &roster, at.saturating_duration_since(before_at), at);
            }
        }
        let ids: HashSet<&str> = incarnations(&roster).collect();
        let names: HashSet<&str> = roster.instances.iter().filter_map(host).collect();
        self.gone.retain(|gone| {
            let is_back = ids.contains(gone.entry.incarnation.as_str())
                || host(&gone.entry).is_some_and(|host| names.contains(host));
            !is_back
        });
        self.gone.truncate(LISTED_MAX);
        self.last = Some((at, roster));
    }

    /// An instance whose lease had longer left at the last look than has passed since must have sent a farewell: the lease clock
    /// is never faster than time. What was left is as old as the last report of any instance: see [`LEASE_STALE_MAX`].
    fn note_departures(&mut self, before: Roster, now: &Roster, gap: Duration, at: Instant) {
        if gap > LOOK_GAP_MAX {
            return;
        }
        let there: HashSet<&str> = incarnations(now).collect();
        let missing = before.instances.into_iter();
        for entry in missing.filter(|entry| !there.contains(entry.incarnation.as_str())) {
            let how = match entry.lease_left {
                _ if is_draining(&entry) => Departure::Left,
                Some(left) if left > gap + LEASE_STALE_MAX => Departure::Left,
                _ if gap > 3 * PACE => Departure::Unseen,
                _ => Departure::Crashed,
            };
            self.gone.insert(0, Gone { entry, at, how });
        }
    }

    /// Forgets what is old.
    pub(super) fn forget(&mut self, now: Instant) {
        self.gone.retain(|gone| {
            let kept_for = if gone.how == Departure::Left { LEFT_FOR } else { CRASHED_FOR };
            now.saturating_duration_since(gone.at) < kept_for
        });
    }

    /// The last roster, and when it was read.
    pub(super) fn last(&self) -> Option<(Instant, &Roster)> {
        self.last.as_ref().map(|(at, roster)| (*at, roster))
    }

    /// The sum of a number over those that were there at the last look.
    pub(super) fn sum(&self, number: impl Fn(&RosterEntry) -> u64) -> u64 {
        let entries = self.last().map_or(&[][..], |(_, roster)| &roster.instances);
        entries.iter().map(number).fold(0, u64::saturating_add)
    }

    /// Those that are gone, the newest first.
    pub(super) fn gone(&self) -> &[Gone] {
        &self.gone
    }

    /// The table: those that are there by name, then those that are gone. `this` is the incarnation that shows it,
    /// `unix_millis` the time by the clock on the wall.
    pub(super) fn rows(&self, this: Option<&str>, now: Instant, unix_millis: u64) -> Vec<Row> {
        let Some((at, roster)) = self.last() else { return Vec::new() };
        let is_current = now.saturating_duration_since(at) < LEASE_CURRENT_FOR;
        let sum = self.sum(RosterEntry::sessions);
        let mut rows: Vec<Row> = roster
            .instances
            .iter()
            .take(LISTED_MAX)
            .map(|entry| {
                let row = present(entry, sum, unix_millis);
                let whose = if this == Some(&entry.incarnation) { "this one" } else { "" };
                let lease = if is_current { row.lease } else { "–".to_owned() };
                Row { whose, lease, ..row }
            })
            .collect();
        rows.sort_by(|one, other| (&one.name, &one.key).cmp(&(&other.name, &other.key)));
        rows.extend(self.gone.iter().map(|gone| absent(gone, now)));
        rows
    }
}

fn incarnations(roster: &Roster) -> impl Iterator<Item = &str> {
    roster.instances.iter().map(|entry| entry.incarnation.as_str())
}

fn host(entry: &RosterEntry) -> Option<&str> {
    entry.about.as_ref().map(|about| about.host.as_str())
}

pub(super) fn is_draining(entry: &RosterEntry) -> bool {
    entry.about.as_ref().is_some_and(|about| about.draining)
}

/// The name by which people know it. Anybody who may write to the store may have put anything there.
pub(super) fn name(entry: &RosterEntry) -> String {
    let name = host(entry).map_or_else(|| short_id(&entry.incarnation), str::to_owned);
    Escaped::new(&name).as_str().to_owned()
}

impl Gone {
    pub(super) fn name(&self) -> String {
        name(&self.entry)
    }
}

fn short_id(incarnation: &str) -> String {
    let characters = incarnation.chars().count();
    let end: String = incarnation.chars().skip(characters.saturating_sub(SHORT_ID_CHARS)).collect();
    Escaped::new(&format!("…{end}")).as_str().to_owned()
}

fn present(entry: &RosterEntry, sum: u64, unix_millis: u64) -> Row {
    let (state, state_text) = match entry.lease_left {
        None | Some(Duration::ZERO) => ("expired", "lease over"),
        Some(_) if is_draining(entry) => ("draining", "shutting down"),
        Some(_) => ("serving", "serving"),
    };
    let lease = entry.lease_left.map_or_else(|| "none".to_owned(), words::moment);
    let version = entry.about.as_ref().map_or("–", |about| &about.version);
    let share = format!("{} %", words::percent(entry.sessions(), sum));
    Row {
        key: Escaped::new(&entry.incarnation).as_str().to_owned(),
        name: name(entry),
        id: short_id(&entry.incarnation),
        whose: "",
        state,
        state_text: state_text.to_owned(),
        version: Escaped::new(version).as_str().to_owned(),
        up: up(entry, unix_millis).map_or_else(|| "–".to_owned(), words::ago),
        sessions: words::number(entry.sessions()),
        users: words::number(entry.users_here()),
        width: share.replace(' ', ""),
        share,
        lease,
    }
}

fn absent(gone: &Gone, now: Instant) -> Row {
    let since = words::ago(now.saturating_duration_since(gone.at));
    let (state, state_text) = match gone.how {
        Departure::Left => ("left", format!("left {since} ago")),
        Departure::Crashed => ("crashed", format!("gone {since} ago, without a farewell")),
        Departure::Unseen => ("unseen", format!("not there any more, seen {since} ago")),
    };
    let none = || "–".to_owned();
    Row {
        state,
        state_text,
        up: none(),
        sessions: none(),
        users: none(),
        share: none(),
        width: "0%".to_owned(),
        lease: none(),
        ..present(&gone.entry, 0, 0)
    }
}

/// How long ago it was started, by its own clock against this machine's.
fn up(entry: &RosterEntry, unix_millis: u64) -> Option<Duration> {
    let of_incarnation = || {
        let timestamp = Uuid::parse_str(&entry.incarnation).ok()?.get_timestamp()?;
        timestamp.to_unix().0.checked_mul(1000)
    };
    let about = entry.about.as_ref();
    let started_at = about.map(|about| about.started_at).or_else(of_incarnation)?;
    Some(Duration::from_millis(unix_millis.saturating_sub(started_at)))
}

#[cfg(test)]
#[path = "instances/tests.rs"]
pub(in crate::ops::console) mod tests;
