//! What a store must answer, computed in the simplest way: every count is summed up again from what each incarnation holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use headcount::core::{
    count::{Incarnation, Revision, Sequence, WHOLE_MAX},
    report::{Outcome, Reply, Report, ReportKind, Room, RoomsReply, UserPresence, UserReport},
    room::{RoomName, UserId},
};
use proptest::prelude::*;

/// A store. It takes away all rooms of the dead at once, as stores do if there are few.
#[derive(Default)]
pub(super) struct Model {
    lives: BTreeMap<Incarnation, Life>,
    clock: Duration,
    heard: Option<Duration>,
    /// The counts of every revision that was told.
    told: BTreeMap<Revision, Counts>,
}

/// The count of the site, and of all rooms with somebody in them.
type Counts = (u64, BTreeMap<RoomName, u64>);

/// What an incarnation holds.
struct Life {
    /// `None` once it has ended.
    users: Option<u64>,
    sequence: Sequence,
    expiry: Duration,
    connections: BTreeMap<RoomName, u64>,
    pairs: BTreeSet<(Room, UserId)>,
}

impl Life {
    fn ended(sequence: Sequence, expiry: Duration) -> Self {
        let (connections, pairs) = (BTreeMap::new(), BTreeSet::new());
        Self { users: None, sequence, expiry, connections, pairs }
    }
}

impl Model {
    /// Applies a report that arrives at `now`, and compares the reply.
    pub(super) fn check(
        &mut self,
        report: &Report,
        reply: &Reply,
        now: Duration,
    ) -> Result<(), TestCaseError> {
        let stored = self.lives.get(&report.incarnation).map(|life| life.sequence);
        let stored = stored.unwrap_or_default();
        let (outcome, elsewhere) = self.apply(report, stored, now);
        prop_assert_eq!(reply.outcome, outcome);
        prop_assert_eq!(reply.stored_sequence, stored);
        prop_assert_eq!((reply.dead, reply.repaired), (0, 0));
        let live = self.lives.values().filter(|life| life.users.is_some()).count();
        prop_assert_eq!(reply.instances as usize, live);
        let site = self.site();
        prop_assert_eq!(reply.count.users, site);
        let is_told = outcome == Outcome::Applied
            && report.kind != ReportKind::Farewell
            && !report.rooms.is_empty();
        let rooms = is_told.then(|| self.rooms_reply(report, elsewhere));
        prop_assert_eq!(&reply.rooms, &rooms);
        let counts = (site, self.rooms());
        let told = self.told.entry(reply.count.revision).or_insert_with(|| counts.clone());
        prop_assert_eq!(&*told, &counts, "counts follow from the revision");
        Ok(())
    }

    /// Returns what becomes of the report, and for each of its users whether another instance holds him, too.
    fn apply(&mut self, report: &Report, stored: Sequence, now: Duration) -> (Outcome, Vec<bool>) {
        if report.sequence <= stored {
            return (Outcome::Stale, Vec::new());
        }
        let pause = self.heard.map_or(Duration::ZERO, |heard| now.saturating_sub(heard));
        self.clock += if pause > report.lease / 2 { report.lease / 8 } else { pause };
        self.heard = Some(now);
        if report.acknowledged > stored {
            return (Outcome::Resend, Vec::new());
        }
        let expiry = self.clock + report.lease;
        let ended = || Life::ended(report.sequence, expiry);
        if report.kind == ReportKind::Farewell {
            self.lives.insert(report.incarnation, ended());
        } else {
            let life = self.lives.entry(report.incarnation).or_insert_with(ended);
            (life.users, life.sequence, life.expiry) =
                (Some(report.users), report.sequence, expiry);
        }
        if let Some(former) = report.former {
            let closed = Sequence(WHOLE_MAX);
            if self.lives.get(&former).is_none_or(|life| life.sequence != closed) {
                self.lives.insert(former, Life::ended(closed, expiry));
            }
        }
        self.lives.retain(|_, life| life.expiry >= self.clock);
        if report.kind == ReportKind::Farewell {
            return (Outcome::Applied, Vec::new());
        }
        (Outcome::Applied, self.apply_rooms(report))
    }

    fn apply_rooms(&mut self, report: &Report) -> Vec<bool> {
        let mut elsewhere = Vec::new();
        for entry in &report.rooms {
            let life = self.lives.get_mut(&report.incarnation).unwrap();
            if let (Room::Named(name), Some(connections)) = (&entry.room, entry.connections) {
                life.connections.insert(name.clone(), connections);
                life.connections.retain(|_, connections| *connections > 0);
            }
            for UserReport { user, presence } in &entry.users {
                let pair = (entry.room.clone(), user.clone());
                match presence {
                    UserPresence::Here(_) | UserPresence::Still(_) => life.pairs.insert(pair),
                    UserPresence::Gone => life.pairs.remove(&pair),
                };
            }
            elsewhere.extend(entry.users.iter().map(|entry_user| {
                let pair = (entry.room.clone(), entry_user.user.clone());
                self.lives
                    .iter()
                    .any(|(owner, life)| *owner != report.incarnation && life.pairs.contains(&pair))
            }));
        }
        elsewhere
    }

    fn rooms_reply(&self, report: &Report, elsewhere: Vec<bool>) -> RoomsReply {
        let life = &self.lives[&report.incarnation];
        let rooms = self.rooms();
        let counts = report.rooms.iter().map(|entry| match &entry.room {
            Room::Site => self.site(),
            Room::Named(name) => rooms.get(name).copied().unwrap_or(0),
        });
        RoomsReply {
            rooms_held: life.connections.len() as u64,
            users_held: life.pairs.len() as u64,
            counts: counts.collect(),
            elsewhere,
        }
    }

    fn site(&self) -> u64 {
        let connections: u64 = self.lives.values().filter_map(|life| life.users).sum();
        connections + self.pairs().iter().filter(|(room, _)| *room == Room::Site).count() as u64
    }

    /// The counts of all rooms with somebody in them.
    pub(super) fn rooms(&self) -> BTreeMap<RoomName, u64> {
        let mut counts = BTreeMap::new();
        for (name, connections) in self.lives.values().flat_map(|life| &life.connections) {
            *counts.entry(name.clone()).or_insert(0) += connections;
        }
        for (room, _) in self.pairs() {
            if let Room::Named(name) = room {
                *counts.entry(name).or_insert(0) += 1;
            }
        }
        counts
    }

    /// Every pair of a room and a user that anybody holds, once.
    fn pairs(&self) -> BTreeSet<(Room, UserId)> {
        self.lives.values().flat_map(|life| life.pairs.iter().cloned()).collect()
    }
}
