//! What this instance believes the count to be, exact or an estimate. It changes only when replies, announcements and local
//! changes are folded in.
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
//! A report stands for a lease. If no report was answered for a lease, the store may have counted this instance out. Then no
//! count is exact, and a count that is heard does not say how many users the other instances have. Methods that depend on
//! this take the current time.
//!
//! The estimate is who is here, plus what was last known of all other instances. It is always right about the connections without
//! an identity here. A user who has one may be on other instances, too. Then he is part of what is elsewhere, and not of who is
//! here.

mod reading;

use std::{mem, time::Duration};

use tokio::time::Instant;

use super::{
    count::{Count, Incarnation, Revision, Sequence, Stamp, estimate},
    fold_clock::FoldClock,
    peaks::Sight,
    report::{Outcome, Reply},
    site_users::SiteUsers,
    tally::Local,
};

/// What this instance knows of the count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// The id under which this instance reports.
    incarnation: Option<Incarnation>,
    /// How long a report stands.
    lease: Duration,
    /// The count with the highest revision that was received, recovering or not.
    newest: Count,
    /// The newest announcement of rooms: its revision and its stamp.
    newest_page: (Revision, Stamp),
    /// The last count that was not recovering. It is shown while the view is exact.
    base: Option<Count>,
    /// Users of all other instances, also those who are here, too, as of the last time this was certain: see
    /// [`View::is_ours_certain`].
    elsewhere: Option<u64>,
    /// Reports under way, and the newest report that was sent.
    under_way: u32,
    newest_sent: Sequence,
    /// Whether the last report was answered, rather than failed or left without an answer.
    reachable: bool,
    /// The local count, and the users with an identity, at most one report gap old.
    local: Local,
    users: SiteUsers,
    /// The newest local count that the store has acknowledged, the last change that it includes in full, and the sequence number
    /// that it was sent with.
    acknowledged: Local,
    acknowledged_sequence: Option<Sequence>,
    /// The report by which the store was told all users of the site, since this incarnation began and since it denied to be told.
    site_told_by: Option<Sequence>,
    /// Whether it was acknowledged while the store was recovering. Then announcements from before the loss may still arrive,
    /// which do not include it.
    acknowledged_in_recovery: bool,
    /// Whether the last announcement said that the store is recovering.
    recovery_announced: bool,
    /// The last revision that the store said it had published.
    announced: Revision,
    /// When the newest answered report was sent.
    answered: Option<Instant>,
    /// When something of the store was last folded in.
    folded: FoldClock,
    /// Live instances.
    instances: u32,
    /// Incarnations that have ended and whose users were still being taken out of the count as of the last answer.
    dead: u32,
    /// The highest exact count since [`View::take_highest`].
    highest: Option<Sight>,
}

/// The count as it is shown to people and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Users in the whole cluster.
    pub users: u64,
    /// The revision that the number is based on.
    pub revision: Revision,
    /// False for an estimate.
    pub exact: bool,
}

impl View {
    /// The count to show at `now`.
    pub fn shown(&self, now: Instant) -> Shown {
        match self.base {
            Some(base)
                if self.is_reachable(now)
                    && self.site_told_by.is_some()
                    && !self.newest.recovering =>
            {
                Shown { users: base.users, revision: base.revision, exact: true }
            }
            _ => Shown { users: self.estimate(), revision: self.base_revision(), exact: false },
        }
    }

    /// Who is here plus what was last known of all others. It includes every change up to [`View::estimated`].
    pub fn estimate(&self) -> u64 {
        let heard = self.base.map_or(0, |base| base.users);
        estimate(self.elsewhere, heard, self.local.anonymous + self.users.here_alone)
    }

    /// What the store holds for this instance alone.
    fn stored_alone(&self) -> u64 {
        self.acknowledged.anonymous + self.users.stored_alone
    }

    fn base_revision(&self) -> Revision {
        self.base.map_or_else(Revision::default, |base| base.revision)
    }

    /// Records that a report was sent.
    pub fn report_sent(&mut self, sequence: Sequence) {
        self.under_way += 1;
        self.newest_sent = sequence;
    }

    /// Records that a report has ended, answered or not.
    pub fn report_ended(&mut self) {
        self.under_way = self.under_way.checked_sub(1).expect("a report ends once");
    }

    /// Whether [`View::fold_reply`] will take over from this reply how many users the other instances have: it is newer than what
    /// was acknowledged before, and the store holds all users of this instance, and of the others.
    pub fn reckons(&self, sent: SentReport, reply: &Reply) -> bool {
        let is_whole = !reply.count.recovering && (self.are_users_told() || sent.is_site_told);
        self.is_newly_acknowledged(sent, reply) && (is_whole || self.elsewhere.is_none())
    }

    /// Whether the store holds all users whom it takes.
    fn are_users_told(&self) -> bool {
        self.site_told_by.is_some() || self.users.are_denied
    }

    fn is_newly_acknowledged(&self, sent: SentReport, reply: &Reply) -> bool {
        reply.is_applied() && Some(sent.sequence) > self.acknowledged_sequence
    }

