//! The rooms that programs ask for: each is watched on this instance for a minute after every request. It never asks the
//! store itself: a room that is watched is one more entry in a report.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::room_query::{ROOMS_MAX, Refusal};
use crate::{
    access::rooms::{RoomPatterns, RoomRules},
    core::{
        report::Room,
        room::RoomName,
        room_counts::RoomCounts,
        view::{Shown, View},
    },
};

/// How long a room is watched after a request for it. A program that asks once a minute or more often gets every answer from
/// memory.
pub(super) const WATCHED_FOR: Duration = Duration::from_mins(1);
/// How long the first request for a room may wait for the store. A healthy store answers in a few milliseconds, and people
/// begin to notice a delay at about a quarter of a second.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// Programs may fill one in this many places of the table of rooms. The rest is for clients.
const SHARE: usize = 10;

/// The rooms of a site, as programs see them.
#[derive(Debug)]
pub struct SiteRooms {
    rules: RoomRules,
    counts: Arc<dyn RoomCounts>,
    asked: Mutex<Asked>,
    /// The most rooms that are watched for programs at a time.
    asked_max: usize,
}

/// The rooms that programs have asked for, and until when they are watched.
#[derive(Debug, Default)]
struct Asked {
    until: HashMap<RoomName, Instant>,
    /// Each room once. Its time is that of its end or, if it was asked for again since, an earlier one.
    ends: BTreeSet<(Instant, RoomName)>,
}

impl SiteRooms {
    /// The rooms of this table.
    pub fn new(rules: RoomRules, counts: Arc<dyn RoomCounts>) -> Self {
        let asked_max = (rules.most / SHARE).max(ROOMS_MAX).min(rules.most);
        Self { rules, counts, asked: Mutex::default(), asked_max }
    }

    /// The rooms that may be asked for.
    pub(super) fn allowed(&self) -> &RoomPatterns {
        &self.rules.allowed
    }

    /// Watches these rooms for the next minute. The site is always watched.
    ///
    /// # Errors
    /// If there is no place for a room whose count is not known anyway.
    pub(super) fn ask(&self, rooms: &[Room], view: &View, now: Instant) -> Result<(), Refusal> {
        let until = now + WATCHED_FOR;
        for room in names(rooms) {
            let is_asked =
                self.take_place(room, now, until) && self.counts.ask(room, until).is_ok();
            if !is_asked && self.counts.shown(room, view, now).is_none() {
                return Err(Refusal::Full);
            }
        }
        Ok(())
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

    /// The count of a room. What is not known is an estimate: the connections on this instance.
    pub(super) fn shown(&self, room: &RoomName, view: &View, now: Instant) -> Shown {
        let estimate = || Shown {
            users: self.counts.connections(room),
            revision: Default::default(),
            exact: false,
        };
        self.counts.shown(room, view, now).unwrap_or_else(estimate)
    }

    /// The counted connections in a room on this instance.
    pub(super) fn connections(&self, room: &RoomName) -> u64 {
        self.counts.connections(room)
    }

    /// Changes when the count of a room may have changed.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.counts.subscribe()
    }

    /// Whether there is a place for a room among those that are asked for.
    fn take_place(&self, room: &RoomName, now: Instant, until: Instant) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.forget_ended(now);
        asked.add(room, until, self.asked_max)
    }
}

fn names(rooms: &[Room]) -> impl Iterator<Item = &RoomName> {
    rooms.iter().filter_map(|room| match room {
        Room::Site => None,
        Room::Named(name) => Some(name),
    })
}

impl Asked {
    /// Adds a room, or extends its time. Returns false if it is new and there are `most` already.
    fn add(&mut self, room: &RoomName, until: Instant, most: usize) -> bool {
        if let Some(end) = self.until.get_mut(room) {
            *end = until;
            return true;
        }
        if self.until.len() >= most {
            return false;
        }
        self.until.insert(room.clone(), until);
        self.ends.insert((until, room.clone()));
        true
    }

    /// Forgets the rooms whose time is over.
    fn forget_ended(&mut self, now: Instant) {
        while self.ends.first().is_some_and(|(end, _)| *end <= now) {
            let Some((_, room)) = self.ends.pop_first() else { return };
            match self.until.get(&room).copied() {
                Some(end) if end > now => {
                    self.ends.insert((end, room));
                }
                _ => {
                    self.until.remove(&room);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "site_rooms/tests.rs"]
mod tests;
