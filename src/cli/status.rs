//! `headcount status`: the live instances according to the store, and whether their counts add up to the count.

use std::{fmt, time::Duration};

use serde::Serialize;
use uuid::Uuid;

use crate::{
    core::{
        pace::whole_millis,
        peaks::{DAY_MS, Peak, PeaksAnswer},
        report::{Roster, RosterEntry},
        room::RoomName,
    },
    telemetry::escaped::Escaped,
};

/// How long the store may take to answer an operator.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Seconds from 1970 to the year 10000. A later time in an id is not real.
const YEAR_10000: u64 = 253_402_300_800;

/// The status that operators see.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The count in the public key.
    pub count: u64,
    /// Users of the site with an identity, each counted once.
    pub identified: u64,
    /// The sum of the live instances' connections without an identity, and of the users with one.
    pub sum: u64,
    /// Whether the two are the same.
    pub agrees: bool,
    /// The revision of the count.
    pub revision: u64,
    /// Whether the store has lost data and waits for all instances to report.
    pub recovering: bool,
    /// The live instances, oldest first.
    pub instances: Vec<Instance>,
    /// The peak of the current day of UTC, by the store's time; `None` if none is known.
    pub peak_today: Option<StatusPeak>,
    /// The peak ever; `None` if none is known.
    pub peak_ever: Option<StatusPeak>,
    /// The largest rooms, the largest first; `None` if they were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<Room>>,
}

/// A peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StatusPeak {
    /// Users in the whole cluster.
    pub count: u64,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// One room.
#[derive(Clone, Debug, Serialize)]
pub struct Room {
    /// Its name.
    pub room: String,
    /// Its count.
    pub count: u64,
}

/// One live instance.
#[derive(Clone, Debug, Serialize)]
pub struct Instance {
    /// The name of the instance; `None` if it did not tell it.
    pub host: Option<String>,
    /// Its id.
    pub incarnation: String,
    /// The version of Headcount, if the instance told it.
    pub version: Option<String>,
    /// When it was started, in seconds since 1970, from what it told or from its id; `None` if neither has it.
    pub started_at: Option<u64>,
    /// Its sessions, in the site, only in rooms, or watching; those that are not in the site as it said last.
    pub sessions: u64,
    /// Its connections in the site; those of users with an identity as it said last.
    pub connections: u64,
    /// Its users; those with an identity as it said last. They may be on other instances, too.
    pub users: u64,
    /// The rest of its lease, in milliseconds of the lease clock; `None` if it has no lease.
    pub lease_left_ms: Option<u64>,
    /// Whether it is shutting down.
    pub draining: bool,
}

impl Status {
    /// Computes the status from a roster, without the peaks.
    pub fn of(roster: &Roster) -> Self {
        let sum = roster.sum();
        Self {
            count: roster.users,
            identified: roster.identified,
            sum,
            agrees: sum == roster.users,
            revision: roster.count.revision.0,
            recovering: roster.count.recovering,
            instances: roster.instances.iter().map(Instance::of).collect(),
            peak_today: None,
            peak_ever: None,
            rooms: None,
        }
    }

    /// Adds what the store knows of the peaks.
    #[must_use]
    pub fn with_peaks(mut self, known: &PeaksAnswer) -> Self {
        let peak = |peak: Peak| StatusPeak { count: peak.users, at: peak.at / 1000 };
        self.peak_today = known.peaks.on(known.now / DAY_MS).map(peak);
        self.peak_ever = known.peaks.ever().map(peak);
        self
    }

    /// Adds rooms and their counts.
    #[must_use]
    pub fn with_rooms(self, rooms: &[(RoomName, u64)]) -> Self {
        let room = |(name, count): &(RoomName, u64)| Room { room: name.to_string(), count: *count };
        Self { rooms: Some(rooms.iter().map(room).collect()), ..self }
    }
}

