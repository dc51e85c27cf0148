//! Which of the changes on this instance a count includes. Plain data.

/// What a count that is shown includes of the changes of who is here, in the site or in a room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Included {
    /// Whether it is an exact count. An estimate includes all changes.
    pub is_exact: bool,
    /// The last change that the store has counted and not lost, as far as is certain.
    pub counted: u64,
}

impl Included {
    /// Whether the count may leave this change out. The change must not be newer than the estimate.
    pub fn leaves_out(self, change: u64) -> bool {
        self.is_exact && !self.counts(change)
    }

    /// Whether every exact count that is shown from now on includes this change.
    pub fn counts(self, change: u64) -> bool {
        change <= self.counted
    }
}
