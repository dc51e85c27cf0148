//! The rooms of this instance: who is in them here, what the store knows of that, and what is known of their counts.
//!
//! All rooms are in one table. A room is in it while connections are in it, while somebody watches it or asks for its count, and
//! until the store has acknowledged that nobody is in it here any more. The table knows neither sockets nor stores; the caller
//! chooses the type `V` that stands for a connection.
//!
//! Connections of the same user are counted once. A user whose last connection ends is counted for the grace after that. The users
//! of the site are in the table, too; everything else of the site is in the tally and in the view.
//!
//! ```text
//!  join, leave ──▶ ┌────────┐ ──▶ entries of reports ──▶ store
//!                  │ rooms  │
//!  take_due    ◀── └────────┘ ◀── replies, pages     ◀── store
//! ```

mod asked;
mod attendance;
mod draft;
mod due;
mod entry;
mod fold;
mod here;
mod key;
mod ledger;
mod lingering;
mod newcomers;
mod people;
mod reporting;
mod reports;
mod round;
mod settle;
mod site;
mod stirs;
mod table;
mod tidings;
mod users;

pub use due::{Attendance, DueRoom, PLACE_HELD_FOR, RoomId, RoomNewcomer, TooManyRooms};
pub use ledger::{RoomsToReport, SentRooms};
pub use reporting::RoomLedger;
pub use stirs::{RoomUsers, Stirred};
pub use tidings::{Page, Standing};

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    report::{ENTRIES_MAX, is_storable},
    room::{IdentityKind, Person, RoomName, UserId},
    site_users::UsersHere,
    tally::Local,
    user_list::Info,
    view::{Shown, View},
};
use lingering::Lingering;
use table::Table;

/// The rooms of this instance.
#[derive(Debug)]
pub struct Rooms<V> {
    table: Mutex<Table<V>>,
    /// The most rooms.
    most: usize,
    /// The local count of the site.
    local: watch::Sender<Local>,
    /// Changes when a room has something to tell, or a count that was asked for is known.
    news: watch::Sender<u64>,
    /// Notified when something is to be reported.
    reports: Notify,
    /// Notified when other users may be in a room with a list.
    stirs: Notify,
}

/// The limits of a table of rooms, and its grace.
#[derive(Clone, Copy, Debug)]
pub struct RoomsSettings {
    /// The most rooms.
    pub rooms_max: usize,
    /// How long a user is counted after his last connection in a room, or in the site.
    pub grace: Duration,
    /// The most users who may be counted so at a time, each in each room. Beyond it, the one who has been without a connection for
    /// longest is gone at once.
    pub lingering_max: usize,
    /// The most entries of a report: 2 to [`ENTRIES_MAX`]. With few entries, every change takes several reports.
    pub entries_max: usize,
}

impl Default for RoomsSettings {
    /// No rooms and no grace.
    fn default() -> Self {
        let grace = Duration::ZERO;
        Self { rooms_max: 0, grace, lingering_max: 0, entries_max: ENTRIES_MAX }
    }
}

/// What operators want to know of the rooms of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomsState {
    /// The rooms in the table.
    pub rooms: usize,
    /// The most rooms that may be in it.
    pub most: usize,
    /// Whether counts that are known are exact.
    pub are_exact: bool,
    /// The most rooms whose counts are still to be asked for.
    pub unread: usize,
    /// The most changes in rooms, and of users of the site, that no report has carried yet.
    pub changes_waiting: usize,
    /// Counted connections in rooms, one for each room that a connection is in.
    pub members: u64,
    /// What the store holds for this instance, by what it has acknowledged, beyond what is here: connections in rooms without an
    /// identity, and users with one, once for each room and for the site. It is 0 but for moments.
    pub drift: i64,
}

/// A connection's place in a room. Dropping it ends it.
#[derive(Debug)]
pub struct RoomPresence<V> {
    rooms: Arc<Rooms<V>>,
    id: RoomId,
    user: Option<UserId>,
    /// Whether it has said something of the user.
    is_informed: bool,
    attendance: Attendance,
    /// Numbers the newcomers of all rooms.
    arrival: u64,
}

