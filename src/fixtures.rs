//! What the tests inside several modules share.

/// Valid input made invalid.
pub(crate) use headcount_mutate as mutate;

use crate::core::{
    count::{Count, Revision, Sequence},
    report::Reply,
};

/// A count of a store that is not recovering.
pub(crate) fn count(users: u64, revision: u64) -> Count {
    Count { users, revision: Revision(revision), ..Count::default() }
}

/// The answer to a report that was applied and changed the count to this one, which was published.
pub(crate) fn reply(count: Count) -> Reply {
    Reply {
        count,
        announced: count.revision,
        instances: 2,
        stored_sequence: Sequence::default(),
        ..Reply::default()
    }
}
