//! Who is in a room, as a store knows it: users with a token, whom lists show. Users with a visitor key are never listed.

use std::sync::Arc;

use super::{
    count::Revision,
    room::{IdentityKind, UserId},
};

/// The most users of a list. `store/people.lua` holds the same number.
pub const LISTED_MAX: usize = 100;

/// Who is in a room, as far as a list shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    /// At most [`LISTED_MAX`] users, each once.
    pub users: Vec<Listed>,
    /// How many more there are.
    pub more: u64,
    /// The revision of the store. If it is older than one that was seen before, the store has lost data.
    pub revision: Revision,
    /// Whether the store has lost data, and waits until all instances have reported again.
    pub recovering: bool,
    /// In how many parts it was read beside the first. It is more than 0 only in a room of many users.
    pub further_parts: u32,
}

impl People {
    /// Adds a further part, whose users are others.
    pub fn add(&mut self, part: Self) {
        self.users.extend(part.users);
        self.more += part.more;
        // Data may have been lost between the parts.
        self.revision = self.revision.min(part.revision);
        self.recovering |= part.recovering;
        self.further_parts += 1;
    }
}

/// A user of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The user.
    pub user: UserId,
    /// What is known of the user: a JSON object. The store does not check it.
    pub info: Option<Arc<str>>,
    /// Whether another incarnation than the one that asked has the user in the room.
    pub is_elsewhere: bool,
}

/// Whether lists show a user: one with a token.
pub fn is_listed(user: &UserId) -> bool {
    subject(user).is_some()
}

/// The subject of a user's token; `None` for a user with a visitor key.
pub fn subject(user: &UserId) -> Option<&str> {
    user.as_str().strip_prefix(IdentityKind::Token.prefix())
}