impl Instance {
    fn of(entry: &RosterEntry) -> Self {
        let about = entry.about.as_deref();
        let made_at = || {
            let id = Uuid::parse_str(&entry.incarnation).ok()?;
            Some(id.get_timestamp()?.to_unix().0)
        };
        let started_at = about.map(|about| about.started_at / 1000).or_else(made_at);
        let started_at = started_at.filter(|&seconds| seconds < YEAR_10000);
        let lease_left_ms = entry.lease_left.map(whole_millis);
        Self {
            host: about.map(|about| about.host.clone()),
            version: about.map(|about| about.version.clone()),
            draining: about.is_some_and(|about| about.draining),
            incarnation: entry.incarnation.clone(),
            started_at,
            sessions: entry.sessions(),
            connections: entry.connections(),
            users: entry.users_here(),
            lease_left_ms,
        }
    }

    /// The cells of its row in the table. They are escaped, since the store is not trusted and this goes to a terminal.
    fn row(&self) -> [String; 9] {
        let text = |said: &Option<String>| match said {
            Some(text) => Escaped::new(text).to_string(),
            None => "unknown".to_owned(),
        };
        let left =
            self.lease_left_ms.map_or_else(|| "none".to_owned(), |left| format!("{left} ms"));
        [
            text(&self.host),
            Escaped::new(&self.incarnation).to_string(),
            text(&self.version),
            self.started_at.map_or_else(|| "unknown".to_owned(), date),
            self.sessions.to_string(),
            self.connections.to_string(),
            self.users.to_string(),
            left,
            if self.draining { "draining".to_owned() } else { String::new() },
        ]
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = [
            "HOST",
            "INCARNATION",
            "VERSION",
            "STARTED",
            "SESSIONS",
            "CONNECTIONS",
            "USERS",
            "LEASE LEFT",
            "",
        ];
        let rows: Vec<_> = self.instances.iter().map(Instance::row).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([header[column].len()]).max().unwrap_or(0)
        };
        let [host, incarnation, version, started, sessions, connections, users, left] =
            [0, 1, 2, 3, 4, 5, 6, 7].map(width);
        for row in [header.map(str::to_owned)].iter().chain(&rows) {
            let line = format!(
                "{:<host$}  {:<incarnation$}  {:<version$}  {:<started$}  {:>sessions$}  {:>connections$}  {:>users$}  {:>left$}  {}",
                row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8]
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        for (period, peak) in [("today", self.peak_today), ("ever", self.peak_ever)] {
            if let Some(StatusPeak { count, at }) = peak {
                writeln!(f, "peak {period} {count} at {}", date(at))?;
            }
        }
        let verdict = if self.agrees { "they agree" } else { "THEY DO NOT AGREE" };
        let mark = if self.recovering { ", recovering" } else { "" };
        let (sum, count, revision) = (self.sum, self.count, self.revision);
        let kinds = match self.identified {
            0 => String::new(),
            some => {
                format!(" ({} without an identity, {some} with one)", sum.saturating_sub(some))
            }
        };
        write!(f, "sum {sum}{kinds}, count {count} at revision {revision}{mark}: {verdict}")?;
        self.rooms.as_deref().map_or(Ok(()), |rooms| write_rooms(f, rooms))
    }
}

/// Writes a table of rooms. The names are last, since a terminal may show them wider or narrower than they seem, and escaped,
/// since strangers make them.
fn write_rooms(f: &mut fmt::Formatter<'_>, rooms: &[Room]) -> fmt::Result {
    if rooms.is_empty() {
        return write!(f, "\n\nno such rooms");
    }
    let header = "COUNT";
    let digits = rooms.iter().map(|room| room.count.to_string().len());
    let width = digits.chain([header.len()]).max().unwrap_or(0);
    write!(f, "\n\n{header:>width$}  ROOM")?;
    for Room { room, count } in rooms {
        write!(f, "\n{count:>width$}  {}", Escaped::new(room))?;
    }
    Ok(())
}

