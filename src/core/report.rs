//! What an instance tells the store, and what the store answers. Plain data.

use std::{sync::Arc, time::Duration};

use super::{
    about::About,
    count::{Count, Incarnation, Revision, Sequence, WHOLE_MAX},
};

/// A report: an instance tells the store its local count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The instance that reports.
    pub incarnation: Incarnation,
    /// A new number for every send, also for retries.
    pub sequence: Sequence,
    /// Connections on this instance, as an absolute number; at most [`LOCAL_MAX`].
    pub users: u64,
    /// The count with the highest revision that this instance has seen. It tells a store that it has lost data.
    pub seen: Count,
    /// How long this report stands: [`LEASE_MIN`] to [`LEASE_MAX`].
    pub lease: Duration,
    /// What is asked for.
    pub kind: ReportKind,
    /// Who reports, for operators; `None` leaves what was said before.
    pub about: Option<Arc<About>>,
}

impl Report {
    /// Whether everything is in the range that a store accepts.
    pub fn is_valid(&self) -> bool {
        let seen = self.seen.users.max(self.seen.revision.0);
        self.users <= LOCAL_MAX
            && self.sequence.0.max(seen) <= WHOLE_MAX
            && (LEASE_MIN..=LEASE_MAX).contains(&self.lease)
            && self.about.as_ref().is_none_or(|about| about.is_valid())
    }
}

/// The most connections one report may claim.
pub const LOCAL_MAX: u64 = 1_000_000_000;
/// The shortest lease that a store accepts. With a shorter one, a short delay of the network would look like a crash.
pub const LEASE_MIN: Duration = Duration::from_millis(100);
/// The longest lease that a store accepts. A crashed instance is counted for a lease.
pub const LEASE_MAX: Duration = Duration::from_mins(5);

/// What a [`Report`] asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportKind {
    /// Report the local count.
    #[default]
    Plain,
    /// Count the instance out. Its sequence number stays fenced for a lease.
    Farewell,
    /// Report the local count, and recount the total from its parts.
    Audit,
}

/// What the store answers to a [`Report`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// False if the report was stale: its sequence number was not above the stored one, and nothing changed.
    pub applied: bool,
    /// The count after this report.
    pub count: Count,
    /// The last revision that was published.
    pub announced: Revision,
    /// Live instances, also those without connections.
    pub instances: u32,
    /// The sequence number that was stored for this incarnation before this report; 0 if none was.
    pub stored_sequence: Sequence,
    /// Expired leases that this call removed, at most [`REAPED_MAX`].
    pub reaped: u32,
    /// How many of these were of instances that were still counted: they ended without a farewell.
    pub crashed: u32,
    /// Values that this call found wrong and corrected.
    pub repaired: u32,
}

/// The most expired leases that one call removes, which limits how long a call takes. An instance that is told this number
/// reports again at once.
pub const REAPED_MAX: u32 = 128;

/// The live instances, according to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The value of the public key, `currentUsers`.
    pub users: u64,
    /// The revision, and whether the store is recovering.
    pub count: Count,
    /// One entry for each live incarnation, the oldest first.
    pub instances: Vec<RosterEntry>,
}

/// One incarnation in a [`Roster`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterEntry {
    /// The id, as stored.
    pub incarnation: String,
    /// The connections of this incarnation.
    pub users: u64,
    /// The rest of the lease on the lease clock, as of the last report of any instance; `None` if it holds no lease.
    pub lease_left: Option<Duration>,
    /// Who it is; `None` if it has not said so, as versions before this field do not, or if that cannot be read.
    pub about: Option<Arc<About>>,
}
