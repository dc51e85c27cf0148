//! What the broadcaster knows of each room, found by the ids of rooms.

use crate::core::rooms::RoomId;

/// Values by the ids of rooms. An id names a slot; slots are as many as there were rooms at a time.
#[derive(Debug)]
pub(super) struct RoomTable<T> {
    slots: Vec<Option<Box<(RoomId, T)>>>,
    length: usize,
}

impl<T> RoomTable<T> {
    /// No rooms.
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), length: 0 }
    }

    /// The number of rooms.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn get_mut(&mut self, id: RoomId) -> Option<&mut T> {
        let (found, value) = &mut **self.slots.get_mut(id.index())?.as_mut()?;
        (*found == id).then_some(value)
    }

    /// The value of the room with this id, which is added if it is missing. It replaces that of a former room with the same slot.
    pub(super) fn get_or_insert(&mut self, id: RoomId, new: impl FnOnce() -> T) -> &mut T {
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        let slot = &mut self.slots[id.index()];
        self.length -= usize::from(slot.take_if(|it| it.0 != id).is_some());
        self.length += usize::from(slot.is_none());
        &mut slot.get_or_insert_with(|| Box::new((id, new()))).1
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

    /// The value of the first room.
    #[cfg(test)]
    pub(super) fn first(&self) -> Option<&T> {
        self.slots.iter().flatten().next().map(|room| &room.1)
    }
}