fn date(seconds: u64) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::{
        about::{About, IdentifiedUsers},
        count::{Count, Revision},
        peaks::Peaks,
    };

    fn roster(users: u64, parts: &[u64]) -> Roster {
        let entry = |&users| RosterEntry {
            incarnation: "01a2011c-f814-765a-8ed8-cd16f884d799".to_owned(),
            users,
            lease_left: Some(Duration::from_millis(1500)),
            about: None,
        };
        let count = Count { users, revision: Revision(7), ..Count::default() };
        Roster { users, identified: 0, count, instances: parts.iter().map(entry).collect() }
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

    /// Goal: users with an identity are a part of the sum, and the table says how many there are. Method: two instances with two users
    /// of whom one is on both; and a store that has lost one.
    #[test]
    fn users_with_an_identity_are_added() {
        let mut roster = roster(7, &[2, 3]);
        roster.identified = 2;
        for (entry, [users, connections]) in roster.instances.iter_mut().zip([[1, 4], [2, 3]]) {
            let about = About::new("web".to_owned(), std::time::UNIX_EPOCH);
            let identified = IdentifiedUsers { users, connections };
            entry.about = Some(Arc::new(About { identified, ..about }));
        }
        let status = Status::of(&roster);
        assert!(status.agrees);
        let numbers = status.instances.iter().map(|it| (it.connections, it.users));
        assert_eq!(numbers.collect::<Vec<_>>(), [(6, 3), (6, 5)]);
        let verdict =
            "sum 7 (5 without an identity, 2 with one), count 7 at revision 7: they agree";
        assert!(status.to_string().ends_with(verdict), "{status}");
        roster.identified = 1;
        assert!(!Status::of(&roster).agrees);
    }

    /// Goal: absurd numbers in the store cause no panic. Method: parts whose sum exceeds the largest number.
    #[test]
    fn great_parts_are_survived() {
        let made_up = Status::of(&roster(5, &[u64::MAX, 1]));
        assert!(!made_up.agrees);
    }

    /// Goal: the table is readable, names the instances that have said their name, and shows the start time of others from the
    /// id. Method: compare the complete text, of an instance that is draining, and of one that has said nothing. The peak ever was a
    /// moment before midnight, and the one of today at midnight.
    #[test]
    fn the_table() {
        let mut roster = roster(5, &[3, 2]);
        let about = About {
            host: "kitchen-2\u{1b}".to_owned(),
            version: "0.2.0".to_owned(),
            started_at: 1_764_172_800_999,
            draining: true,
            identified: IdentifiedUsers::default(),
            outside: 9,
        };
        roster.instances[0].about = Some(Arc::new(about));
        let mut peaks = Peaks::default();
        peaks.add(Peak { users: 340, at: 1_764_115_199_999 });
        peaks.add(Peak { users: 12, at: 1_764_115_200_000 });
        let known = PeaksAnswer { now: 1_764_201_599_999, peaks, ..PeaksAnswer::default() };
        let text = Status::of(&roster).with_peaks(&known).to_string();
        let expected = "\
HOST             INCARNATION                           VERSION  STARTED               SESSIONS  CONNECTIONS  USERS  LEASE LEFT
kitchen-2\\u{1b}  01a2011c-f814-765a-8ed8-cd16f884d799  0.2.0    2025-11-26T16:00:00Z        12            3      3     1500 ms  draining
unknown          01a2011c-f814-765a-8ed8-cd16f884d799  unknown  2026-11-22T02:36:45Z         2            2      2     1500 ms
peak today 12 at 2025-11-26T00:00:00Z
peak ever 340 at 2025-11-25T23:59:59Z
sum 5, count 5 at revision 7: they agree";
        assert_eq!(text, expected);
    }

    /// Goal: the table of rooms is readable whatever strangers call their rooms, and the JSON has the names as they are. Method:
    /// compare the complete text of the end, for names that control a terminal, that are wide, and that imitate a line; and for no
    /// room.
    #[test]
    fn the_table_of_rooms() {
        let rooms = [("/blog/a\u{202e}b", 123_456), ("/日本", 7), ("/x\u{200b}0", 1)];
        let rooms = rooms.map(|(name, count)| (RoomName::parse(name).unwrap(), count));
        let status = Status::of(&roster(0, &[])).with_rooms(&rooms);
        let expected = "they agree\n
 COUNT  ROOM
123456  /blog/a\\u{202e}b
     7  /日本
     1  /x\\u{200b}0";
        assert!(status.to_string().ends_with(expected), "{status}");
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(
            json["rooms"][0],
            serde_json::json!({"room": "/blog/a\u{202e}b", "count": 123_456})
        );
        let none = Status::of(&roster(0, &[])).with_rooms(&[]);
        assert!(none.to_string().ends_with("they agree\n\nno such rooms"), "{none}");
        assert!(serde_json::to_value(Status::of(&roster(0, &[]))).unwrap().get("rooms").is_none());
    }
}
