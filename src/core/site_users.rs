//! The users of the site whom this instance knows by an identity, as numbers. Plain data.

use super::room::IdentityKind;

/// What estimates of the site need to know of the users whom this instance has there.
///
/// A user who is on another instance, too, is part of what is elsewhere. So each number counts only users whom no other instance
/// has, as far as this one knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteUsers {
    /// Those who are here, or were here less than the grace ago.
    pub here_alone: u64,
    /// Those whom the store holds for this instance.
    pub stored_alone: u64,
    /// Whether a report is unanswered that says something of users, so that it is not certain whom the store holds.
    pub are_doubtful: bool,
    /// Whether the store denies to be told of users, and some of them changed.
    pub are_denied: bool,
}

/// How many users this instance has in the site or in a room, by how they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsersHere {
    /// Users with a token, each counted once.
    pub token: u64,
    /// Users with a visitor key, each counted once.
    pub visitor: u64,
    /// Connections without an identity, each of which is a user.
    pub none: u64,
}

impl UsersHere {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.token + self.visitor + self.none
    }

    pub(super) fn of_kind(&mut self, kind: IdentityKind) -> &mut u64 {
        match kind {
            IdentityKind::Token => &mut self.token,
            IdentityKind::Visitor => &mut self.visitor,
        }
    }
}
