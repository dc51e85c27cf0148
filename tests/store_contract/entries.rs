//! What reports say of rooms, in few words.

use headcount::core::{
    report::{Room, RoomReport, UserPresence, UserReport},
    room::{RoomName, SITE, UserId},
};

/// A room's name.
pub(crate) fn name(text: &str) -> RoomName {
    RoomName::parse(text).unwrap()
}

/// The site, or a room.
pub(crate) fn room(text: &str) -> Room {
    if text == SITE { Room::Site } else { Room::Named(name(text)) }
}

/// This many connections without an identity are in the room.
pub(crate) fn members(text: &str, connections: u64) -> RoomReport {
    RoomReport { room: room(text), connections: Some(connections), users: Vec::new() }
}

/// The room's count is asked for.
pub(crate) fn asks(text: &str) -> RoomReport {
    RoomReport { room: room(text), connections: None, users: Vec::new() }
}

/// These users are in the room.
pub(crate) fn here(text: &str, users: &[&str]) -> RoomReport {
    said(text, users, &UserPresence::Here(None))
}

/// These users are not in the room any more.
pub(crate) fn gone(text: &str, users: &[&str]) -> RoomReport {
    said(text, users, &UserPresence::Gone)
}

/// This is the case for all these users.
pub(crate) fn said(text: &str, users: &[&str], presence: &UserPresence) -> RoomReport {
    let users = users
        .iter()
        .map(|user| UserReport { user: UserId::parse(user).unwrap(), presence: presence.clone() });
    RoomReport { room: room(text), connections: None, users: users.collect() }
}
