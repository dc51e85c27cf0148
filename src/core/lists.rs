//! The lists of users that clients of this instance want: of which rooms, what the store said of them last, and what has to be told.
//!
//! ```text
//!  clients want a list ──▶ ┌───────┐ ──▶ due lists ──▶ clients
//!  who is here         ──▶ │ lists │
//!  a room has changed  ──▶ └───────┘ ──▶ reads ──▶ store ──▶ people ──▶ back into the lists
//! ```
//!
//! A list is what the store said last, and the users who are here. It is read again when the store announces its room, when it has
//! acknowledged that a user is not here any more, when announcements were missed, and once in [`SWEEP_GAP`]; every list at most once in [`READ_GAP`], a list of a room of many users, which
//! is read in parts, at most once in so many times that. While the store is away or
//! recovers, nothing is read: whoever was elsewhere stays on the list, and those here come and go.

mod due;
mod table;

pub use due::{DueList, DueRead, LISTS_MAX, READ_GAP, SWEEP_GAP, TooManyLists};

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    people::People,
    room::{RoomName, UserId},
    user_list::Info,
};
use table::Table;

/// The lists that clients of this instance want.
#[derive(Debug)]
pub struct Lists<V> {
    table: Mutex<Table<V>>,
    /// Changes when a list has something to tell.
    news: watch::Sender<u64>,
    /// Notified when a list has to be read or updated.
    work: Notify,
}

/// A client's wish for the list of a room. Dropping it ends it.
pub struct ListWish {
    lists: Arc<dyn End>,
    room: RoomName,
}

/// The part of a table that a [`ListWish`] needs.
trait End: Send + Sync {
    fn end(&self, room: &RoomName);
}

impl<V> Lists<V> {
    /// No lists; at most `most` at a time.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(Table::new(most)),
            news: watch::Sender::new(0),
            work: Notify::new(),
        })
    }

    /// Records that a list may be another now: somebody has come or gone here, or, if `is_elsewhere`, perhaps in the store.
    pub fn stir(&self, room: &RoomName, is_elsewhere: bool) {
        if self.table().stir(room, is_elsewhere) {
            self.work.notify_one();
        }
    }

    /// Records that every list may be another in the store.
    pub fn stir_all(&self) {
        self.table().stir_all();
        self.work.notify_one();
    }

    /// Whether lists have to be computed again.
    pub fn has_updates(&self) -> bool {
        self.table().has_updates()
    }

    /// Takes out the rooms whose lists have to be computed again. [`Lists::update`] must follow for each.
    pub fn take_updates(&self) -> Vec<RoomName> {
        self.table().take_updates()
    }

    /// Computes a list again.
    pub fn update(&self, room: &RoomName, here: &[(UserId, Info)], is_kept: bool) {
        let mut table = self.table();
        table.update(room, here, is_kept);
        self.tell(table);
    }

    /// Takes out lists that are to be read at `now`, at most `most`. [`Lists::fold`] must follow for each.
    pub fn take_reads(&self, now: Instant, most: usize) -> Vec<DueRead> {
        self.table().take_reads(now, most)
    }

    /// When the next list is to be read.
    pub fn next_read(&self) -> Option<Instant> {
        self.table().next_read()
    }

    /// Takes over what the store said; `None` if it did not answer, or what it said is worth nothing: then the list is read
    /// again.
    pub fn fold(&self, read: &DueRead, people: Option<People>, now: Instant) {
        self.table().fold(read, people, now);
        self.work.notify_one();
    }

    /// Notified when a list has to be read or updated.
    pub fn work(&self) -> &Notify {
        &self.work
    }

    /// Takes out the lists that have something to tell at `now`. It must be called again when [`Lists::subscribe`] says so, and when
    /// [`Lists::patience_ends`].
    pub fn take_due(&self, now: Instant) -> Vec<DueList<V>> {
        self.table().take_due(now)
    }

    /// When the newcomer that has waited longest is told what is known.
    pub fn patience_ends(&self) -> Option<Instant> {
        self.table().patience_ends()
    }

    /// Changes when a list has something to tell.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The number of lists.
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Whether nobody wants a list.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tell(&self, table: MutexGuard<'_, Table<V>>) {
        let is_due = table.is_due();
        drop(table);
        if is_due {
            self.news.send_modify(|news| *news = news.wrapping_add(1));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table<V>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Send + 'static> Lists<V> {
    /// Has a client told the list of a room, until the returned wish is dropped.
    ///
    /// # Errors
    /// If the list is new, and there are as many as there may be.
    pub fn want(
        self: &Arc<Self>,
        room: &RoomName,
        member: V,
        now: Instant,
    ) -> Result<ListWish, TooManyLists> {
        self.table().want(room, member, now)?;
        self.work.notify_one();
        let lists: Arc<Self> = Arc::clone(self);
        Ok(ListWish { lists, room: room.clone() })
    }
}

impl<V: Send> End for Lists<V> {
    fn end(&self, room: &RoomName) {
        let mut table = self.table();
        table.end(room);
        self.tell(table);
    }
}

impl Drop for ListWish {
    fn drop(&mut self) {
        self.lists.end(&self.room);
    }
}

impl fmt::Debug for ListWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListWish").field("room", &self.room).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "lists/tests.rs"]
mod tests;
