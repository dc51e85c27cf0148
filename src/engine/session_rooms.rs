//! The rooms that the client of one session is in: its presence in each, and a slot for the newest count of each.
//!
//! A count waits in its room's slot until it is written, or until a newer one replaces it. The order in which waiting counts
//! are written is fair: it begins after the room that was written last, and goes around. Lists of users have slots of their own,
//! and counts and lists take turns.

use std::{mem, sync::Arc};

use tokio::time::Instant;

use super::{
    departures::{Departure, Departures},
    list_frames::ListFrames,
    place::Place,
    session_lists::SessionLists,
};
use crate::{
    access::{
        rate_limit::TokenBucket,
        rooms::{JOINED_PER_CONNECTION, WATCHED_PER_CONNECTION},
    },
    core::{
        count::MaybeCount,
        lists::ListWish,
        report::Room,
        room::{RoomName, UserId},
    },
    protocol::users::UsersFrame,
};

/// Joins and leaves of rooms and of the site that one client may send in one burst. It may leave a page that watches as many rooms
/// as it can, enter another such page, and do both again at once.
const CHANGES_BURST: u32 = 448;
const _: () =
    assert!(CHANGES_BURST as usize > 4 * (WATCHED_PER_CONNECTION + JOINED_PER_CONNECTION + 1));
/// Joins and leaves of rooms and of the site that one client may send a second on average: every five seconds it may change between
/// two pages with fifty rooms each.
const CHANGES_PER_SECOND: u32 = 20;

/// The rooms of one session. `P` is what ends the presence in a room when it is dropped.
#[derive(Debug)]
pub struct SessionRooms<P> {
    /// In the order of joining.
    rooms: Vec<SessionRoom<P>>,
    /// The number of slots in which a count waits.
    waiting: usize,
    /// The place whose count was written last.
    last: Place,
    /// The place that was given last.
    newest: Place,
    /// The lists of users. None until the client wants the first one: most clients want none.
    lists: Option<Box<SessionLists>>,
    /// Whether a count was written last.
    is_lists_turn: bool,
    /// The joins and leaves that the client may still send.
    changes: TokenBucket,
    /// Who the client was in rooms, and in the site, that it has left. None until it leaves one with an identity.
    departures: Option<Box<Departures>>,
}

#[derive(Debug)]
struct SessionRoom<P> {
    place: Place,
    name: RoomName,
    /// `None` only until the table of rooms has taken the client in.
    presence: Option<P>,
    /// The count that was written last, in whole or in part.
    told: MaybeCount,
    /// The newest count, while it waits.
    newest: MaybeCount,
    /// Whether the client was told an estimate, and an exact count would leave it out.
    is_held: bool,
}

/// What is to be written next.
#[derive(Clone, Debug)]
pub enum Turn {
    /// The count of the room in this place, with the name of the room.
    Count(Place, RoomName, u64),
    /// The list of the room in this place.
    List(Place, UsersFrame),
}

impl<P> SessionRooms<P> {
    /// No rooms.
    pub fn new(now: Instant) -> Self {
        let changes = TokenBucket::new(CHANGES_BURST, CHANGES_PER_SECOND, now);
        let place = Place::default();
        Self {
            rooms: Vec::new(),
            waiting: 0,
            last: place,
            newest: place,
            lists: None,
            is_lists_turn: false,
            changes,
            departures: None,
        }
    }

    /// Records that the client asks to join or leave a room or the site. Returns false if it does so too often.
    pub fn may_change(&mut self, now: Instant) -> bool {
        self.changes.spend(1, now)
    }

    /// Records that the client has left a room or the site as this user. Returns a departure whose user must not linger any more.
    #[must_use]
    pub fn has_left(&mut self, room: Room, user: UserId) -> Option<Departure> {
        self.departures.get_or_insert_default().add(room, user)
    }

    /// The departures of users other than this one, as whom the client is counted now. They must not linger any more.
    pub fn take_departures_of_others(&mut self, user: Option<&UserId>) -> Vec<Departure> {
        self.departures.as_mut().map_or_else(Vec::new, |departures| departures.take_others(user))
    }

    /// Adds a room. [`SessionRooms::enter`] must follow.
    pub fn add(&mut self, name: RoomName) -> Place {
        self.newest = self.newest.next();
        // Most sessions have one room, and a vector would begin with space for four.
        if self.rooms.is_empty() {
            self.rooms.reserve_exact(1);
        }
        let place = self.newest;
        let none = MaybeCount::NONE;
        let (told, newest, is_held) = (none, none, false);
        self.rooms.push(SessionRoom { place, name, presence: None, told, newest, is_held });
        place
    }

    /// Records the presence in a room that was added. `name` replaces the name that was added: its text is shared by all who are in
    /// the room.
    pub fn enter(&mut self, place: Place, name: RoomName, presence: P) {
        let index = self.find(place).expect("it was added");
        (self.rooms[index].name, self.rooms[index].presence) = (name, Some(presence));
    }

