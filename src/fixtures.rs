//! What the tests inside several modules share.

/// Valid input made invalid.
pub(crate) mod mutate {
    pub(crate) use headcount_mutate::{mutated as mangled, mutated_text as mangled_text};
}
