//! What the table of rooms hands out, and for how long it keeps a place for a program.

use std::time::Duration;

use tokio::time::Instant;

use crate::core::{included::Included, room::RoomName, view::Shown};

/// A room of this instance. A room that was dropped from the table and is back has another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId {
    pub(super) key: u32,
    pub(super) life: u32,
}

impl RoomId {
    /// The site, of which the table holds the users with an identity.
    pub(super) const SITE: Self = Self { key: u32::MAX, life: 0 };

    /// A small number, by which a table can be indexed. No two rooms that are in the table of rooms have the same.
    pub fn index(self) -> usize {
        self.key as usize
    }
}

/// Whether a connection in a room is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attendance {
    /// It is counted, and told the count.
    Member,
    /// It is told the count, and not counted.
    Watcher,
}

/// How long a room that a program has asked for keeps its place if others want it. Readers of a stream ask again before that, so
/// they keep their places; a stranger who asks once for as many rooms as there are places holds them no longer.
pub const PLACE_HELD_FOR: Duration = Duration::from_secs(10);

/// The instance has as many rooms as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are too many rooms on this instance")]
pub struct TooManyRooms;

/// A room that has something to tell.
#[derive(Debug)]
pub struct DueRoom<V> {
    /// The room.
    pub id: RoomId,
    /// Its name.
    pub name: RoomName,
    /// Its count.
    pub shown: Shown,
    /// Which changes of who is in it here that count includes.
    pub included: Included,
    /// Whether the connections that were in the room before are to be told the count: they were told another one last.
    pub changed: bool,
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
    /// The change by which it joined, if the store may not have counted it yet: an exact count may leave it out.
    pub uncounted: Option<u64>,
}
