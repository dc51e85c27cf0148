//! A table of rooms for tests of the API: the test says what the store answers, and when.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{sync::watch, time::Instant};

use crate::core::{
    count::Revision,
    room::RoomName,
    room_counts::RoomCounts,
    rooms::TooManyRooms,
    site_users::UsersHere,
    tally::Local,
    view::{Shown, View},
};

/// A table whose counts come when the test says so.
#[derive(Debug, Default)]
pub(super) struct ScriptedRooms {
    counts: Mutex<HashMap<String, u64>>,
    /// How often a room was asked for.
    pub(super) asked: AtomicUsize,
    /// Where somebody joins the site each time its users are asked for.
    pub(super) joined: Mutex<Option<watch::Sender<Local>>>,
    /// Whether no room is taken.
    is_full: bool,
    news: watch::Sender<u64>,
}

impl ScriptedRooms {
    /// A table that takes no room.
    pub(super) fn full() -> Self {
        Self { is_full: true, ..Self::default() }
    }

    /// The store answers: this many are in a room.
    pub(super) fn know(&self, room: &str, users: u64) {
        self.counts.lock().unwrap().insert(room.to_owned(), users);
        self.news.send_modify(|news| *news += 1);
    }
}

impl RoomCounts for ScriptedRooms {
    fn ask(&self, _: &RoomName, _: Instant, _: Instant) -> Result<(), TooManyRooms> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.is_full { Err(TooManyRooms) } else { Ok(()) }
    }

    fn shown(&self, room: &RoomName, _: &View, _: Instant) -> Option<Shown> {
        let users = *self.counts.lock().unwrap().get(room.as_str())?;
        Some(Shown { users, revision: Revision(7), exact: true })
    }

    fn connections(&self, _: &RoomName) -> u64 {
        2
    }

    fn users_here(&self, _: &RoomName) -> UsersHere {
        UsersHere { token: 1, ..UsersHere::default() }
    }

    fn site_users_here(&self) -> UsersHere {
        if let Some(local) = &*self.joined.lock().unwrap() {
            local.send_modify(|local| local.connections += 1);
        }
        UsersHere { token: 1, visitor: 2, none: 0 }
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}
