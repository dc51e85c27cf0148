//! The rooms that programs ask for, and how many that may be.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::due::{PLACE_HELD_FOR, RoomId};

/// Programs may ask for one in this many of all rooms at a time. The rest is for clients, whatever strangers ask for.
const ASKED_SHARE: usize = 10;
/// In a small table they may ask for more: for so many at least, but for half of the rooms at most.
const ASKED_AT_LEAST: usize = 100;

/// The rooms that programs ask for, and until when.
#[derive(Debug, Default)]
pub(super) struct Asked {
    ends: BTreeMap<RoomId, Instant>,
    /// The same, by the end of the interest.
    by_end: BTreeSet<(Instant, RoomId)>,
}

/// The most rooms that programs may ask for at a time, if the table may have this many.
pub(super) fn asked_max(most: usize) -> usize {
    (most / ASKED_SHARE).max(ASKED_AT_LEAST.min(most.div_ceil(2)))
}

impl Asked {
    /// Whether programs ask for as many rooms as they may, if the table may have this many.
    pub(super) fn are_full(&self, most: usize) -> bool {
        self.ends.len() >= asked_max(most)
    }

    /// Records that programs ask for a room until then, or as long as before, if that is longer.
    pub(super) fn ask(&mut self, id: RoomId, until: Instant) {
        let end = self.ends.entry(id).or_insert(until);
        self.by_end.remove(&(*end, id));
        *end = until.max(*end);
        self.by_end.insert((*end, id));
    }

    /// Takes out a room for which the interest has ended.
    pub(super) fn take_ended(&mut self, now: Instant) -> Option<RoomId> {
        self.take_first_if(|end| end <= now)
    }

    /// Takes out the room that nobody has asked for for longest, for the sake of another one that is asked for until then. `None` if
    /// somebody has asked for every room a short time ago.
    pub(super) fn take_oldest(&mut self, until: Instant) -> Option<RoomId> {
        self.take_first_if(|end| end + PLACE_HELD_FOR <= until)
    }

    fn take_first_if(&mut self, may_go: impl Fn(Instant) -> bool) -> Option<RoomId> {
        let &(_, id) = self.by_end.first().filter(|(end, _)| may_go(*end))?;
        self.by_end.pop_first();
        self.ends.remove(&id);
        Some(id)
    }
}
