//! What an identity allows, and for how long.

use std::time::{Duration, SystemTime};

use super::token::{Identity, LEEWAY};
use crate::core::report::Room;

impl Identity {
    /// Whether a token with this identity lets its bearer join, watch or read a room. The site is no room of patterns: whoever
    /// has a valid token may join it.
    pub fn may_join(&self, room: &Room) -> bool {
        match (room, &self.rooms) {
            (Room::Named(name), Some(rooms)) => rooms.allow(name),
            _ => true,
        }
    }

    /// How long a connection may go on by this identity; `None` without an end.
    ///
    /// One that is accepted although it has expired goes on for as long as clocks may differ: its client's clock is late, and
    /// would have it come back with the same token at once, again and again.
    pub fn time_left(&self, now: SystemTime) -> Option<Duration> {
        Some(
            self.expires_at?
                .duration_since(now)
                .ok()
                .filter(|left| !left.is_zero())
                .unwrap_or(LEEWAY),
        )
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        access::rooms::RoomPatterns,
        core::room::{IdentityKind, Person, RoomName, UserId},
    };

    fn identity(rooms: Option<&str>, expires_at: Option<SystemTime>) -> Identity {
        let user = UserId::parse("t:margaret").unwrap();
        let person = Person { user, kind: IdentityKind::Token, info: None };
        let rooms = rooms.map(|list| RoomPatterns::parse(list).unwrap());
        Identity { person, rooms, expires_at }
    }

    /// Goal: a token that names rooms allows these and the site, and one that names none allows all. Method: rooms on both sides
    /// of the patterns.
    #[rstest]
    #[case(None, "/a", true)]
    #[case(Some("/team/*,/b"), "/team/1", true)]
    #[case(Some("/team/*,/b"), "/b", true)]
    #[case(Some("/team/*,/b"), "/a", false)]
    #[case(Some("none"), "/a", false)]
    fn rooms_of_a_token(#[case] rooms: Option<&str>, #[case] room: &str, #[case] allowed: bool) {
        let identity = identity(rooms, None);
        assert_eq!(identity.may_join(&Room::Named(RoomName::parse(room).unwrap())), allowed);
        assert!(identity.may_join(&Room::Site));
    }

    /// Goal: a connection ends when its token expires; by a token that has just expired it goes on for the leeway; without an
    /// expiry it does not end. Method: times before, at and after the expiry.
    #[test]
    fn time_that_is_left() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(24);
        let second = Duration::from_secs(1);
        let left = |expires_at| identity(None, expires_at).time_left(now);
        assert_eq!(left(None), None);
        assert_eq!(left(Some(now + second)), Some(second));
        assert_eq!(left(Some(now)), Some(LEEWAY));
        assert_eq!(left(Some(now - second)), Some(LEEWAY));
    }
}
