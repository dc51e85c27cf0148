//! The rooms of the broadcaster, found by their ids.

use super::Room;
use crate::core::{room::RoomName, rooms::RoomId};

/// Rooms by their ids. An id names a slot; slots are as many as there were rooms at a time.
#[derive(Debug, Default)]
pub(super) struct RoomTable {
    slots: Vec<Option<Box<Room>>>,
    length: usize,
}

impl RoomTable {
    /// The number of rooms.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn get_mut(&mut self, id: RoomId) -> Option<&mut Room> {
        self.slots.get_mut(id.index())?.as_deref_mut().filter(|room| room.id == id)
    }

    /// The room with this id, which is added if it is missing. It replaces a former room with the same slot.
    pub(super) fn get_or_insert(&mut self, id: RoomId, name: RoomName) -> &mut Room {
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        let slot = &mut self.slots[id.index()];
        let is_former = |room: &mut Box<Room>| room.id != id;
        self.length -= usize::from(slot.take_if(is_former).is_some());
        self.length += usize::from(slot.is_none());
        slot.get_or_insert_with(|| Box::new(Room::new(id, name)))
    }

    /// Removes a room. Without rooms, the table takes no memory.
    pub(super) fn remove(&mut self, id: RoomId) {
        if self.get_mut(id).is_some() {
            self.slots[id.index()] = None;
            self.length -= 1;
        }
        if self.length == 0 {
            self.slots = Vec::new();
        }
    }

    /// The number of slots.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The first room.
    #[cfg(test)]
    pub(super) fn first(&self) -> Option<&Room> {
        self.slots.iter().flatten().next().map(|room| &**room)
    }
}
