//! How many are here, over all rooms.

/// Who is here, over all rooms. These sums are kept where somebody comes or goes, and what the store holds where it has answered:
/// they are the same at rest, and a difference that lasts is a fault.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Here {
    /// Counted connections in rooms, with and without an identity.
    pub(super) members: u64,
    /// Those without one.
    pub(super) anonymous: u64,
    /// Pairs of a room, or the site, and a user with an identity who counts as being there.
    pub(super) users: u64,
}

impl Here {
    pub(super) fn enter(&mut self, is_anonymous: bool) {
        self.members += 1;
        self.anonymous += u64::from(is_anonymous);
    }

    pub(super) fn leave(&mut self, is_anonymous: bool) {
        self.members -= 1;
        self.anonymous -= u64::from(is_anonymous);
    }
}
