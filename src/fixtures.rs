//! What the tests inside several modules share.

pub(crate) mod mutate;
