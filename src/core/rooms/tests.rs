//! Tests of the table of rooms against a store of which each test says what it answers.

use std::{fmt::Write as _, time::Duration};

use super::*;
use crate::core::{
    count::{Count, Incarnation, Revision, Sequence},
    report::{Outcome, Reply, Room, RoomReport, RoomsReply, UserPresence},
    room::IdentityKind,
    site_users::SiteUsers,
    tally::{NEWCOMER_PATIENCE, SiteLedger},
    view::SentReport,
};

#[path = "tests/counts.rs"]
mod counts;
#[path = "tests/drift.rs"]
mod drift;
#[path = "tests/newcomers.rs"]
mod newcomers;
#[path = "tests/people.rs"]
mod people;
#[path = "tests/reports.rs"]
mod reports;
#[path = "tests/site.rs"]
mod site;
#[path = "tests/wakes.rs"]
mod wakes;

const LEASE: Duration = Duration::from_secs(2);

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn person(id: &str) -> Person {
    Person { user: UserId::parse(id).unwrap(), kind: IdentityKind::Visitor, info: None }
}

/// An instance with rooms, whose reports the test answers.
struct Story {
    rooms: Arc<Rooms<&'static str>>,
    view: View,
    sequence: Sequence,
    now: Instant,
}

/// A report that is under way.
struct Sent {
    report: SentReport,
    rooms: SentRooms,
    said: Vec<RoomReport>,
    resending: bool,
    pages_missed: u64,
}

impl Story {
    fn new() -> Self {
        Self::in_portions(ENTRIES_MAX)
    }

    fn in_portions(entries_max: usize) -> Self {
        Self::with_settings(RoomsSettings {
            rooms_max: 100,
            entries_max,
            ..RoomsSettings::default()
        })
    }

    fn with_settings(settings: RoomsSettings) -> Self {
        let mut view = View::default();
        view.begin_incarnation(Incarnation::random(), LEASE);
        let rooms = Rooms::with_settings(settings);
        Self { rooms, view, sequence: Sequence(0), now: Instant::now() }
    }

    fn join(&self, name: &str) -> RoomPresence<&'static str> {
        self.rooms.join(&room(name), Attendance::Member, "member", self.now).unwrap()
    }

    fn watch(&self, name: &str) -> RoomPresence<&'static str> {
        self.rooms.join(&room(name), Attendance::Watcher, "watcher", self.now).unwrap()
    }

    fn join_as(&self, id: &str, name: &str) -> RoomPresence<&'static str> {
        let person = Some(person(id));
        self.rooms.join_as(person, &room(name), Attendance::Member, "member", self.now).unwrap()
    }

    fn send(&mut self) -> Sent {
        self.sequence = self.sequence.next();
        self.view.report_sent(self.sequence);
        let RoomsToReport { rooms: said, resending, pages_missed, is_site_told, sent: rooms } =
            self.rooms.report(self.now);
        let (sequence, local) = (self.sequence, *self.rooms.local.borrow());
        self.view.observe(local);
        self.view.observe_users(self.rooms.site_users());
        let report = SentReport { sequence, local, is_site_told, at: self.now };
        Sent { report, rooms, said, resending, pages_missed }
    }

    /// The store applies a report, and answers with these counts of its rooms.
    fn answer(&mut self, sent: &Sent, revision: u64, counts: &[u64]) -> Standing {
        let rooms = RoomsReply { counts: counts.to_vec(), ..held_after(&sent.said) };
        self.answer_with(sent, revision, rooms)
    }

    fn answer_with(&mut self, sent: &Sent, revision: u64, rooms: RoomsReply) -> Standing {
        let count = Count { revision: Revision(revision), ..Count::default() };
        let reply = Reply { count, rooms: Some(rooms), ..Reply::default() };
        self.receive(sent, &reply)
    }

    fn receive(&mut self, sent: &Sent, reply: &Reply) -> Standing {
        self.view.report_ended();
        let is_reckoned = self.view.reckons(sent.report, reply);
        let users = self.rooms.acknowledge(&sent.rooms, reply, is_reckoned);
        self.view.fold_reply(sent.report, reply, users, self.now);
        self.rooms.fold_reply(&sent.rooms, reply, &self.view, self.now)
    }

    fn lose(&mut self, sent: &Sent) {
        self.view.report_ended();
        self.view.mark_unreachable();
        self.rooms.abandon(&sent.rooms);
    }

    fn page(&mut self, since: u64, revision: u64, counts: &[(&str, u64)]) {
        let counts: Vec<_> = counts.iter().map(|(name, count)| (room(name), *count)).collect();
        let (since, revision) = (Revision(since), Revision(revision));
        let page = Page { revision, since, counts: &counts };
        self.rooms.fold_page(page, &self.view, self.now);
    }

    fn shown(&self, name: &str) -> Option<Shown> {
        self.rooms.shown(&room(name), &self.view, self.now)
    }

    /// The count of a room, marked with `~` if it is an estimate.
    fn told(&self, name: &str) -> String {
        let Some(shown) = self.shown(name) else { return "unknown".to_owned() };
        format!("{}{}", if shown.exact { "" } else { "~" }, shown.users)
    }

    fn take_due(&self) -> Vec<DueRoom<&'static str>> {
        self.rooms.take_due(&self.view, self.now)
    }
}

/// What the store holds after a report that named all rooms of the instance.
fn held_after(said: &[RoomReport]) -> RoomsReply {
    let rooms = said.iter().filter(|room| room.connections.is_some_and(|it| it > 0)).count();
    let users = said.iter().flat_map(|room| &room.users);
    let here = users.clone().filter(|user| user.presence != UserPresence::Gone).count();
    RoomsReply {
        rooms_held: rooms as u64,
        users_held: here as u64,
        counts: Vec::new(),
        elsewhere: vec![false; users.count()],
    }
}

/// A report in short: rooms with their connections and users.
fn words(said: &[RoomReport]) -> String {
    let mut text = String::new();
    for RoomReport { room, connections, users } in said {
        assert!(*room != Room::Site || connections.is_none(), "the tally counts those");
        let separator = if text.is_empty() { "" } else { " " };
        write!(text, "{separator}{}=", room.as_str()).unwrap();
        match connections {
            Some(connections) => write!(text, "{connections}").unwrap(),
            None => text.push('?'),
        }
        for user in users {
            let sign = if user.presence == UserPresence::Gone { '-' } else { '+' };
            write!(text, "{sign}{}", user.user.as_str()).unwrap();
        }
    }
    text
}
