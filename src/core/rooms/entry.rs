//! One room of the table: who is in it here, what the store holds of that, and what is known of its count. The site has such an
//! entry, too, for its users with an identity alone.

use super::{
    due::RoomId,
    key::{Key, Pending},
    users::{User, Users},
};
use crate::core::{
    count::{MaybeCount, Revision, estimate},
    report::Room,
    room::UserId,
    view::Shown,
};

/// A room of this instance, or the site. There are very many of them, so what most rooms do not have most of the time is kept
/// elsewhere.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: RoomId,
    pub(super) room: Room,
    /// Counted connections, with and without an identity.
    pub(super) members: u32,
    /// Counted connections without an identity.
    pub(super) anonymous: u32,
    pub(super) watchers: u32,
    /// The number of connections without an identity, as the store knows it.
    pub(super) own: Key,
    /// Users with an identity: those that are here, those that were here less than the grace ago, and those that the store may
    /// still hold for this instance.
    pub(super) users: Users,
    /// Keys whose values were not sent yet, and keys that were sent without an answer.
    pub(super) unsent: u32,
    pub(super) doubtful: u32,
    /// Keys that the store held for the former incarnation, and does not hold for this one yet.
    pub(super) lost: u32,
    /// Numbers the joins that changed a key, and the last of them that the store has acknowledged.
    pub(super) change: u64,
    pub(super) acknowledged: u64,
    pub(super) want: Want,
    /// The newest known count; revision 0 if none is known.
    pub(super) count: u64,
    pub(super) revision: Revision,
    /// How many of the count are not on this instance alone, as of the last time this was certain.
    pub(super) elsewhere: MaybeCount,
    /// Whether programs ask for the count.
    pub(super) is_asked: bool,
    /// Whether changes of its users are noted for a list.
    pub(super) is_listed: bool,
    pub(super) is_due: bool,
    pub(super) told_to: ToldTo,
    /// The count that the connections were told last; none if they were not all told the same.
    pub(super) told: MaybeCount,
}

/// Whom counts of a room were told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ToldTo {
    /// Only those whom the store has counted, and watchers.
    Counted,
    /// Also some whom it may not have counted yet. They were told an estimate.
    Uncounted,
}

/// Whether the count of a room is to be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Want {
    #[default]
    Nothing,
    Queued,
    /// The report with this number asks for it. The lower half of the number is enough: it tells apart reports that are under way
    /// at the same time.
    Asked(u32),
}

impl Want {
    /// The report with this number asks for the count.
    #[allow(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
    pub(super) fn asked_by(number: u64) -> Self {
        Self::Asked(number as u32)
    }
}

/// From which revision on counts of rooms are exact; `None` while none is.
pub(super) type ExactFrom = Option<Revision>;

impl Entry {
    pub(super) fn new(id: RoomId, room: Room) -> Self {
        Self {
            id,
            room,
            members: 0,
            anonymous: 0,
            watchers: 0,
            own: Key::default(),
            users: Users::default(),
            unsent: 0,
            doubtful: 0,
            lost: 0,
            change: 0,
            acknowledged: 0,
            want: Want::Nothing,
            count: 0,
            revision: Revision::default(),
            elsewhere: MaybeCount::NONE,
            is_asked: false,
            is_listed: false,
            is_due: false,
            told_to: ToldTo::Counted,
            told: MaybeCount::NONE,
        }
    }

    /// The count to show.
    pub(super) fn shown(&self, exact_from: ExactFrom) -> Shown {
        let is_exact = self.lost == 0
            && self.is_known()
            && exact_from.is_some_and(|from| self.revision >= from);
        if is_exact {
            return Shown { users: self.count, revision: self.revision, exact: true };
        }
        Shown { users: self.estimate(), revision: self.revision, exact: false }
    }

    /// What was last known of the other instances, and who is here alone.
    pub(super) fn estimate(&self) -> u64 {
        let here = u64::from(self.anonymous) + self.users.here_alone();
        estimate(self.elsewhere.get(), self.count, here)
    }

    /// What the store holds for this instance and no other one.
    pub(super) fn stored_alone(&self) -> u64 {
        u64::from(self.own.stored) + self.users.stored_alone()
    }

    /// Whether a count of the store is known.
    pub(super) fn is_known(&self) -> bool {
        self.revision > Revision::default()
    }

    /// Whether its count matters to somebody here.
    pub(super) fn is_of_interest(&self) -> bool {
        self.members > 0 || self.watchers > 0 || self.is_asked
    }

    /// Whether the store holds exactly what is here.
    pub(super) fn is_settled(&self) -> bool {
        self.unsent == 0 && self.doubtful == 0
    }

    /// Whether the room can be dropped from the table.
    pub(super) fn is_over(&self) -> bool {
        !self.is_of_interest() && self.is_settled() && self.own.stored == 0 && self.users.is_empty()
    }

    /// The last change that the count that the store has acknowledged includes.
    pub(super) fn covered(&self) -> u64 {
        if self.is_settled() && self.lost == 0 { self.change } else { self.acknowledged }
    }

    /// The value of a key now.
    pub(super) fn value(&self, user: Option<&UserId>) -> u32 {
        match user {
            None => self.anonymous,
            Some(user) => self.users.get(user).map_or(0, User::value),
        }
    }

    /// Changes a key, and keeps the numbers of keys in each state.
    pub(super) fn change_key(&mut self, user: Option<&UserId>, change: impl FnOnce(&mut Key)) {
        let mut before = Key::default();
        let mut after = Key::default();
        let both = |key: &mut Key| {
            before = *key;
            change(key);
            after = *key;
        };
        match user {
            None => both(&mut self.own),
            Some(id) => self.users.change(id, |user| both(&mut user.key)),
        }
        let is = |key: &Key, pending| u32::from(key.pending == pending);
        self.unsent += is(&after, Pending::News);
        self.unsent -= is(&before, Pending::News);
        self.doubtful += is(&after, Pending::InDoubt);
        self.doubtful -= is(&before, Pending::InDoubt);
        self.lost += u32::from(after.is_lost);
        self.lost -= u32::from(before.is_lost);
    }
}
