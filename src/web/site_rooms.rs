//! The rooms that programs ask for: each is watched on this instance for a minute after every request. It never asks the
//! store itself: a room that is watched is one more entry in a report.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::room_query::Refusal;
use crate::{
    access::rooms::{RoomPatterns, RoomRules},
    core::{
        count::Revision,
        report::Room,
        room::RoomName,
        room_counts::RoomCounts,
        rooms::TooManyRooms,
        site_users::UsersHere,
        view::{Shown, View},
    },
};

/// How long a room is watched after a request for it. A program that asks once a minute or more often gets every answer from
/// memory.
pub(super) const WATCHED_FOR: Duration = Duration::from_mins(1);
/// How long the first request for a room may wait for the store. A healthy store answers in a few milliseconds, and people
/// begin to notice a delay at about a quarter of a second.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_millis(300);

/// The rooms of a site, as programs see them.
#[derive(Debug)]
pub struct SiteRooms {
    rules: RoomRules,
    counts: Arc<dyn RoomCounts>,
}

impl SiteRooms {
    /// The rooms of this table.
    pub fn new(rules: RoomRules, counts: Arc<dyn RoomCounts>) -> Self {
        Self { rules, counts }
    }

    /// The rooms that may be asked for.
    pub(super) fn allowed(&self) -> &RoomPatterns {
        &self.rules.allowed
    }

    /// Whether the users of a room may be listed for the bearer of a token.
    pub(super) fn is_listed(&self, room: &RoomName) -> bool {
        self.rules.listed.allow(room)
    }

    /// Whether a room may be asked for only with a token.
    pub(super) fn is_private(&self, room: &Room) -> bool {
        self.rules.is_private(room)
    }

    /// Watches these rooms for the next minute. The site is always watched.
    ///
    /// # Errors
    /// If there is no place for one of them.
    pub(super) fn ask(&self, rooms: &[Room], now: Instant) -> Result<(), Refusal> {
        let watched =
            names(rooms).try_for_each(|room| self.counts.ask(room, now, now + WATCHED_FOR));
        watched.map_err(|TooManyRooms| Refusal::Full)
    }

    /// Waits until the counts of these rooms are known, for a short time at most.
    pub(super) async fn wait_for(&self, rooms: &[Room], view: &watch::Receiver<View>) {
        let mut news = self.counts.subscribe();
        let all_known = async {
            for room in names(rooms) {
                loop {
                    news.mark_unchanged();
                    let view = *view.borrow();
                    if self.counts.shown(room, &view, Instant::now()).is_some() {
                        break;
                    }
                    if news.changed().await.is_err() {
                        return;
                    }
                }
            }
        };
        // After an error the caller shows what is known.
        let _ = timeout(FIRST_ANSWER_WITHIN, all_known).await;
    }

    /// The count of a room. What is not known is an estimate: the users on this instance.
    pub(super) fn shown(&self, room: &RoomName, view: &View, now: Instant) -> Shown {
        let estimate = || Shown {
            users: self.counts.users_here(room).total(),
            revision: Revision::default(),
            exact: false,
        };
        self.counts.shown(room, view, now).unwrap_or_else(estimate)
    }

    /// The counted connections in a room on this instance.
    pub(super) fn connections(&self, room: &RoomName) -> u64 {
        self.counts.connections(room)
    }

    /// The users of the site with an identity on this instance.
    pub(super) fn site_users_here(&self) -> UsersHere {
        self.counts.site_users_here()
    }

    /// Changes when the count of a room may have changed.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.counts.subscribe()
    }
}

fn names(rooms: &[Room]) -> impl Iterator<Item = &RoomName> {
    rooms.iter().filter_map(|room| match room {
        Room::Site => None,
        Room::Named(name) => Some(name),
    })
}

#[cfg(test)]
#[path = "site_rooms/tests.rs"]
mod tests;
