//! The count, its revision, and the ids of instances and reports: plain data, and the rule by which a count replaces another.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The largest revision, sequence or count that is exact in a Lua number (an IEEE double): 2⁵³ − 2, so that
/// "one more" is exact as well.
pub const WHOLE_MAX: u64 = (1 << 53) - 2;

/// What the store says about the whole cluster: how many users, at which revision.
///
/// This is also what is published on the channel, as JSON: `{"count":5,"revision":12}`, with
/// `"recovering":true` while the store is recovering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Connections in the cluster.
    #[serde(rename = "count")]
    pub users: u64,
    /// The revision of this number.
    pub revision: Revision,
    /// True while a store that lost its data waits for all instances to report again. The number is then the sum of what has
    /// been reported so far, and may be too small.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovering: bool,
}

impl Count {
    /// The fold rule: a count replaces another only if its revision is greater. Replies and announcements
    /// cross each other on the way; by this rule any order of arrival ends in the same place.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.revision > other.revision
    }
}

/// A number that grows with every change of the count. Zero stands for "none yet".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The random id of one life of an instance. A restarted instance has a new one, so reports of its former life cannot be
/// mistaken for its own. Version 7 UUIDs sort by the time at which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(Uuid);

impl Incarnation {
    /// A new id, different from all others.
    pub fn random() -> Self {
        Self(Uuid::now_v7())
    }
}

impl From<Uuid> for Incarnation {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Numbers the reports of one incarnation. Every send takes a new number, also a retry, so that the store can refuse
/// reports that arrive late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The next number.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::count;

    /// Goal: the JSON of a count is the documented one. Method: write and read it, with and without the mark `recovering`.
    #[test]
    fn json_is_the_documented_interface() {
        let quiet = count(5, 12);
        let marked = Count { recovering: true, ..quiet };
        assert_eq!(serde_json::to_string(&quiet).unwrap(), r#"{"count":5,"revision":12}"#);
        let text = r#"{"count":5,"revision":12,"recovering":true}"#;
        assert_eq!(serde_json::to_string(&marked).unwrap(), text);
        assert_eq!(serde_json::from_str::<Count>(text).unwrap(), marked);
        assert_eq!(serde_json::from_str::<Count>(r#"{"count":5,"revision":12}"#).unwrap(), quiet);
    }

    proptest! {
        /// Goal: counts lead to the same result in any order of arrival. Method: fold them in random order, and expect the
        /// greatest revision.
        #[test]
        fn folding_ends_at_the_greatest_revision(
            shuffled in Just((1..40).map(|n| count(n * 7 % 13, n)).collect::<Vec<_>>()).prop_shuffle(),
            repeats in proptest::collection::vec(0usize..39, 0..40),
        ) {
            let mut held = Count::default();
            let arrivals = shuffled.iter().chain(repeats.iter().map(|&index| &shuffled[index]));
            for arrival in arrivals {
                if arrival.supersedes(&held) {
                    held = *arrival;
                }
            }
            prop_assert_eq!(held, count(39 * 7 % 13, 39));
        }
    }
}
