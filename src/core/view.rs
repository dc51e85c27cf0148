//! What this instance holds the count to be, exact or estimated: pure data, changed only by folding in what
//! was heard.
//!
//! ```text
//!                 a reply                       the count ends recovering
//!   ┌─────────┐ ──────────▶ ┌───────┐ ◀───────────────────────────────── ┌────────────┐
//!   │ no base │             │ exact │                                    │ recovering │
//!   └─────────┘             └───────┘ ─────────────────────────────────▶ └────────────┘
//!        │                   │     ▲    the store found its data lost       (estimate)
//!        │ no answer         ▼     │ a reply
//!        └───────────────▶ ┌─────────┐ ◀── a lease since the newest answered report was sent
//!                          │  away   │ (estimate)
//!                          └─────────┘
//! ```
//!
//! A report stands for a lease. When none was answered for so long, whatever the reason, the store may have taken this
//! instance's users out of the count: then no count is exact, and what is heard says nothing of all others. What depends
//! on this is asked with the time of now.
//!
//! The estimate is the local count plus what was last known of all other instances. It is right about the
//! users here, whatever has become of the reports that speak of them.

use std::{mem, time::Duration};

use tokio::time::Instant;

use super::{
    count::{Count, Incarnation, Revision, Sequence},
    report::Reply,
    tally::{Change, Local},
};

/// What this instance knows of the count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// Under which name this instance reports.
    incarnation: Option<Incarnation>,
    /// How long a report stands.
    lease: Duration,
    /// The highest revision heard of, recovering or not, with its number; sent along with every report.
    seen: Count,
    /// The last count that was not recovering; what is shown while the view is exact.
    base: Option<Count>,
    /// Users of all other instances, as of the last moment when this was certain: see [`View::is_ours_certain`].
    elsewhere: Option<u64>,
    /// Reports under way, and the newest report that was sent.
    under_way: u32,
    newest_sent: Sequence,
    /// Whether the last word from the store was an answer rather than an error or silence.
    reachable: bool,
    /// The local count, at most one report gap old.
    local: Local,
    /// The newest local count that the store is known to hold, and the sequence it was sent with.
    acknowledged: Local,
    acknowledged_sequence: Option<Sequence>,
    /// Whether it was acknowledged while the store was recovering. Then an announcement from before the loss may still
    /// come, which does not include it.
    acknowledged_in_recovery: bool,
    /// Whether the last announcement said that the store is recovering.
    recovery_announced: bool,
    /// The last revision that the store said it had published.
    announced: Revision,
    /// When the newest answered report was sent.
    answered: Option<Instant>,
    /// Live instances.
    instances: u32,
}

/// The view as it is shown to people and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Users in the whole cluster.
    pub users: u64,
    /// The revision this stands on.
    pub revision: Revision,
    /// False for an estimate.
    pub exact: bool,
}

impl View {
    /// What to show now.
    pub fn shown(&self, now: Instant) -> Shown {
        match self.base {
            Some(base) if self.is_reachable(now) && !self.seen.recovering => {
                Shown { users: base.users, revision: base.revision, exact: true }
            }
            _ => Shown { users: self.estimate(), revision: self.base_revision(), exact: false },
        }
    }

    /// The local count plus what was last known of all others. It includes every change up to
    /// [`View::estimated`].
    pub fn estimate(&self) -> u64 {
        self.elsewhere.unwrap_or(0) + self.local.users
    }

    fn base_revision(&self) -> Revision {
        self.base.map_or_else(Revision::default, |base| base.revision)
    }

    /// A report went out.
    pub fn report_sent(&mut self, sequence: Sequence) {
        self.under_way += 1;
        self.newest_sent = sequence;
    }

    /// A report came to its end, answered or not.
    pub fn report_ended(&mut self) {
        self.under_way = self.under_way.checked_sub(1).expect("a report ends once");
    }

    /// Folds in the answer to a report that has ended.
    pub fn fold_reply(&mut self, sent: SentReport, reply: &Reply, now: Instant) {
        self.reachable = true;
        self.instances = reply.instances;
        self.announced = reply.announced;
        self.answered = self.answered.max(Some(sent.at));
        let held = self.hold(reply.count);
        if !reply.applied || Some(sent.sequence) <= self.acknowledged_sequence {
            return;
        }
        self.acknowledged_sequence = Some(sent.sequence);
        self.acknowledged = sent.local;
        self.acknowledged_in_recovery = reply.count.recovering;
        if !reply.count.recovering || self.elsewhere.is_none() {
            self.elsewhere = Some(reply.count.users.saturating_sub(sent.local.users));
        }
        if !held {
            self.reckon_others(now);
        }
    }

