//! `headcount status`: who is alive according to the store, and whether their counts add up. Pure; reading
//! the roster is the store's.

use std::{fmt, time::Duration};

use serde::Serialize;
use uuid::Uuid;

use crate::{
    core::{
        pace::whole_millis,
        report::{Roster, RosterEntry},
    },
    telemetry::escaped::Escaped,
};

/// How long the store may take to answer an operator.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Seconds from 1970 to the year 10000; an id that claims to be later is no clock's.
const YEAR_10000: u64 = 253_402_300_800;

/// What operators see.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// What the public key says.
    pub count: u64,
    /// What the live instances add up to.
    pub sum: u64,
    /// Whether the two are the same.
    pub agrees: bool,
    /// The revision of the count.
    pub revision: u64,
    /// Whether the store lost its data a moment ago and waits for all instances to report.
    pub recovering: bool,
    /// The live instances, oldest first.
    pub instances: Vec<Instance>,
}

/// One live instance.
#[derive(Clone, Debug, Serialize)]
pub struct Instance {
    /// Its id.
    pub incarnation: String,
    /// When it was started, in seconds since 1970, as its id tells; `None` if its id does not.
    pub started_at: Option<u64>,
    /// Its connections.
    pub connections: u64,
    /// What is left of its lease, in milliseconds of the lease clock; `None` if it has none.
    pub lease_left_ms: Option<u64>,
}

impl Status {
    /// Adds a roster up.
    pub fn of(roster: &Roster) -> Self {
        let parts = roster.instances.iter().map(|entry| entry.users);
        // Only numbers that somebody made up are so great.
        let sum = parts.fold(0, u64::saturating_add);
        Self {
            count: roster.users,
            sum,
            agrees: sum == roster.users,
            revision: roster.count.revision.0,
            recovering: roster.count.recovering,
            instances: roster.instances.iter().map(Instance::of).collect(),
        }
    }
}

impl Instance {
    fn of(entry: &RosterEntry) -> Self {
        let started_at = Uuid::parse_str(&entry.incarnation)
            .ok()
            .and_then(|id| id.get_timestamp())
            .map(|timestamp| timestamp.to_unix().0)
            .filter(|&seconds| seconds < YEAR_10000);
        let lease_left_ms = entry.lease_left.map(whole_millis);
        Self {
            incarnation: entry.incarnation.clone(),
            started_at,
            connections: entry.users,
            lease_left_ms,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<36}  {:<20}  {:>11}  {:>10}",
            "INCARNATION", "STARTED", "CONNECTIONS", "LEASE LEFT"
        )?;
        for instance in &self.instances {
            let started = instance.started_at.map_or_else(|| "unknown".to_owned(), date);
            let left = instance
                .lease_left_ms
                .map_or_else(|| "none".to_owned(), |left| format!("{left} ms"));
            // Anybody may have stored anything there, and this goes to a terminal.
            let (id, connections) = (Escaped::new(&instance.incarnation), instance.connections);
            writeln!(f, "{id:<36}  {started:<20}  {connections:>11}  {left:>10}")?;
        }
        let verdict = if self.agrees { "they agree" } else { "THEY DO NOT AGREE" };
        let mark = if self.recovering { ", recovering" } else { "" };
        let (sum, count, revision) = (self.sum, self.count, self.revision);
        write!(f, "sum {sum}, count {count} at revision {revision}{mark}: {verdict}")
    }
}

fn date(seconds: u64) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::count::{Count, Revision};

    fn roster(users: u64, parts: &[u64]) -> Roster {
        let entry = |&users| RosterEntry {
            incarnation: "01a2011c-f814-765a-8ed8-cd16f884d799".to_owned(),
            users,
            lease_left: Some(Duration::from_millis(1500)),
        };
        let count = Count { users, revision: Revision(7), recovering: false };
        Roster { users, count, instances: parts.iter().map(entry).collect() }
    }

    /// Goal: the status says whether the parts add up to the count. Method: parts that do and parts that do not.
    #[test]
    fn agreement() {
        assert!(Status::of(&roster(5, &[2, 3])).agrees);
        assert!(Status::of(&roster(0, &[])).agrees);
        let wrong = Status::of(&roster(6, &[2, 3]));
        assert!(!wrong.agrees);
        assert!(wrong.to_string().ends_with("sum 5, count 6 at revision 7: THEY DO NOT AGREE"));
    }

    /// Goal: absurd numbers in the store cause no panic. Method: parts whose sum exceeds the largest number.
    #[test]
    fn great_parts_are_survived() {
        let made_up = Status::of(&roster(5, &[u64::MAX, 1]));
        assert!(!made_up.agrees);
    }

    /// Goal: the table is readable, and shows the start time from the id. Method: compare the complete text.
    #[test]
    fn the_table() {
        let text = Status::of(&roster(5, &[5])).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "INCARNATION                           STARTED               CONNECTIONS  LEASE LEFT"
        );
        assert_eq!(
            lines[1],
            "01a2011c-f814-765a-8ed8-cd16f884d799  2026-11-22T02:36:45Z            5     1500 ms"
        );
        assert_eq!(lines[2], "sum 5, count 5 at revision 7: they agree");
    }
}
