//! What a view says of itself, beside the count: what was seen, acknowledged and answered.

use std::time::Duration;

use tokio::time::Instant;

use super::View;
use crate::core::{
    count::{Count, Incarnation, Revision, Sequence},
    included::Included,
    tally::Change,
};

impl View {
    /// The id under which this instance reports; `None` before the first incarnation.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// What a report says that this instance has seen: the highest revision that was received. If that is one of an announcement
    /// of rooms, the users are those of the newest count before.
    pub fn seen(&self) -> Count {
        let (revision, stamp) = self.newest_page;
        if revision > self.newest.revision {
            return Count { revision, stamp, ..self.newest };
        }
        self.newest
    }

    /// The count with the highest revision that was received.
    pub fn newest(&self) -> Count {
        self.newest
    }

    /// Whether the store has acknowledged a report of this incarnation. Until then, its count may not include the local users.
    pub fn is_counted(&self) -> bool {
        self.acknowledged_sequence.is_some()
    }

    /// Whether the newest acknowledged report was acknowledged while the store was recovering, and the end of that was not heard.
    /// Then a count from before the loss may still arrive, which does not include it.
    pub fn is_acknowledged_in_recovery(&self) -> bool {
        self.acknowledged_in_recovery
    }

    /// How long a report stands.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// The greatest sequence number of this incarnation that the store has acknowledged; 0 if none.
    pub fn acknowledged(&self) -> Sequence {
        self.acknowledged_sequence.unwrap_or_default()
    }

    /// The last local change that the store has acknowledged.
    pub fn covered(&self) -> Change {
        self.acknowledged.change
    }

    /// The last local change that the estimate includes.
    pub fn estimated(&self) -> Change {
        self.local.change
    }

    /// Which local changes the shown count includes. What was acknowledged during a recovery may be missing in a count from before
    /// the loss.
    pub fn included(&self, now: Instant) -> Included {
        let counted = if self.acknowledged_in_recovery { 0 } else { self.covered().0 };
        Included { is_exact: self.shown(now).exact, counted }
    }

    /// The connections without an identity that the store holds for this instance; 0 once the lease may have ended.
    pub fn acknowledged_anonymous(&self, now: Instant) -> u64 {
        if self.holds_lease(now) { self.acknowledged.anonymous } else { 0 }
    }

    /// Whether the store certainly still holds what it acknowledged last. The time is measured from the sending of the report;
    /// the lease begins later, when the report is applied. A count that was folded in after the lease may not include this instance,
    /// also for whoever has read the clock before.
    pub fn holds_lease(&self, now: Instant) -> bool {
        self.lease_ends().is_some_and(|end| self.folded.judged_at(now) < end)
    }

    /// When the lease may have ended, if no later report is answered; `None` before the first answer.
    pub fn lease_ends(&self) -> Option<Instant> {
        self.answered.map(|sent_at| sent_at + self.lease)
    }

    /// The last revision that the store said it had published.
    pub fn announced(&self) -> Revision {
        self.announced
    }

    /// When the newest answered report was sent; `None` before the first.
    pub fn answered(&self) -> Option<Instant> {
        self.answered
    }

    /// The time since the newest answered report was sent. Zero before the first answer.
    pub fn age(&self, now: Instant) -> Duration {
        self.answered.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// Whether the last report was answered, and a report was answered within the last lease.
    pub fn is_reachable(&self, now: Instant) -> bool {
        self.reachable && self.holds_lease(now)
    }

    /// Whether the last report was answered, however long ago.
    pub fn answers(&self) -> bool {
        self.reachable
    }

    /// Live instances, as of the last reply.
    pub fn instances(&self) -> u32 {
        self.instances
    }
}
