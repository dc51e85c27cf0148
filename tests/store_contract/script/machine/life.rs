//! One instance as the reference model knows it: how many users it has, and what the store may hold of it.

use super::{super::stage::LEASE, transition::Ear};

/// The number of a life, in the order of birth.
pub(super) type Who = usize;

#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) users: u64,
    pub(super) is_living: bool,
    /// Cut off from the store: whatever it sends is lost.
    pub(super) is_cut: bool,
    pub(super) ear: Ear,
    pub(super) next_report: u64,
    /// Whether it was there when all was last right.
    pub(super) knows: bool,
    /// The smallest and the greatest number of users since all was last right.
    pub(super) least: u64,
    pub(super) most: u64,
    /// The number of its last report, and of the last one that the store has applied.
    made: u64,
    pub(super) fence: u64,
    /// What the store may hold of it; nothing before its first report, after a farewell and after its lease.
    pub(super) parts: Vec<Option<u64>>,
    /// How much the lease clock had run, at most, when the store heard of it last.
    heard_of: u64,
}

impl Life {
    pub(super) fn new(users: u64, now: u64) -> Self {
        Self {
            users,
            is_living: true,
            is_cut: false,
            ear: Ear::Prompt,
            next_report: now,
            knows: false,
            least: 0,
            most: users,
            made: 0,
            fence: 0,
            parts: vec![None],
            heard_of: 0,
        }
    }

    pub(super) fn observe(&mut self, users: u64) {
        self.users = users;
        self.least = self.least.min(users);
        self.most = self.most.max(users);
    }

    pub(super) fn die(&mut self) {
        self.is_living = false;
        self.least = 0;
    }

    /// The number of a new report.
    pub(super) fn make_report(&mut self, next_report: u64) -> u64 {
        self.next_report = next_report;
        self.made += 1;
        self.made
    }

    pub(super) fn apply(&mut self, number: u64, users: Option<u64>, aged: u64) {
        self.fence = number;
        self.parts = vec![users];
        self.most = self.most.max(users.unwrap_or(0));
        self.heard_of = aged;
    }

    /// A report arrives that is too late, but it is unknown whether its fence still exists.
    pub(super) fn may_apply(&mut self, users: Option<u64>, aged: u64) {
        self.parts.extend([users, None]);
        self.most = self.most.max(users.unwrap_or(0));
        self.heard_of = aged;
    }

    /// Whether its fence surely stands: for as long as its lease, or that of its tombstone.
    pub(super) fn is_fenced(&self, aged: u64) -> bool {
        self.parts.len() == 1 && self.fence > 0 && self.is_fresh(aged)
    }

    fn is_fresh(&self, aged: u64) -> bool {
        aged - self.heard_of <= LEASE
    }

    /// Its lease may have run out by now. Says whether it surely has not.
    pub(super) fn grow_old(&mut self, aged: u64) -> bool {
        let is_fresh = self.is_fresh(aged);
        if !is_fresh && !self.parts.contains(&None) {
            self.parts.push(None);
        }
        is_fresh
    }

    /// Whether the store surely holds what is true.
    pub(super) fn is_known(&self) -> bool {
        self.parts == [Some(self.users)]
    }

    /// Whether the store may hold a part of a dead instance, or none of a live one.
    pub(super) fn may_be_miscounted(&self) -> bool {
        if self.is_living { self.parts.contains(&None) } else { self.parts != [None] }
    }

    /// All is right.
    pub(super) fn settle(&mut self) {
        let users = if self.is_living { self.users } else { 0 };
        self.parts = vec![self.is_living.then_some(users)];
        (self.least, self.most) = (users, users);
        self.knows = self.is_living;
    }
}
