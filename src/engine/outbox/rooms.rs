//! The part of an outbox that concerns rooms: who is in which, and their counts.

use tokio::time::Instant;

use super::{Outbox, REST_BYTES_MAX, Told};
use crate::{
    access::rooms::WATCHED_PER_CONNECTION,
    core::room::ROOM_BYTES_MAX,
    engine::{
        session_rooms::{Place, SessionRooms},
        sink::Sink,
    },
    protocol::frame::RoomFrame,
};

/// The most bytes of packets that may wait for a client that has named rooms. A page joins all its rooms with one write or one post, and the answers to
/// these joins may all have to wait.
pub(super) const REST_BYTES_MAX_WITH_ROOMS: usize = 20 * 1024;
/// The bytes of an acknowledgement beside the name of its room, with the header of its frame.
const ACKNOWLEDGEMENT_BYTES: usize = 40;
const _: () = assert!(
    WATCHED_PER_CONNECTION * (ROOM_BYTES_MAX + ACKNOWLEDGEMENT_BYTES)
        <= REST_BYTES_MAX_WITH_ROOMS - REST_BYTES_MAX / 2
);

impl<S: Sink, P> Outbox<S, P> {
    /// The client's rooms, if it has named any.
    pub fn rooms(&self) -> Option<&SessionRooms<P>> {
        self.rooms.as_deref()
    }

    /// The client's rooms, now that it has named one. The outbox must be open.
    pub fn rooms_mut(&mut self, now: Instant) -> &mut SessionRooms<P> {
        self.rooms.get_or_insert_with(|| Box::new(SessionRooms::new(now)))
    }

    /// Takes the client out of all its rooms. Dropping the result ends its presences.
    pub fn take_rooms(&mut self) -> Option<Box<SessionRooms<P>>> {
        self.rooms.take()
    }

    /// Removes the room in this place, with the count that waits in its slot.
    pub fn leave_room(&mut self, place: Place) -> Option<P> {
        self.rooms.as_mut()?.remove(place)
    }

    /// Tells the client a count of the room in this place that is newer than all before: writes it, or puts it into the
    /// room's slot. A count that the client knows is not written again.
    pub fn tell_room(&mut self, place: Place, frame: &RoomFrame) -> Told {
        let (waits, is_open) = (self.waits(), self.is_open());
        let Some(rooms) = self.rooms.as_mut().filter(|_| is_open) else { return Told::Gone };
        if !rooms.put(place, frame.users()) {
            return Told::Gone;
        }
        if !waits && rooms.waits() {
            self.write_room(place, frame);
        }
        self.told()
    }

    /// Writes the count of a room, which is in its slot. Returns whether it was written, at least in part.
    pub(super) fn write_room(&mut self, place: Place, frame: &RoomFrame) -> bool {
        let is_begun = self.begin_count(frame.bytes());
        if is_begun && let Some(rooms) = &mut self.rooms {
            rooms.written(place);
        }
        is_begun
    }

    /// The most bytes of packets that may wait.
    pub(super) fn rest_bytes_max(&self) -> usize {
        if self.rooms.is_some() { REST_BYTES_MAX_WITH_ROOMS } else { REST_BYTES_MAX }
    }
}