    /// Removes a room, if it is there, with the count that waits in its slot.
    pub fn remove(&mut self, place: Place) -> Option<P> {
        let index = self.find(place)?;
        let room = self.rooms.remove(index);
        if let Some(lists) = &mut self.lists {
            lists.remove(place);
        }
        self.waiting -= usize::from(room.newest.get().is_some());
        if self.rooms.is_empty() {
            self.rooms = Vec::new();
        }
        room.presence
    }

    /// The place of a room, if the client is in it.
    pub fn place_in(&self, name: &str) -> Option<Place> {
        self.rooms.iter().find(|room| room.name.as_str() == name).map(|room| room.place)
    }

    /// The presences in all rooms.
    pub fn presences(&self) -> impl Iterator<Item = &P> {
        self.rooms.iter().filter_map(|room| room.presence.as_ref())
    }

    /// Whether the client is in no room.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// Whether the client is in a room in this place.
    pub fn has(&self, place: Place) -> bool {
        self.find(place).is_some()
    }

    /// Keeps counts from the slot of this place, or does so no more. Returns whether that is a change, or `None` if there is no such
    /// place.
    pub fn hold(&mut self, place: Place, is_held: bool) -> Option<bool> {
        let index = self.find(place)?;
        Some(mem::replace(&mut self.rooms[index].is_held, is_held) != is_held)
    }

    /// Puts the newest count into a slot, or nothing if it is the count that was written last, or counts are kept from the client.
    /// Returns false if there is no such place.
    pub fn put(&mut self, place: Place, users: u64) -> bool {
        let Some(index) = self.find(place) else { return false };
        let room = &mut self.rooms[index];
        if room.is_held {
            return true;
        }
        self.waiting -= usize::from(room.newest.get().is_some());
        let is_known = room.told == users.into();
        room.newest = if is_known { MaybeCount::NONE } else { users.into() };
        self.waiting += usize::from(room.newest.get().is_some());
        true
    }

    /// Whether a count waits in any slot, or a list.
    pub fn waits(&self) -> bool {
        self.waiting > 0 || self.lists.as_ref().is_some_and(|lists| lists.waits())
    }

    /// The waiting count or list whose turn it is.
    pub fn next_turn(&self) -> Option<Turn> {
        let list = self.lists.as_ref().and_then(|lists| lists.next_waiting());
        let list = list.map(|(place, frame)| Turn::List(place, frame));
        if self.is_lists_turn && list.is_some() {
            return list;
        }
        self.next_count().or(list)
    }

    fn next_count(&self) -> Option<Turn> {
        if self.waiting == 0 {
            return None;
        }
        let first = self.rooms.partition_point(|room| room.place <= self.last);
        let (before, after) = self.rooms.split_at(first);
        let waits = |room: &SessionRoom<P>| {
            Some(Turn::Count(room.place, room.name.clone(), room.newest.get()?))
        };
        after.iter().chain(before).find_map(waits)
    }

    /// Records that the waiting count of a slot was written, in whole or in part.
    pub fn written(&mut self, place: Place) {
        (self.last, self.is_lists_turn) = (place, true);
        let Some(index) = self.find(place) else { return };
        let room = &mut self.rooms[index];
        let newest = mem::take(&mut room.newest);
        if newest.get().is_some() {
            room.told = newest;
            self.waiting -= 1;
        }
    }

    /// The number of lists that the client wants.
    pub fn lists(&self) -> usize {
        self.lists.as_ref().map_or(0, |lists| lists.len())
    }

    /// Has the client told the list of users of the room in this place, which was given last.
    pub fn want_list(&mut self, place: Place, wish: ListWish) {
        self.lists.get_or_insert_default().add(place, wish);
    }

    /// Whether the client is told the list of the room in this place.
    pub fn has_list(&self, place: Place) -> bool {
        self.lists.as_ref().is_some_and(|lists| lists.has(place))
    }

    /// Puts the newest list into a slot. Returns false if there is no such place.
    pub fn put_list(&mut self, place: Place, list: &Arc<ListFrames>) -> bool {
        self.lists.as_mut().is_some_and(|lists| lists.put(place, list))
    }

    /// Records that the kernel has taken so many bytes of the waiting list of a slot, at least one.
    pub fn list_written(&mut self, place: Place, frame: &UsersFrame, bytes: usize) {
        self.is_lists_turn = false;
        if let Some(lists) = &mut self.lists {
            lists.written(place, frame, bytes);
        }
    }

    /// The rest of the list that is written in part.
    pub fn list_rest(&self) -> Option<&[u8]> {
        self.lists.as_ref()?.rest()
    }

    /// Records that the kernel has taken so many further bytes of it.
    pub fn list_continued(&mut self, bytes: usize) {
        if let Some(lists) = &mut self.lists {
            lists.continued(bytes);
        }
    }

    /// Places only grow, so the rooms are in their order.
    fn find(&self, place: Place) -> Option<usize> {
        self.rooms.binary_search_by_key(&place, |room| room.place).ok()
    }
}
