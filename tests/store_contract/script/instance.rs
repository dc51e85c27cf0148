//! Instances that report as the cases want: one that knows nothing of rooms, and one that does.

use std::collections::{BTreeMap, BTreeSet};

use super::stage::{Answer, CHANNEL, DATABASE, LEASE, Outcome, Stage, ensure, same};

/// An instance: its users, and what it has seen.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    name: String,
    pub(super) users: u64,
    pub(super) sequence: u64,
    pub(super) seen_revision: u64,
    pub(super) seen_count: u64,
    /// What its next reports say of it; empty for nothing.
    pub(super) about: String,
}

impl Instance {
    pub(super) fn new(name: impl Into<String>, users: u64) -> Self {
        let (name, about) = (name.into(), String::new());
        Self { name, users, sequence: 0, seen_revision: 0, seen_count: 0, about }
    }

    /// The arguments of its next report, which may be sent later, repeatedly, or never.
    pub(super) fn prepare(&mut self, kind: &str) -> Vec<String> {
        self.sequence += 1;
        let numbers = [self.sequence, self.users, LEASE, self.seen_revision, self.seen_count];
        let mut report = vec![self.name.clone()];
        report.extend(numbers.iter().map(u64::to_string));
        report.extend([kind, CHANNEL, DATABASE, &self.about].map(str::to_owned));
        report.extend(["", "0", "", "0"].map(str::to_owned));
        report
    }

    /// Reports, and remembers the largest revision.
    pub(super) fn report(&mut self, stage: &mut Stage<'_>) -> Result<Answer, String> {
        self.say("report", stage)
    }

    pub(super) fn say(&mut self, kind: &str, stage: &mut Stage<'_>) -> Result<Answer, String> {
        let answer = self.say_deaf(kind, stage)?;
        if answer.revision > self.seen_revision {
            self.seen_revision = answer.revision;
            self.seen_count = answer.count;
        }
        Ok(answer)
    }

    /// Reports, but the reply is lost.
    pub(super) fn say_deaf(&mut self, kind: &str, stage: &mut Stage<'_>) -> Result<Answer, String> {
        stage.send(&self.prepare(kind))
    }
}

/// An instance with rooms. Every report says what the case put into it since the last one.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    name: String,
    lives: u32,
    /// Its connections in the site.
    pub(super) users: u64,
    pub(super) sequence: u64,
    pub(super) acknowledged: u64,
    pub(super) seen_revision: u64,
    pub(super) seen_count: u64,
    pub(super) stamp: String,
    pub(super) former: String,
    pub(super) resending: bool,
    /// What it holds: connections by room, and users in rooms.
    connections: BTreeMap<String, u64>,
    people: BTreeSet<(String, String)>,
    /// The groups of the next report.
    groups: Vec<String>,
}

impl Holder {
    /// An instance whose name is 36 bytes long, as those of real ones are.
    pub(super) fn new(name: &str, users: u64) -> Self {
        Self {
            name: name.to_owned(),
            lives: 1,
            users,
            sequence: 0,
            acknowledged: 0,
            seen_revision: 0,
            seen_count: 0,
            stamp: String::new(),
            former: String::new(),
            resending: false,
            connections: BTreeMap::new(),
            people: BTreeSet::new(),
            groups: Vec::new(),
        }
    }

    /// Its incarnation.
    pub(super) fn incarnation(&self) -> String {
        format!("00000000-0000-7000-8000-{:0>8}{:0>4}", self.name, self.lives)
    }

    /// The key of what it holds: `at` or `of`.
    pub(super) fn key(&self, kind: &str) -> String {
        format!("{{currentUsers}}:{kind}:{}", self.incarnation())
    }

    /// What is stored beside a user whom it has.
    pub(super) fn tag(&self) -> String {
        self.incarnation()[24..].to_owned()
    }

    /// Says how many connections it has in a room.
    pub(super) fn set(&mut self, room: &str, connections: u64) -> &mut Self {
        self.connections.insert(room.to_owned(), connections);
        self.group(room, &connections.to_string(), &[])
    }

    /// Says that a user is in a room.
    pub(super) fn join(&mut self, room: &str, user: &str) -> &mut Self {
        self.people.insert((room.to_owned(), user.to_owned()));
        self.group(room, "", &[(user, "+")])
    }

    /// Says that a user has left a room.
    pub(super) fn leave(&mut self, room: &str, user: &str) -> &mut Self {
        self.people.remove(&(room.to_owned(), user.to_owned()));
        self.group(room, "", &[(user, "-")])
    }

    /// Asks for the count of a room.
    pub(super) fn ask(&mut self, room: &str) -> &mut Self {
        self.group(room, "", &[])
    }

