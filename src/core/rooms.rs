//! The rooms of this instance: who is in them here, what the store knows of that, and what is known of their counts.
//!
//! All rooms are in one table. A room is in it while connections are in it, while somebody watches it or asks for its count, and
//! until the store has acknowledged that nobody is in it here any more. The table knows neither sockets nor stores; the caller
//! chooses the type `V` that stands for a connection.
//!
//! ```text
//!  join, leave ──▶ ┌────────┐ ──▶ entries of reports ──▶ store
//!                  │ rooms  │
//!  take_due    ◀── └────────┘ ◀── replies, pages     ◀── store
//! ```

mod draft;
mod due;
mod entry;
mod fold;
mod ledger;
mod round;
mod settle;
mod table;
mod tidings;
mod users_here;

pub use due::{Attendance, DueRoom, RoomId, RoomNewcomer, TooManyRooms};
pub use ledger::{RoomsToReport, SentRooms};
pub use tidings::{Page, Standing};
pub use users_here::{RoomUsers, Stirred};

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    count::Count,
    report::{ENTRIES_MAX, Reply},
    room::{RoomName, UserId},
    view::{Shown, View},
};
use table::Table;

/// The rooms of this instance.
#[derive(Debug)]
pub struct Rooms<V> {
    table: Mutex<Table<V>>,
    /// The most rooms.
    most: usize,
    /// Changes when a room has something to tell, or a count that was asked for is known.
    news: watch::Sender<u64>,
    /// Notified when something is to be reported.
    reports: Notify,
    /// Notified when other users may be in a room with a list.
    stirs: Notify,
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
    /// The most changes that no report has carried yet.
    pub changes_waiting: usize,
}

/// A connection's place in a room. Dropping it ends it.
#[derive(Debug)]
pub struct RoomPresence<V> {
    rooms: Arc<Rooms<V>>,
    id: RoomId,
    user: Option<UserId>,
    attendance: Attendance,
    /// Numbers the newcomers of all rooms.
    arrival: u64,
}

impl<V> Rooms<V> {
    /// An empty table for at most this many rooms.
    pub fn new(most: usize) -> Arc<Self> {
        Self::in_portions(most, ENTRIES_MAX)
    }

    /// An empty table whose reports have at most this many entries: 2 to [`ENTRIES_MAX`]. With few entries, every change takes
    /// several reports.
    pub fn in_portions(most: usize, entries_max: usize) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(Table::new(entries_max)),
            most,
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

    /// The same for a connection of a user, who is counted once however many connections he has in the room. A watcher is not
    /// counted, whoever it is.
    ///
    /// # Errors
    /// If the room is new, and there are as many as there may be.
    pub fn join_as(
        self: &Arc<Self>,
        user: Option<UserId>,
        room: &RoomName,
        attendance: Attendance,
        member: V,
        now: Instant,
    ) -> Result<RoomPresence<V>, TooManyRooms> {
        let mut table = self.table();
        let id = table.find_or_add(room, self.most)?;
        let arrival = table.enter(id, user.as_ref(), attendance, member, now);
        self.changed(table);
        Ok(RoomPresence { rooms: Arc::clone(self), id, user, attendance, arrival })
    }

    /// Takes out the rooms that have something to tell at `now`. It must be called again when the view changes, when
    /// [`Rooms::subscribe`] says so, and when [`Rooms::patience_ends`].
    pub fn take_due(&self, view: &View, now: Instant) -> Vec<DueRoom<V>> {
        let mut table = self.table();
        let due = table.take_due(view, now);
        let has_more = table.is_under_review();
        drop(table);
        if has_more {
            self.tell();
        }
        due
    }

    /// When the newcomer that has waited longest is told the estimate; `None` if there are no newcomers.
    pub fn patience_ends(&self) -> Option<Instant> {
        self.table().patience_ends()
    }

    /// Asks for a room's count on behalf of a program, until `until`. Once the count is known, [`Rooms::shown`] has it.
    ///
    /// # Errors
    /// If programs ask for as many rooms as they may, or the room is new and there are as many as there may be.
    pub fn ask(&self, room: &RoomName, now: Instant, until: Instant) -> Result<(), TooManyRooms> {
        let mut table = self.table();
        table.expire(now);
        let asked = table.ask(room, until, self.most);
        self.changed(table);
        asked
    }

    /// The count of a room; `None` if nothing is known of it, since nobody is in it here and nobody has asked for it, or the
    /// store has not answered yet.
    pub fn shown(&self, room: &RoomName, view: &View, now: Instant) -> Option<Shown> {
        self.table().shown(room.as_str(), view, now)
    }

