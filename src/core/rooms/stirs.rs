//! In which rooms other users may be than before, for lists of them; and who is here.

use std::{collections::BTreeMap, fmt, mem};

use tokio::sync::Notify;

use crate::core::{
    room::{RoomName, UserId},
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

/// The users of rooms of this instance, as lists need them: a part of the table of rooms without the type of its connections.
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

    /// Records that other users may be in a room.
    pub(super) fn stir(&mut self, room: RoomName, is_elsewhere: bool) {
        *self.rooms.entry(room).or_default() |= is_elsewhere;
    }

    pub(super) fn take(&mut self) -> Stirred {
        Stirred {
            all: mem::take(&mut self.all),
            rooms: mem::take(&mut self.rooms).into_iter().collect(),
        }
    }
}
