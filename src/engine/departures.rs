//! Who the client of one session was in the namespaces that it has left by itself. The grace keeps such a user in the count, for a
//! client that comes back. A client that comes back as somebody else is not two users: the grace of the one before must end then.

use crate::{
    access::rooms::JOINED_PER_CONNECTION,
    core::{report::Room, room::UserId},
};

/// The most departures that are remembered: the site, and as many rooms as a connection may be in by default.
const DEPARTURES_MAX: usize = 1 + JOINED_PER_CONNECTION;

/// A user whose grace in a room must end.
pub type Departure = (Room, UserId);

/// The departures of one session, the oldest first, at most one for each room.
#[derive(Debug, Default)]
pub struct Departures(Vec<Departure>);

impl Departures {
    /// Records that the client has left a room as this user. Returns a departure that is too old to be remembered.
    #[must_use]
    pub fn add(&mut self, room: Room, user: UserId) -> Option<Departure> {
        self.0.retain(|(left, _)| *left != room);
        let is_full = self.0.len() == DEPARTURES_MAX;
        let forgotten = is_full.then(|| self.0.remove(0));
        self.0.push((room, user));
        forgotten
    }

    /// Takes out the departures of all users but this one, as whom the client is counted now; `None` if it has no identity.
    pub fn take_others(&mut self, user: Option<&UserId>) -> Vec<Departure> {
        self.0.extract_if(.., |(_, left)| Some(&*left) != user).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::room::RoomName;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn room(number: usize) -> Room {
        Room::Named(RoomName::parse(&format!("/{number}")).unwrap())
    }

    /// Goal: whoever comes back as another user leaves nobody behind, and whoever comes back as the same one stays. Method: departures
    /// of two users; then each of them comes back, and somebody without an identity.
    #[test]
    fn others_are_taken() {
        let mut departures = Departures::default();
        assert_eq!(departures.add(Room::Site, user("ada")), None);
        assert_eq!(departures.add(room(1), user("bob")), None);
        assert_eq!(departures.take_others(Some(&user("ada"))), [(room(1), user("bob"))]);
        assert_eq!(departures.take_others(Some(&user("ada"))), []);
        assert_eq!(departures.take_others(None), [(Room::Site, user("ada"))]);
        assert_eq!(departures.take_others(None), []);
    }

    /// Goal: few departures are remembered, and none is lost that is not. Method: more rooms than that, one of them twice.
    #[test]
    fn the_oldest_is_forgotten() {
        let mut departures = Departures::default();
        for number in 0..DEPARTURES_MAX {
            assert_eq!(departures.add(room(number), user("ada")), None);
        }
        assert_eq!(departures.add(room(0), user("ada")), None, "it replaces the former one");
        assert_eq!(departures.add(Room::Site, user("ada")), Some((room(1), user("ada"))));
        assert_eq!(departures.take_others(None).len(), DEPARTURES_MAX);
    }
}
