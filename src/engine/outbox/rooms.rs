//! The part of an outbox that concerns rooms: who is in which, their counts, and lists of their users.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Outbox, REST_BYTES_MAX, Told};
use crate::{
    access::rooms::WATCHED_PER_CONNECTION,
    core::room::{ROOM_BYTES_MAX, UserId},
    engine::{
        departures::Departure,
        list_frames::ListFrames,
        place::Place,
        session_rooms::{SessionRooms, Turn},
        sink::Sink,
    },
    protocol::{frame::RoomFrame, users::UsersFrame},
};

/// The most bytes of packets that may wait for a client that has named rooms. A page joins all its rooms with one write or one post,
/// and the answers to these joins may all have to wait.
pub const REST_BYTES_MAX_WITH_ROOMS: usize = 28 * 1024;
/// While polls carry the session, refusals are left out if more bytes than this would wait then. The rest of the space is for
/// acknowledgements. The refusals of all rooms that a page may name fit in, if their names are not long.
const REFUSALS_BYTES_MAX: usize = 8 * 1024;
/// If more bytes than this would wait, refusals are short.
const LONG_REFUSALS_BYTES_MAX: usize = 1024;
/// The bytes of an acknowledgement beside the name of its room, with the header of its frame.
const ACKNOWLEDGEMENT_BYTES: usize = 40;
const _: () = assert!(
    WATCHED_PER_CONNECTION * (ROOM_BYTES_MAX + ACKNOWLEDGEMENT_BYTES)
        <= REST_BYTES_MAX_WITH_ROOMS - REFUSALS_BYTES_MAX - REST_BYTES_MAX / 2
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

    /// The departures of users other than this one. See [`SessionRooms::take_departures_of_others`].
    pub fn take_departures_of_others(&mut self, user: Option<&UserId>) -> Vec<Departure> {
        let rooms = self.rooms.as_mut();
        rooms.map_or_else(Vec::new, |rooms| rooms.take_departures_of_others(user))
    }

    /// Takes the client out of all its rooms. Dropping the result ends its presences.
    pub fn take_rooms(&mut self) -> Option<Box<SessionRooms<P>>> {
        self.rooms.take()
    }

    /// Removes the room in this place, with the count that waits in its slot.
    pub fn leave_room(&mut self, place: Place) -> Option<P> {
        self.rooms.as_mut()?.remove(place)
    }

    /// Keeps counts of the room in this place from the client, or tells it the next ones again. Returns whether that is a change, or
    /// `None` if there is no such place.
    pub fn hold_room(&mut self, place: Place, is_held: bool) -> Option<bool> {
        self.rooms.as_mut()?.hold(place, is_held)
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

    /// Tells the client the list of the room in this place, which is newer than all before: writes it, or puts it into the list's
    /// slot.
    pub fn tell_list(&mut self, place: Place, list: &Arc<ListFrames>) -> Told {
        let (waits, is_open) = (self.waits(), self.is_open());
        let Some(rooms) = self.rooms.as_mut().filter(|_| is_open) else { return Told::Gone };
        if !rooms.put_list(place, list) {
            return Told::Gone;
        }
        if !waits {
            self.write_next();
        }
        self.told()
    }

    /// Writes the waiting count or list whose turn it is. Returns whether it was written, at least in part.
    pub(super) fn write_next(&mut self) -> bool {
        match self.rooms.as_ref().and_then(|rooms| rooms.next_turn()) {
            Some(Turn::Count(place, name, users)) => {
                self.write_room(place, &RoomFrame::new(name.as_str(), users))
            }
            Some(Turn::List(place, frame)) => self.write_list(place, &frame),
            None => false,
        }
    }

    /// Writes a list, which is in its slot. Returns whether it was written, at least in part.
    fn write_list(&mut self, place: Place, frame: &UsersFrame) -> bool {
        let Some(written) = self.begin(frame.bytes()) else { return false };
        if let Some(rooms) = &mut self.rooms {
            rooms.list_written(place, frame, written);
        }
        true
    }

    /// Whether a list is written in part.
    pub(super) fn is_within_list(&self) -> bool {
        self.rooms.as_ref().is_some_and(|rooms| rooms.list_rest().is_some())
    }

    /// Writes the rest of a list that is written in part. Returns whether nothing of it is left.
    pub(super) fn flush_list(&mut self) -> bool {
        while self.is_open()
            && let Some(rest) = self.rooms.as_ref().and_then(|rooms| rooms.list_rest())
        {
            match self.try_write(rest) {
                Ok(0) | Err(None) => return false,
                Ok(written) => {
                    if let Some(rooms) = &mut self.rooms {
                        rooms.list_continued(written);
                    }
                }
                Err(Some(_)) => self.fail(),
            }
        }
        true
    }

    /// Sends the packet that refuses a join, after everything that was sent before. Returns false if the client has left too much
    /// unread. One post may ask for many rooms, and all answers have to wait for the next poll. So while polls carry the session,
    /// the shorter one of the two packets is sent if much waits, and none if there is no space.
    pub fn refuse(&mut self, long: &str, short: &str) -> bool {
        let has_space = |packet: &str, space: usize| self.rest.len() + packet.len() <= space;
        let space = REFUSALS_BYTES_MAX.min(self.rest_bytes_max() / 2);
        if !self.is_polled() || has_space(long, space.min(LONG_REFUSALS_BYTES_MAX)) {
            self.send(long)
        } else {
            !has_space(short, space) || self.send(short)
        }
    }

    /// The most bytes of packets that may wait.
    pub(super) fn rest_bytes_max(&self) -> usize {
        if self.rooms.is_some() { REST_BYTES_MAX_WITH_ROOMS } else { REST_BYTES_MAX }
    }
}
