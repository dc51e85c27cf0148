//! One value that the store is told: the connections without an identity in a room, or the presence of a user in it.

/// What the store is told about one value of this instance, and what it is known to hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Key {
    /// The value that the store has acknowledged last; 0 if it holds none.
    pub(super) stored: u32,
    pub(super) pending: Pending,
    /// Whether the store held it for the former incarnation, and does not hold it for this one yet.
    pub(super) is_lost: bool,
    /// Whether what is known of the user has changed since the store acknowledged it.
    pub(super) is_outdated: bool,
}

/// How far the store knows the value of a [`Key`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pending {
    /// The store has acknowledged it.
    #[default]
    Settled,
    /// It is to be sent.
    News,
    /// The newest report carried it, or an older value of it, and was not answered yet.
    InDoubt,
}
