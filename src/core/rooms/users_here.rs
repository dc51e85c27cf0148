//! What lists of users need of the table of rooms: who is here, and in which rooms other users may be than before.

use std::{collections::BTreeMap, fmt, mem};

use tokio::sync::Notify;

use super::{Rooms, due::RoomId, table::Table};
use crate::core::{
    report::Room,
    room::{IdentityKind, RoomName, UserId},
    user_list::Info,
};

/// Rooms with a list in which other users may be than before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stirred {
    /// Announcements may have been missed: this may be so in all rooms.
    pub all: bool,
    /// The rooms, and whether it may be so in the store: not only here.
    pub rooms: Vec<(RoomName, bool)>,
}

/// What is stirred and was not taken yet. Only rooms with a list are noted, so it is bounded by their number.
#[derive(Debug, Default)]
pub(super) struct Stirs {
    all: bool,
    rooms: BTreeMap<RoomName, bool>,
}

/// The users of rooms of this instance, as lists need them: a part of [`Rooms`] without the type of its connections.
pub trait RoomUsers: fmt::Debug + Send + Sync + 'static {
    /// Takes out the rooms in which other users may be than before.
    fn take_stirred(&self) -> Stirred;

    /// Notified when there are such rooms.
    fn stirs(&self) -> &Notify;

    /// The users with a token who are in a room on this instance, at most `most`, in the order of their ids.
    fn users_here(&self, room: &RoomName, most: usize) -> Vec<(UserId, Info)>;
}

impl Stirs {
    /// Records that announcements may have been missed.
    pub(super) fn stir_all(&mut self) {
        self.all = true;
    }

    pub(super) fn any(&self) -> bool {
        self.all || !self.rooms.is_empty()
    }

    fn take(&mut self) -> Stirred {
        Stirred {
            all: mem::take(&mut self.all),
            rooms: mem::take(&mut self.rooms).into_iter().collect(),
        }
    }
}

impl<V> Table<V> {
    /// Records that other users may be in a room than before: here, or, if `is_elsewhere`, in the store.
    pub(super) fn stir(&mut self, id: RoomId, is_elsewhere: bool) {
        let Some(entry) = self.entry(id).filter(|entry| entry.is_listed) else { return };
        let Room::Named(name) = entry.room.clone() else { return };
        *self.stirs.rooms.entry(name).or_default() |= is_elsewhere;
    }
}

impl<V> Rooms<V> {
    /// Has changes of the users of a room noted for a list, as long as the room is in the table.
    pub fn keep_list(&self, id: RoomId) {
        if let Some(entry) = self.table().entry(id) {
            entry.is_listed = true;
        }
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