    /// Adds a group to the next report.
    pub(super) fn group(
        &mut self,
        room: &str,
        connections: &str,
        users: &[(&str, &str)],
    ) -> &mut Self {
        let head = [room, connections, &users.len().to_string()].map(str::to_owned);
        self.groups.extend(head);
        self.groups.extend(users.iter().flat_map(|&(user, word)| [user, word]).map(str::to_owned));
        self
    }

    /// Says everything that it holds.
    pub(super) fn say_all(&mut self) {
        for (room, connections) in self.connections.clone() {
            self.set(&room, connections);
        }
        let mut rooms: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (room, user) in &self.people {
            rooms.entry(room.clone()).or_default().push(user.clone());
        }
        for (room, users) in rooms {
            let users: Vec<_> = users.iter().map(|user| (user.as_str(), "+")).collect();
            let own = self.connections.get(&room).map(u64::to_string);
            match own {
                Some(_) => self.add_users(&room, &users),
                None => drop(self.group(&room, "", &users)),
            }
        }
    }

    /// Adds users to a group that is there already.
    fn add_users(&mut self, room: &str, users: &[(&str, &str)]) {
        let place = self.groups.iter().position(|text| text == room).expect("it was said");
        self.groups[place + 2] = users.len().to_string();
        let words = users.iter().flat_map(|&(user, word)| [user, word]).map(str::to_owned);
        self.groups.splice(place + 3..place + 3, words);
    }

    /// Begins again, as the store has told it to: with another incarnation, which says everything.
    pub(super) fn begin_again(&mut self) {
        self.former = self.incarnation();
        self.lives += 1;
        (self.sequence, self.acknowledged) = (0, 0);
        self.groups.clear();
        self.say_all();
    }

    /// The arguments of its next report, which may be sent later, repeatedly, or never.
    pub(super) fn prepare(&mut self, kind: &str) -> Vec<String> {
        self.sequence += 1;
        let mut report = vec![self.incarnation()];
        let numbers = [self.sequence, self.users, LEASE, self.seen_revision, self.seen_count];
        report.extend(numbers.iter().map(u64::to_string));
        report.extend([kind, CHANNEL, DATABASE, "", &self.stamp].map(str::to_owned));
        report.push(self.acknowledged.to_string());
        report.push(self.former.clone());
        report.push(u8::from(self.resending).to_string());
        report.append(&mut self.groups);
        report
    }

    /// Reports, and begins again if it must.
    pub(super) fn report(&mut self, stage: &mut Stage<'_>) -> Result<Answer, String> {
        let answer = self.say("report", stage)?;
        if answer.resend {
            self.begin_again();
            return self.say("report", stage);
        }
        Ok(answer)
    }

    /// Reports, and hears the answer.
    pub(super) fn say(&mut self, kind: &str, stage: &mut Stage<'_>) -> Result<Answer, String> {
        let report = self.prepare(kind);
        let answer = stage.send(&report)?;
        self.hear(&answer);
        Ok(answer)
    }

    /// Hears the answer to its newest report.
    pub(super) fn hear(&mut self, answer: &Answer) {
        if answer.revision > self.seen_revision {
            (self.seen_revision, self.seen_count) = (answer.revision, answer.count);
            self.stamp.clone_from(&answer.stamp);
        }
        if answer.applied {
            self.acknowledged = self.sequence;
            self.former.clear();
        }
    }

    /// Reports, but the reply is lost.
    pub(super) fn say_deaf(&mut self, stage: &mut Stage<'_>) -> Result<Answer, String> {
        let report = self.prepare("report");
        stage.send(&report)
    }
}

/// Lets these instances report every 500 ms, a number of times.
pub(super) fn beat(stage: &mut Stage<'_>, times: u32, holders: &mut [&mut Holder]) -> Outcome {
    for _ in 0..times {
        stage.wait(500);
        for holder in &mut *holders {
            holder.report(stage)?;
        }
    }
    Ok(())
}

/// The count of a room in the store.
pub(super) fn count_of(stage: &mut Stage<'_>, room: &str) -> Result<i64, String> {
    let count: Option<i64> = stage.redis("HGET", (ROOMS, room))?;
    Ok(count.unwrap_or(0))
}

/// The hash with the counts of rooms.
pub(super) const ROOMS: &str = "{currentUsers}:rooms";

/// Fails unless the room has this count.
pub(super) fn counts(stage: &mut Stage<'_>, room: &str, expected: i64) -> Outcome {
    same(room, count_of(stage, room)?, expected)
}

/// Fails if a key of rooms is left.
pub(super) fn nothing_is_left(stage: &mut Stage<'_>) -> Outcome {
    let site = ["", ":connections", ":sequence", ":leases", ":meta", ":about"];
    let is_of_rooms = |key: &String| {
        site.iter().all(|name| key != &format!("{{currentUsers}}{name}")) && key != "currentUsers"
    };
    let left: Vec<String> = stage.keys()?.into_iter().filter(is_of_rooms).collect();
    ensure(&format!("nothing of rooms is left of {left:?}"), left.is_empty())
}