    /// Folds in the answer to a report that has ended. `users` are those of the site after this answer.
    pub fn fold_reply(&mut self, sent: SentReport, reply: &Reply, users: SiteUsers, now: Instant) {
        let is_reckoned = self.reckons(sent, reply);
        self.folded.fold(now);
        self.observe_users(users);
        self.reachable = true;
        self.instances = reply.instances;
        self.dead = reply.dead;
        self.announced = reply.announced;
        if reply.outcome == Outcome::Resend {
            // The store does not hold this instance, so its count does not include the local users.
            self.note(reply.count);
            return;
        }
        self.answered = self.answered.max(Some(sent.at));
        let held = self.hold(reply.count);
        self.note_highest(now);
        if !self.is_newly_acknowledged(sent, reply) {
            return;
        }
        self.acknowledged_sequence = Some(sent.sequence);
        let change = if sent.is_site_told { sent.local.change } else { self.covered() };
        self.acknowledged = Local { change, ..sent.local };
        self.acknowledged_in_recovery = reply.count.recovering;
        if sent.is_site_told {
            self.site_told_by = Some(sent.sequence);
        }
        if is_reckoned && !users.are_doubtful {
            self.elsewhere = Some(reply.count.users.saturating_sub(self.stored_alone()));
        }
        if !held {
            self.reckon_others(now);
        }
    }

    /// Folds in an announcement.
    pub fn fold(&mut self, count: Count, now: Instant) {
        self.folded.fold(now);
        let was_recovering = mem::replace(&mut self.recovery_announced, count.recovering);
        if self.hold(count) {
            if was_recovering && !count.recovering {
                // Announcements arrive in order, so this one, which ends the recovery, was made after the loss.
                self.acknowledged_in_recovery = false;
            }
            self.reckon_others(now);
        }
        self.note_highest(now);
    }

    /// Takes over the count if its revision is greater. Returns whether the base has changed.
    fn hold(&mut self, count: Count) -> bool {
        self.note(count);
        let is_newer = self.base.is_none_or(|base| count.supersedes(&base));
        let becomes_base = count.revision == self.newest.revision
            && is_newer
            && (!count.recovering || self.base.is_none());
        if becomes_base {
            self.base = Some(count);
        }
        becomes_base
    }

    /// Notes the count if it is exact and the highest. A reader of the view may skip it.
    fn note_highest(&mut self, now: Instant) {
        let highest = self.highest.map_or(0, |highest| highest.users);
        if let Some(sight) = self.exact(now).filter(|sight| sight.users > highest) {
            self.highest = Some(sight);
        }
    }

    /// The count at `now` for the peaks, if it is exact and has no users of incarnations that have ended, as far as is known.
    pub fn exact(&self, now: Instant) -> Option<Sight> {
        let Shown { users, revision, exact } = self.shown(now);
        let is_certain = exact && self.dead == 0;
        is_certain.then_some(Sight { users, revision, instances: self.instances, at: now })
    }

    /// Incarnations that have ended whose users are still being taken out of rooms, as the store said last.
    pub fn dead(&self) -> u32 {
        self.dead
    }

    /// The highest exact count since the last call, which may have lasted for a moment only.
    pub fn take_highest(&mut self) -> Option<Sight> {
        self.highest.take()
    }

    /// Remembers the count for the next report, and whether the store is recovering.
    fn note(&mut self, count: Count) {
        if count.supersedes(&self.newest) {
            self.newest = count;
        }
    }

    /// Records an announcement of rooms. It says nothing of the site's count, nor whether the store is recovering.
    pub fn see_page(&mut self, revision: Revision, stamp: Stamp) {
        if revision > self.newest_page.0 {
            self.newest_page = (revision, stamp);
        }
    }

    /// Computes the users of all other instances from the base, if it is certain which local users the base includes.
    fn reckon_others(&mut self, now: Instant) {
        if let Some(base) = self.base
            && !self.newest.recovering
            && self.is_ours_certain(now)
        {
            self.elsewhere = Some(base.users.saturating_sub(self.stored_alone()));
        }
    }

    /// Whether a count that arrives now includes exactly the local users that were acknowledged. That is not certain while a
    /// report is unanswered or has failed, since it may have run all the same, and unless [`View::is_ours_kept`].
    fn is_ours_certain(&self, now: Instant) -> bool {
        let is_settled = self.answered.is_none()
            || (self.acknowledged_sequence == Some(self.newest_sent) && self.are_users_told());
        is_settled && !self.users.are_doubtful && self.is_ours_kept(now)
    }

    /// Whether a count that arrives now includes everything that was acknowledged. That is not certain when the lease may have
    /// ended, since this instance may have been counted out; and when the count may be older than a loss after which it was
    /// acknowledged.
    pub fn is_ours_kept(&self, now: Instant) -> bool {
        // Announcements may arrive although the store has never answered a report.
        let is_held =
            if self.answered.is_some() { self.holds_lease(now) } else { self.under_way == 0 };
        is_held && !self.acknowledged_in_recovery
    }

    /// Records that the store did not answer: from now on the view is an estimate. Returns whether this is a change.
    pub fn mark_unreachable(&mut self) -> bool {
        mem::replace(&mut self.reachable, false)
    }

    /// Takes over the local count.
    pub fn observe(&mut self, local: Local) {
        self.local = local;
    }

    /// Takes over the users of the site.
    pub fn observe_users(&mut self, users: SiteUsers) {
        self.users = users;
        if users.are_denied {
            self.site_told_by = None;
        }
    }

    /// Begins a new incarnation whose reports stand for `lease`. Nothing has been acknowledged yet.
    pub fn begin_incarnation(&mut self, incarnation: Incarnation, lease: Duration) {
        self.incarnation = Some(incarnation);
        self.lease = lease;
        self.acknowledged_sequence = None;
        self.acknowledged = Local::default();
        self.site_told_by = None;
    }
}

/// A report that is under way: what it was sent with, and when.
#[derive(Clone, Copy, Debug)]
pub struct SentReport {
    /// The sequence number.
    pub sequence: Sequence,
    /// The local count that it carried.
    pub local: Local,
    /// Whether it left out no user of the site whose presence had changed.
    pub is_site_told: bool,
    /// When it was sent.
    pub at: Instant,
}

#[cfg(test)]
#[path = "view/tests.rs"]
mod tests;
