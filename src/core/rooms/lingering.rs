//! Users whose last connection in a room has ended, and who are counted for the grace after it. So a reload of a page, or a move to
//! another instance, changes no count.
//!
//! The core has no clock: a connection ends without saying when. So the grace begins when somebody who knows the time looks at
//! the table next, which the end of the connection asks for.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::due::RoomId;
use crate::core::{prune::Prune, room::UserId};

/// Who lingers, and for how long.
#[derive(Debug, Default)]
pub(super) struct Lingering {
    grace: Duration,
    /// The most that may linger. Beyond it, the one who has lingered longest is gone at once.
    most: usize,
    /// In the order of the ends of their connections, also some who are back.
    queue: VecDeque<Lingerer>,
    /// How many linger.
    present: usize,
    /// The number of the newest one.
    newest: u32,
    prune: Prune,
}

/// A user who lingers in a room.
#[derive(Clone, Debug)]
pub(super) struct Lingerer {
    pub(super) id: RoomId,
    pub(super) user: UserId,
    /// If the user has another number, he was back meanwhile.
    pub(super) number: u32,
    /// When the grace ends; `None` until it has begun.
    ends: Option<Instant>,
}

impl Lingering {
    pub(super) fn new(grace: Duration, most: usize) -> Self {
        Self { grace, most, ..Self::default() }
    }

    /// Whether the grace of somebody is to begin.
    pub(super) fn awaits_the_time(&self) -> bool {
        self.queue.back().is_some_and(|last| last.ends.is_none())
    }

    /// How many linger.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    /// How many are in the queue, with those who are back.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether more linger than may.
    pub(super) fn are_too_many(&self) -> bool {
        self.present > self.most
    }

    /// A number for a user's stay; `None` if nobody may stay.
    pub(super) fn number(&mut self) -> Option<u32> {
        if self.grace.is_zero() || self.most == 0 {
            return None;
        }
        self.newest = self.newest.wrapping_add(1).max(1);
        Some(self.newest)
    }

    /// Adds a user, whose grace begins when the time is known. `is_lingering` says who is not back yet.
    pub(super) fn add(
        &mut self,
        id: RoomId,
        user: UserId,
        number: u32,
        mut is_lingering: impl FnMut(&Lingerer) -> bool,
    ) {
        self.prune.if_due(self.queue.len(), || {
            self.queue.retain(&mut is_lingering);
            self.queue.len()
        });
        self.queue.push_back(Lingerer { id, user, number, ends: None });
        self.present += 1;
    }

    /// Records that one of them is back, or gone.
    pub(super) fn ended(&mut self) {
        self.present -= 1;
    }

    /// Begins the grace of those who wait for it.
    pub(super) fn begin(&mut self, now: Instant) {
        let ends = Some(now + self.grace);
        let waiting = self.queue.iter_mut().rev().take_while(|it| it.ends.is_none());
        waiting.for_each(|it| it.ends = ends);
    }

    /// The first in the queue, and when the grace ends.
    pub(super) fn first(&self) -> Option<(&Lingerer, Option<Instant>)> {
        self.queue.front().map(|first| (first, first.ends))
    }

    /// Takes out the first.
    pub(super) fn take_first(&mut self) -> Option<Lingerer> {
        self.queue.pop_front()
    }
}