impl<V> Rooms<V> {
    /// An empty table for at most this many rooms, without grace.
    pub fn new(rooms_max: usize) -> Arc<Self> {
        Self::with_settings(RoomsSettings { rooms_max, ..RoomsSettings::default() })
    }

    /// An empty table.
    pub fn with_settings(settings: RoomsSettings) -> Arc<Self> {
        let RoomsSettings { rooms_max, grace, lingering_max, entries_max } = settings;
        let local = watch::Sender::new(Local::default());
        let lingering = Lingering::new(grace, lingering_max);
        Arc::new(Self {
            table: Mutex::new(Table::new(entries_max, lingering, local.clone())),
            most: rooms_max,
            local,
            news: watch::Sender::new(0),
            reports: Notify::new(),
            stirs: Notify::new(),
        })
    }

    /// Puts a connection without an identity into a room, until the returned presence is dropped. It is a newcomer until
    /// [`Rooms::take_due`] hands it out.
    ///
    /// # Errors
    /// If the room is new, and there are as many as there may be.
    pub fn join(
        self: &Arc<Self>,
        room: &RoomName,
        attendance: Attendance,
        member: V,
        now: Instant,
    ) -> Result<RoomPresence<V>, TooManyRooms> {
        self.join_as(None, room, attendance, member, now)
    }

    /// The same for a connection of a person, who is counted once however many connections he has in the room. A watcher is not
    /// counted, whoever it is.
    ///
    /// # Errors
    /// If the room is new, and there are as many as there may be.
    pub fn join_as(
        self: &Arc<Self>,
        person: Option<Person>,
        room: &RoomName,
        attendance: Attendance,
        member: V,
        now: Instant,
    ) -> Result<RoomPresence<V>, TooManyRooms> {
        let person = person
            .map(|person| Person { info: person.info.filter(|it| is_storable(it)), ..person });
        let mut table = self.table();
        table.look_at_lingering(now);
        let id = table.find_or_add(room, self.most)?;
        let arrival = table.enter(id, person.as_ref(), attendance, member, now);
        self.changed(table);
        let is_informed = person.as_ref().is_some_and(|person| person.info.is_some());
        let user = person.map(|person| person.user);
        let rooms = Arc::clone(self);
        Ok(RoomPresence { rooms, id, user, is_informed, attendance, arrival })
    }

    /// Takes out the rooms that have something to tell at `now`. It must be called again when the view changes, when
    /// [`Rooms::subscribe`] says so, and when [`Rooms::patience_ends`].
    pub fn take_due(&self, view: &View, now: Instant) -> Vec<DueRoom<V>> {
        let mut table = self.table();
        let are_users_gone = table.expire(now);
        let due = table.take_due(view, now);
        let has_more = table.is_under_review();
        drop(table);
        if has_more {
            self.tell();
        }
        if are_users_gone {
            self.reports.notify_one();
        }
        due
    }

    /// When the newcomer that has waited longest is told the estimate; `None` if there are no newcomers.
    pub fn patience_ends(&self) -> Option<Instant> {
        self.table().patience_ends()
    }

    /// Asks for a room's count on behalf of a program, until `until`, which is as long after `now` for all programs. Once the count
    /// is known, [`Rooms::shown`] has it. If programs ask for as many rooms as they may, the one that nobody has asked for again for
    /// longest makes way, if that is [`PLACE_HELD_FOR`] ago.
    ///
    /// # Errors
    /// If none makes way, or the room is new and there are as many as there may be. A room whose count is known anyway, or about to
    /// be, since somebody is in it here, needs no place.
    pub fn ask(&self, room: &RoomName, now: Instant, until: Instant) -> Result<(), TooManyRooms> {
        let mut table = self.table();
        table.expire(now);
        let asked = table.ask(room, until, self.most);
        self.changed(table);
        asked
    }

    /// The count of a room; `None` if nothing is known of it, since nobody is in it here and nobody has asked for it, or the
    /// store has not answered yet. While no answer is to be expected, a room that is new here shows who is here.
    pub fn shown(&self, room: &RoomName, view: &View, now: Instant) -> Option<Shown> {
        self.table().shown(room.as_str(), view, now)
    }

