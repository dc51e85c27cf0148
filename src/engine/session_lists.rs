//! The lists of users of the rooms of one session: which list its client was told, and which one waits.
//!
//! A list waits in its slot until it is written or until a newer one replaces it. A client that missed one is sent the whole list
//! instead of what has changed. While a list is written in part, nothing else is written.

use std::sync::Arc;

use super::{list_frames::ListFrames, place::Place};
use crate::{core::lists::ListWish, protocol::users::UsersFrame};

/// The lists that the client of one session wants.
#[derive(Debug, Default)]
pub struct SessionLists {
    /// In the order of joining.
    slots: Vec<ListSlot>,
    /// The place whose list was written last.
    last: Place,
    /// A list of which the kernel has taken a part, and how many bytes that is.
    partial: Option<(UsersFrame, usize)>,
}

#[derive(Debug)]
struct ListSlot {
    place: Place,
    /// Kept so that it ends with the slot.
    _wish: ListWish,
    /// The number of the list that was written last, in whole or in part.
    told: Option<u64>,
    /// The newest list, while it waits.
    newest: Option<Arc<ListFrames>>,
}

impl SessionLists {
    /// The number of lists.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the client wants no list.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds a list for the room in this place, which was given last.
    pub fn add(&mut self, place: Place, wish: ListWish) {
        self.slots.push(ListSlot { place, _wish: wish, told: None, newest: None });
    }

    /// Removes the list of a room, if there is one. A part of it that the kernel has taken is still completed.
    pub fn remove(&mut self, place: Place) {
        self.slots.retain(|slot| slot.place != place);
    }

    /// Whether the client is told the list of the room in this place.
    pub fn has(&self, place: Place) -> bool {
        self.slots.iter().any(|slot| slot.place == place)
    }

    /// Puts the newest list into a slot, or nothing if the client knows it. Returns false if there is no such place.
    pub fn put(&mut self, place: Place, list: &Arc<ListFrames>) -> bool {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.place == place) else {
            return false;
        };
        let is_known = slot.told == Some(list.number());
        slot.newest = (!is_known).then(|| Arc::clone(list));
        true
    }

    /// Whether a list waits, or the rest of one.
    pub fn waits(&self) -> bool {
        self.is_within() || self.slots.iter().any(|slot| slot.newest.is_some())
    }

    /// Whether the kernel has taken only a part of a list.
    pub fn is_within(&self) -> bool {
        self.partial.is_some()
    }

    /// The waiting list whose turn it is, and what is to be sent of it.
    pub fn next_waiting(&self) -> Option<(Place, UsersFrame)> {
        let first = self.slots.partition_point(|slot| slot.place <= self.last);
        let (before, after) = self.slots.split_at(first);
        let waits = |slot: &ListSlot| {
            let newest = slot.newest.as_ref()?;
            Some((slot.place, newest.frame(slot.told).clone()))
        };
        after.iter().chain(before).find_map(waits)
    }

    /// Records that the kernel has taken so many bytes of the waiting list of a slot, at least one.
    pub fn written(&mut self, place: Place, frame: &UsersFrame, bytes: usize) {
        self.last = place;
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.place == place)
            && let Some(newest) = slot.newest.take()
        {
            slot.told = Some(newest.number());
        }
        self.partial = (bytes < frame.bytes().len()).then(|| (frame.clone(), bytes));
    }

    /// The rest of the list that is written in part.
    pub fn rest(&self) -> Option<&[u8]> {
        self.partial.as_ref().map(|(frame, written)| &frame.bytes()[*written..])
    }

    /// Records that the kernel has taken so many further bytes of it.
    pub fn continued(&mut self, bytes: usize) {
        if let Some((frame, written)) = &mut self.partial {
            *written += bytes;
            if *written == frame.bytes().len() {
                self.partial = None;
            }
        }
    }
}