    /// Folds in an announcement.
    pub fn fold(&mut self, count: Count, now: Instant) {
        let was_recovering = mem::replace(&mut self.recovery_announced, count.recovering);
        if self.hold(count) {
            if was_recovering && !count.recovering {
                // Announcements come in order: this is the end of the recovery, so it is from after the loss.
                self.acknowledged_in_recovery = false;
            }
            self.reckon_others(now);
        }
    }

    /// Takes over what has the greater revision; whether the base is a new one.
    fn hold(&mut self, count: Count) -> bool {
        if !count.supersedes(&self.seen) {
            return false;
        }
        self.seen = count;
        let becomes_base = !count.recovering || self.base.is_none();
        if becomes_base {
            self.base = Some(count);
        }
        becomes_base
    }

    /// What is in the base beside our own users, if it is certain which of ours are.
    fn reckon_others(&mut self, now: Instant) {
        if let Some(base) = self.base
            && !self.seen.recovering
            && self.is_ours_certain(now)
        {
            self.elsewhere = Some(base.users.saturating_sub(self.acknowledged.users));
        }
    }

    /// Whether a count that comes now includes of our users what was acknowledged, and nothing else: not while a
    /// report is unanswered, be it under way or failed, which may have run all the same; nor when the lease may have ended,
    /// and our users with it; nor when the count may be from before a loss that the acknowledgement came after.
    fn is_ours_certain(&self, now: Instant) -> bool {
        let is_settled = match self.answered {
            Some(_) => {
                self.acknowledged_sequence == Some(self.newest_sent) && self.holds_lease(now)
            }
            // The store may never accept a report of ours, and still be heard.
            None => self.under_way == 0,
        };
        is_settled && !self.acknowledged_in_recovery
    }

    /// The store failed to answer: from here on the view is an estimate. Returns whether it was none before.
    pub fn lose(&mut self) -> bool {
        mem::replace(&mut self.reachable, false)
    }

    /// The local count has changed.
    pub fn observe(&mut self, local: Local) {
        self.local = local;
    }

    /// A new incarnation begins, whose reports stand for `lease`: nothing has been acknowledged to it yet.
    pub fn begin_incarnation(&mut self, incarnation: Incarnation, lease: Duration) {
        self.incarnation = Some(incarnation);
        self.lease = lease;
        self.acknowledged_sequence = None;
        self.acknowledged = Local::default();
    }

    /// Under which name this instance reports; `None` before it began.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// The highest revision heard of, with its number.
    pub fn seen(&self) -> Count {
        self.seen
    }

    /// Changes up to this one are in the store's count.
    pub fn covered(&self) -> Change {
        self.acknowledged.change
    }

    /// Changes up to this one are in the estimate.
    pub fn estimated(&self) -> Change {
        self.local.change
    }

    /// Whether what is shown surely includes this change, which is none after [`View::estimated`]: the estimate does, an
    /// exact count if the store has counted the change and not lost it.
    pub fn shown_includes(&self, change: Change, now: Instant) -> bool {
        !self.shown(now).exact || (change <= self.covered() && !self.acknowledged_in_recovery)
    }

    /// The local count that the store holds for this instance: none once its lease may have ended.
    pub fn acknowledged_users(&self, now: Instant) -> u64 {
        if self.holds_lease(now) { self.acknowledged.users } else { 0 }
    }

    /// Whether the store surely holds what was acknowledged last. A lease begins when the report is applied, which is
    /// later than when it was sent.
    pub fn holds_lease(&self, now: Instant) -> bool {
        self.lease_ends().is_some_and(|end| now < end)
    }

    /// When the lease may have ended, if no later report is answered; `None` before the first answer.
    pub fn lease_ends(&self) -> Option<Instant> {
        self.answered.map(|sent_at| sent_at + self.lease)
    }

    /// The last revision the store said it had published.
    pub fn announced(&self) -> Revision {
        self.announced
    }

    /// When the newest answered report was sent; `None` before the first.
    pub fn answered(&self) -> Option<Instant> {
        self.answered
    }

    /// How old the newest acknowledged state of the store is: the time since the newest answered report was
    /// sent. Zero before the first.
    pub fn age(&self, now: Instant) -> Duration {
        self.answered.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// Whether the store answered last time, and within a lease.
    pub fn is_reachable(&self, now: Instant) -> bool {
        self.reachable && self.holds_lease(now)
    }

    /// Whether the last word from the store was an answer, however long ago.
    pub fn answers(&self) -> bool {
        self.reachable
    }

    /// Live instances, as of the last reply.
    pub fn instances(&self) -> u32 {
        self.instances
    }
}

/// What a report that is under way was sent with.
#[derive(Clone, Copy, Debug)]
pub struct SentReport {
    /// Its sequence.
    pub sequence: Sequence,
    /// The local count it carried.
    pub local: Local,
    /// When it was sent.
    pub at: Instant,
}

#[cfg(test)]
#[path = "view/tests.rs"]
mod tests;
