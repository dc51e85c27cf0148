//! What an instance says to the store, and what it hears back. Plain data.

use std::{sync::Arc, time::Duration};

use super::{
    about::About,
    count::{Count, Incarnation, Revision, Sequence, WHOLE_MAX},
};

/// An instance tells the store its local count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who reports.
    pub incarnation: Incarnation,
    /// Fresh on every send.
    pub sequence: Sequence,
    /// Connections on this instance, as an absolute number; at most [`LOCAL_MAX`].
    pub users: u64,
    /// The highest revision this instance has seen, and the count seen with it. By these a store that lost
    /// or rolled back its data finds out.
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
/// The shortest lease a store accepts: below it, a garbage collection of the network would look like death.
pub const LEASE_MIN: Duration = Duration::from_millis(100);
/// The longest lease a store accepts: above it, a crash would show for longer than anybody waits.
pub const LEASE_MAX: Duration = Duration::from_mins(5);

/// What a [`Report`] asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportKind {
    /// Here is my count.
    #[default]
    Plain,
    /// I am leaving; my count goes, my sequence stays fenced for a lease.
    Farewell,
    /// Here is my count, and recount the total from its parts.
    Audit,
}

/// What the store answers to a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// False if the report was stale: its sequence was not above the stored one, and nothing changed.
    pub applied: bool,
    /// The count after this report.
    pub count: Count,
    /// The last revision that was published.
    pub announced: Revision,
    /// Live instances: incarnations that hold a count, also a count of 0.
    pub instances: u32,
    /// The sequence that was stored for this incarnation before this report; 0 if none.
    pub stored_sequence: Sequence,
    /// Expired leases this call removed, at most [`REAPED_MAX`].
    pub reaped: u32,
    /// Values this call found wrong and put right.
    pub repaired: u32,
}

/// Expired leases one call removes at most, which bounds how long it holds the store up; whoever is told
/// this number reports again at once.
pub const REAPED_MAX: u32 = 128;

/// Who is alive, according to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The public count, what `GET currentUsers` shows.
    pub users: u64,
    /// The revision, and whether the store is recovering.
    pub count: Count,
    /// One entry per incarnation that holds a count, in order of their making.
    pub instances: Vec<RosterEntry>,
}

/// One incarnation in a [`Roster`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterEntry {
    /// Its id, as stored.
    pub incarnation: String,
    /// Its connections.
    pub users: u64,
    /// How much of its lease is left on the lease clock, as of the last report of anybody; `None` if it
    /// holds no lease.
    pub lease_left: Option<Duration>,
    /// Who it is; `None` if it has not said so, as versions before this field do not, or if that cannot be read.
    pub about: Option<Arc<About>>,
}
