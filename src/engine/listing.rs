//! Who may be told the list of a room's users, and how a client begins to be told.
//!
//! A member or a watcher gets a list if it asks for it as it joins, has a token, and `HEADCOUNT_LISTS` has the room. A client that
//! may not is refused, rather than let in without a list: its page would show nobody, and nobody would know why.

use tokio::time::Instant;

use super::{
    lifecycle::Engine,
    session::{JoinedRoom, RoomMembership},
    session_rooms::SessionRooms,
};
use crate::{
    core::{room::RoomName, rooms::RoomPresence},
    telemetry::labels::JoinRefusal,
};

/// The most lists that one client may be told at a time. Each may wait for a client that reads slowly.
const LISTS_PER_CONNECTION: usize = 8;

impl Engine {
    /// Whether a client with or without a token may be told the list of this room.
    ///
    /// # Errors
    /// How its join is refused.
    pub(super) fn may_list(
        &self,
        room: &RoomName,
        rooms: &SessionRooms<JoinedRoom>,
        has_token: bool,
    ) -> Result<(), JoinRefusal> {
        if !self.settings().rooms.listed.allow(room) {
            return Err(JoinRefusal::ListNotAllowed);
        }
        if !has_token {
            return Err(JoinRefusal::TokenMissing);
        }
        if rooms.lists() >= LISTS_PER_CONNECTION {
            return Err(JoinRefusal::TooManyRooms);
        }
        Ok(())
    }

    /// Has a client told the list of the room in this place, which it has just joined. Returns false if there are too many lists.
    pub(super) fn want_list(
        &self,
        rooms: &mut SessionRooms<JoinedRoom>,
        member: RoomMembership,
        presence: &RoomPresence<RoomMembership>,
        now: Instant,
    ) -> bool {
        let place = member.place;
        self.rooms.keep_list(presence.room());
        match self.lists.want(&presence.name(), member, now) {
            Ok(wish) => rooms.want_list(place, wish),
            Err(_) => return false,
        }
        true
    }
}
