//! What the table of lists hands out, and its times and limits.

use std::{sync::Arc, time::Duration};

use crate::core::{
    room::{RoomName, UserId},
    user_list::UserList,
};

/// The least time between two readings of one list, for each part in which it is read.
pub const READ_GAP: Duration = Duration::from_millis(100);
/// The longest time between two readings. It heals what was edited in the store without an announcement.
pub const SWEEP_GAP: Duration = Duration::from_secs(30);
/// How long a client waits for the first reading of its list. After that it is told those who are here.
pub(super) const FIRST_LIST_WITHIN: Duration = Duration::from_millis(250);
/// The most lists of one instance.
pub const LISTS_MAX: usize = 1000;

/// There are as many lists as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are too many lists on this instance")]
pub struct TooManyLists;

/// A list that has something to tell.
#[derive(Debug)]
pub struct DueList<V> {
    /// The room.
    pub room: RoomName,
    /// The newest list, and its number, which no other list has. `None` if nobody wants the list any more.
    pub list: Option<(u64, Arc<UserList>)>,
    /// Clients that have not been told a list yet.
    pub newcomers: Vec<V>,
}

/// A list that is to be read from the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRead {
    /// The room.
    pub room: RoomName,
    /// Those who are on the list now.
    pub listed: Vec<UserId>,
    /// Which of the lists of this room. A list that nobody wanted for a while is another one.
    pub(super) life: u64,
}
