//! What the tests inside several modules share.

pub(crate) mod tokens;
pub(crate) mod turns;

/// Valid input made invalid.
pub(crate) use headcount_mutate as mutate;

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use tokio::{sync::watch, time::Instant};

use crate::core::{
    count::{Count, Incarnation, Revision, Sequence},
    report::{LEASE_MAX, Reply, Room, RoomsReply},
    room::UserId,
    rooms::{RoomLedger, Rooms, RoomsToReport, Standing},
    site_users::SiteUsers,
    tally::{Local, Tally},
    view::{SentReport, View},
};

/// A count of a store that is not recovering.
pub(crate) fn count(users: u64, revision: u64) -> Count {
    Count { users, revision: Revision(revision), ..Count::default() }
}

/// The answer to a report that was applied and changed the count to this one, which was published.
pub(crate) fn reply(count: Count) -> Reply {
    Reply {
        count,
        announced: count.revision,
        instances: 2,
        stored_sequence: Sequence::default(),
        ..Reply::default()
    }
}

/// Puts the local count into the view, as the observer does.
pub(crate) fn observe<V>(tally: &Tally<V>, view: &watch::Sender<View>) -> Local {
    let local = *tally.subscribe().borrow();
    view.send_modify(|view| view.observe(local));
    local
}

/// Has the store acknowledge the current local count, which was sent at `at` in the report that made this count.
pub(crate) fn acknowledge<V>(
    tally: &Tally<V>,
    view: &watch::Sender<View>,
    count: Count,
    at: Instant,
) {
    let local = observe(tally, view);
    answer_late(local, view, count, at);
}

/// The same for an earlier local count.
pub(crate) fn answer_late(local: Local, view: &watch::Sender<View>, count: Count, at: Instant) {
    let sequence = Sequence(count.revision.0);
    let sent = SentReport { sequence, local, is_site_told: true, at };
    view.send_modify(|view| view.fold_reply(sent, &reply(count), SiteUsers::default(), at));
}

/// A store that knows of no other instance and answers at once.
#[derive(Debug, Default)]
pub(crate) struct LonelyStore {
    counts: HashMap<String, u64>,
    /// The pairs of a room and a user.
    users: HashSet<(String, UserId)>,
    sequence: Sequence,
}

impl LonelyStore {
    /// A view that begins to report.
    pub(crate) fn view() -> View {
        let mut view = View::default();
        view.begin_incarnation(Incarnation::random(), LEASE_MAX);
        view
    }

    /// Another instance reports, and makes this revision.
    pub(crate) fn hears_others(&mut self) -> Revision {
        self.sequence = self.sequence.next();
        Revision(self.sequence.0)
    }

    /// Answers reports until the rooms have nothing to report.
    pub(crate) fn answer<V: fmt::Debug + Send + 'static>(
        &mut self,
        rooms: &Rooms<V>,
        view: &mut View,
        now: Instant,
    ) {
        while rooms.is_waiting(now) || self.sequence == Sequence::default() {
            self.sequence = self.sequence.next();
            view.report_sent(self.sequence);
            let RoomsToReport { rooms: said, sent, .. } = rooms.report(now);
            for room in &said {
                assert!(matches!(room.room, Room::Named(_)), "the site is left to others");
                let name = room.room.as_str().to_owned();
                for user in &room.users {
                    let pair = (name.clone(), user.user.clone());
                    let is_here = user.presence.is_here();
                    let _ =
                        if is_here { self.users.insert(pair) } else { self.users.remove(&pair) };
                }
                if let Some(connections) = room.connections {
                    self.counts.insert(name, connections);
                }
            }
            self.counts.retain(|_, count| *count > 0);
            let count = |room: &str| {
                let users = self.users.iter().filter(|(name, _)| name == room).count() as u64;
                users + self.counts.get(room).copied().unwrap_or(0)
            };
            let told = RoomsReply {
                rooms_held: self.counts.len() as u64,
                users_held: self.users.len() as u64,
                counts: said.iter().map(|room| count(room.room.as_str())).collect(),
                elsewhere: said.iter().flat_map(|room| &room.users).map(|_| false).collect(),
            };
            let revision = Revision(self.sequence.0);
            let count = Count { revision, ..Count::default() };
            let rooms_told = (!said.is_empty()).then_some(told);
            let reply = Reply { count, rooms: rooms_told, ..Reply::default() };
            let report = SentReport {
                sequence: self.sequence,
                local: Local::default(),
                is_site_told: true,
                at: now,
            };
            view.report_ended();
            let users = rooms.acknowledge(&sent, &reply, true);
            view.fold_reply(report, &reply, users, now);
            let standing = rooms.fold_reply(&sent, &reply, view, now);
            assert_eq!(standing, Standing::Kept);
        }
    }
}