    /// The counted connections in a room on this instance; 0 if there are none.
    pub fn connections(&self, room: &RoomName) -> u64 {
        self.table().named(room.as_str()).map_or(0, |entry| entry.members.into())
    }

    /// How many users there are in a room on this instance, by how they are known.
    pub fn users_here(&self, room: &RoomName) -> UsersHere {
        let table = self.table();
        let Some(entry) = table.named(room.as_str()) else { return UsersHere::default() };
        UsersHere { none: entry.anonymous.into(), ..entry.users.here() }
    }

    /// The number of rooms in the table.
    pub fn len(&self) -> usize {
        self.table().rooms.len()
    }

    /// Whether no room is in the table.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What operators want to know of the table. It takes no longer in a large table than in a small one.
    pub fn state(&self, view: &View, now: Instant) -> RoomsState {
        let table = self.table();
        RoomsState {
            rooms: table.rooms.len(),
            most: self.most,
            are_exact: table.tidings.exact_from(view, now).is_some(),
            unread: (table.ledger.wants.len() + table.ledger.reread.left()).min(table.rooms.len()),
            changes_waiting: table.ledger.news.keys.len() + table.ledger.site_news.keys.len(),
            members: table.ledger.here.members,
            drift: table.ledger.drift(),
        }
    }

    /// Changes when a room has something to tell, or a count that was asked for is known.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Has changes of the users of a room noted for a list, as long as the room is in the table.
    pub fn keep_list(&self, id: RoomId) {
        if let Some(entry) = self.table().entry(id) {
            entry.is_listed = true;
        }
    }

    fn leave(&self, presence: &RoomPresence<V>) {
        let RoomPresence { id, ref user, is_informed, attendance, arrival, .. } = *presence;
        let mut table = self.table();
        table.leave(id, user.as_ref().map(|user| (user, is_informed)), attendance, arrival);
        self.changed(table);
    }

    /// Wakes the readers of the counts if a room has something to tell, and the reporter if something is to be reported, somebody's
    /// grace is to begin, or a newcomer waits of which the readers do not know.
    fn changed(&self, mut table: MutexGuard<'_, Table<V>>) {
        let has_to_tell = table.take_has_to_tell();
        let has_to_report = table.has_to_report()
            || table.lingering.awaits_the_time()
            || (!has_to_tell && table.patience_ends().is_some());
        let is_stirred = table.stirs.any();
        drop(table);
        if is_stirred {
            self.stirs.notify_one();
        }
        if has_to_tell {
            self.tell();
        }
        if has_to_report {
            self.reports.notify_one();
        }
    }

    fn tell(&self) {
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }

    fn table(&self) -> MutexGuard<'_, Table<V>> {
        #[cfg(test)]
        crate::fixtures::turns::others_first();
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: fmt::Debug + Send + 'static> RoomUsers for Rooms<V> {
    fn take_stirred(&self) -> Stirred {
        self.table().stirs.take()
    }

    fn stirs(&self) -> &Notify {
        &self.stirs
    }

    fn users_here(&self, room: &RoomName, most: usize) -> Vec<(UserId, Info)> {
        let table = self.table();
        let Some(entry) = table.named(room.as_str()) else { return Vec::new() };
        let users = entry.users.all_here().filter(|(_, kind, _)| *kind == IdentityKind::Token);
        users.take(most).map(|(user, _, info)| (user.clone(), info)).collect()
    }
}

impl<V> RoomPresence<V> {
    /// The name of the room. All who are in it share its text.
    pub fn name(&self) -> RoomName {
        self.rooms.table().name(self.id)
    }

    /// The room.
    pub fn room(&self) -> RoomId {
        self.id
    }

    /// Whether the connection is counted.
    pub fn attendance(&self) -> Attendance {
        self.attendance
    }

    /// The user as whom the connection is counted; `None` if it has no identity, or watches.
    pub fn user(&self) -> Option<&UserId> {
        self.user.as_ref().filter(|_| self.attendance == Attendance::Member)
    }
}

impl<V> Drop for RoomPresence<V> {
    fn drop(&mut self) {
        self.rooms.leave(self);
    }
}

#[cfg(test)]
#[path = "rooms/tests.rs"]
mod tests;