    /// The counted connections in a room on this instance; 0 if there are none.
    pub fn connections(&self, room: &RoomName) -> u64 {
        self.table().named(room.as_str()).map_or(0, |entry| entry.members)
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
            changes_waiting: table.ledger.news.len(),
        }
    }

    /// Changes when a room has something to tell, or a count that was asked for is known.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn leave(&self, presence: &RoomPresence<V>) {
        let RoomPresence { id, ref user, attendance, arrival, .. } = *presence;
        let mut table = self.table();
        table.leave(id, user.as_ref(), attendance, arrival);
        self.changed(table);
    }

    /// Wakes the readers of the counts if a room is due, and the reporter if something is to be reported.
    fn changed(&self, table: MutexGuard<'_, Table<V>>) {
        let (is_due, has_to_report) = (!table.due.is_empty(), table.has_to_report());
        let is_stirred = table.stirs.any();
        drop(table);
        if is_stirred {
            self.stirs.notify_one();
        }
        if is_due {
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
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rooms of this instance, as reports and announcements need them: [`Rooms`] without the type of its connections.
pub trait RoomLedger: fmt::Debug + Send + Sync + 'static {
    /// What the next report says of rooms. [`RoomLedger::fold_reply`] or [`RoomLedger::abandon`] must follow once it has ended.
    fn report(&self, now: Instant) -> RoomsToReport;

    /// Folds in the reply to a report of the present incarnation. The view has folded it in before.
    fn fold_reply(&self, sent: &SentRooms, reply: &Reply, view: &View, now: Instant) -> Standing;

    /// Records that a report was not answered, or was one of a former incarnation.
    fn abandon(&self, sent: &SentRooms);

    /// Records that the store denied a report because of what it said of rooms. For some seconds, reports say nothing of them,
    /// and all their counts are estimates. Returns whether that is news.
    fn deny(&self, sent: &SentRooms, now: Instant) -> bool;

    /// Begins a new incarnation: the store holds nothing of it.
    fn begin_incarnation(&self);

    /// Takes over from an announcement of the site whether the store is recovering.
    fn fold_count(&self, count: Count);

    /// Folds in an announcement of rooms.
    fn fold_page(&self, page: Page<'_>, view: &View, now: Instant);

    /// Records that a subscription has begun. Announcements before it may have been missed.
    fn subscribed(&self);

    /// Whether something is to be reported as soon as the gap between reports allows.
    fn is_waiting(&self, now: Instant) -> bool;

    /// When an announcement that has not arrived is missed.
    fn page_overdue(&self) -> Option<Instant>;

    /// Notified when something is to be reported.
    fn reports(&self) -> &Notify;
}

impl<V: fmt::Debug + Send + 'static> RoomLedger for Rooms<V> {
    fn report(&self, now: Instant) -> RoomsToReport {
        self.table().report(now)
    }

    fn fold_reply(&self, sent: &SentRooms, reply: &Reply, view: &View, now: Instant) -> Standing {
        let mut table = self.table();
        let standing = table.fold_reply(sent, reply, view, now);
        self.changed(table);
        standing
    }

    fn abandon(&self, sent: &SentRooms) {
        self.table().abandon(sent);
    }

    fn deny(&self, sent: &SentRooms, now: Instant) -> bool {
        let mut table = self.table();
        let is_news = !table.tidings.is_denied();
        table.deny(sent, now);
        drop(table);
        // All counts are estimates now.
        self.tell();
        is_news
    }

    fn begin_incarnation(&self) {
        let mut table = self.table();
        table.begin_incarnation();
        self.changed(table);
    }

    fn fold_count(&self, count: Count) {
        let mut table = self.table();
        table.fold_mark(count);
        self.changed(table);
    }

    fn fold_page(&self, page: Page<'_>, view: &View, now: Instant) {
        let mut table = self.table();
        table.fold_page(page, view, now);
        self.changed(table);
    }

    fn subscribed(&self) {
        let mut table = self.table();
        table.subscribed();
        self.changed(table);
    }

    fn is_waiting(&self, now: Instant) -> bool {
        self.table().is_waiting(now)
    }

    fn page_overdue(&self) -> Option<Instant> {
        self.table().tidings.page_overdue()
    }

    fn reports(&self) -> &Notify {
        &self.reports
    }
}

impl<V> RoomPresence<V> {
    /// The room.
    pub fn room(&self) -> RoomId {
        self.id
    }

    /// Whether the connection is counted.
    pub fn attendance(&self) -> Attendance {
        self.attendance
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
