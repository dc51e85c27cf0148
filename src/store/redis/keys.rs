//! The names of Headcount's keys in Redis.

use crate::core::room::RoomName;

/// The names of the keys. The public key's name is their hash tag, so that a Redis Cluster keeps all of them in one slot: a name
/// without a tag has the same slot as the same text in a tag.
pub(super) struct Keys {
    pub(super) public: String,
    pub(super) connections: String,
    pub(super) sequence: String,
    pub(super) leases: String,
    pub(super) meta: String,
    pub(super) dead: String,
    pub(super) peaks: String,
    pub(super) rooms: String,
    /// How the names of the keys with the users of a room begin. The room's name follows.
    people: String,
}

impl Keys {
    /// The keys of the count with this public key.
    pub(super) fn of(public: &str) -> Self {
        Self {
            public: public.to_owned(),
            connections: format!("{{{public}}}:connections"),
            sequence: format!("{{{public}}}:sequence"),
            leases: format!("{{{public}}}:leases"),
            meta: format!("{{{public}}}:meta"),
            dead: format!("{{{public}}}:dead"),
            peaks: format!("{{{public}}}:peaks"),
            rooms: format!("{{{public}}}:rooms"),
            people: format!("{{{public}}}:people:"),
        }
    }

    /// The key with the users of a room.
    pub(super) fn people(&self, room: &RoomName) -> String {
        format!("{}{room}", self.people)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the keys have the documented names. Method: compare them.
    #[test]
    fn keys_share_one_slot() {
        let keys = Keys::of("currentUsers");
        assert_eq!(keys.public, "currentUsers");
        assert_eq!(keys.connections, "{currentUsers}:connections");
        assert_eq!(keys.sequence, "{currentUsers}:sequence");
        assert_eq!(keys.leases, "{currentUsers}:leases");
        assert_eq!(keys.meta, "{currentUsers}:meta");
        assert_eq!(keys.dead, "{currentUsers}:dead");
        assert_eq!(keys.peaks, "{currentUsers}:peaks");
        let room = RoomName::parse("/team/7").unwrap();
        assert_eq!(keys.people(&room), "{currentUsers}:people:/team/7");
    }
}
