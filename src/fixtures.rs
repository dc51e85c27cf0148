//! What the tests inside several modules share.

/// Valid input made invalid.
pub(crate) use headcount_mutate as mutate;
