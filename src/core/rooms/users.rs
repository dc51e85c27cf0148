//! The users of one room with an identity: those that are here, and those that the store holds for this instance.

use std::sync::Arc;

use super::key::{Key, Pending};
use crate::core::{
    report::UserPresence,
    room::{IdentityKind, UserId},
    site_users::UsersHere,
    small_map::SmallMap,
    user_list::Info,
};

/// Users of a room with an identity. A room without such users needs no memory for them.
#[derive(Debug, Default)]
pub(super) struct Users(Option<Box<Known>>);

/// At least one user, and the sums over all of them.
#[derive(Debug, Default)]
struct Known {
    by_id: SmallMap<UserId, User>,
    sums: Sums,
}

/// How many users there are of each kind.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    here_alone: u64,
    stored_alone: u64,
    here: UsersHere,
}

/// A user of a room.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) connections: u32,
    /// Numbers the stay after the last connection; 0 if there is none.
    pub(super) lingers: u32,
    pub(super) key: Key,
    /// Whether another instance holds this user in the room, as of the last report that named the user.
    pub(super) is_elsewhere: bool,
    kind: IdentityKind,
    /// What others may read of the user, as JSON.
    info: Option<Arc<str>>,
    /// How many of the connections have said something of the user.
    informed: u32,
}

impl Default for User {
    fn default() -> Self {
        Self {
            connections: 0,
            lingers: 0,
            key: Key::default(),
            is_elsewhere: false,
            kind: IdentityKind::Visitor,
            info: None,
            informed: 0,
        }
    }
}

impl User {
    /// What is reported of the user: 1 if he counts as being here.
    pub(super) fn value(&self) -> u32 {
        u32::from(self.connections > 0 || self.lingers > 0)
    }

    /// Adds a connection of the user, which says this of him. If it says nothing, what other connections have said stays.
    pub(super) fn enter(&mut self, kind: IdentityKind, info: Option<&Arc<str>>) {
        self.connections += 1;
        self.lingers = 0;
        self.kind = kind;
        self.informed += u32::from(info.is_some());
        if info.is_some() || self.informed == 0 {
            self.learn(info);
        }
    }

    /// Ends one of several connections. If no other one has said something of the user, nothing is known of him.
    pub(super) fn exit(&mut self, is_informed: bool) {
        self.connections -= 1;
        self.informed -= u32::from(is_informed);
        if self.informed == 0 {
            self.learn(None);
        }
    }

    /// Ends the last connection. What is known of the user stays with him for the grace.
    pub(super) fn exit_last(&mut self, lingers: u32) {
        (self.connections, self.informed, self.lingers) = (0, 0, lingers);
    }

    fn learn(&mut self, info: Option<&Arc<str>>) {
        if info != self.info.as_ref() {
            self.info = info.cloned();
            self.key.is_outdated = true;
        }
    }

    /// What a report says of the user.
    pub(super) fn presence(&self) -> UserPresence {
        if self.value() > 0 { UserPresence::Here(self.info.clone()) } else { UserPresence::Gone }
    }

    /// The same if the store has acknowledged it before. Another instance may have said something newer of the user, which must not be
    /// replaced.
    pub(super) fn presence_again(&self) -> UserPresence {
        match self.presence() {
            UserPresence::Here(Some(info)) => UserPresence::Still(info),
            presence => presence,
        }
    }

    /// Records that the store was told this.
    fn told(&mut self, presence: &UserPresence) {
        if *presence == UserPresence::Here(self.info.clone()) {
            self.key.is_outdated = false;
        }
    }

    /// 1 if it is so of the user, and no other instance holds the user.
    fn alone(&self, is_so: bool) -> u64 {
        u64::from(is_so && !self.is_elsewhere)
    }

    fn is_over(&self) -> bool {
        self.value() == 0 && self.key.stored == 0 && self.key.pending == Pending::Settled
    }
}

impl Users {
    pub(super) fn get(&self, user: &UserId) -> Option<&User> {
        self.0.as_ref()?.by_id.get(user)
    }

    /// How many users are here that no other instance holds, as far as is known.
    pub(super) fn here_alone(&self) -> u64 {
        self.sums().here_alone
    }

    /// How many users the store holds for this instance and no other one.
    pub(super) fn stored_alone(&self) -> u64 {
        self.sums().stored_alone
    }

    /// How many users are here.
    pub(super) fn here(&self) -> UsersHere {
        self.sums().here
    }

    fn sums(&self) -> Sums {
        self.0.as_ref().map(|known| known.sums).unwrap_or_default()
    }

    /// Changes a user, and keeps the sums. A user who is not here, and whom the store does not hold, is removed.
    pub(super) fn change<T>(&mut self, id: &UserId, change: impl FnOnce(&mut User) -> T) -> T {
        let known = self.0.get_or_insert_default();
        let user = known.by_id.get_or_default(id);
        known.sums.remove(user);
        let result = change(user);
        known.sums.add(user);
        if user.is_over() {
            known.by_id.remove(id);
        }
        if known.by_id.is_empty() {
            self.0 = None;
        }
        result
    }

    /// Records that the store was told this of a user.
    pub(super) fn told(&mut self, user: &UserId, presence: &UserPresence) {
        if let Some(user) = self.0.as_mut().and_then(|known| known.by_id.get_mut(user)) {
            user.told(presence);
        }
    }

    /// Takes over whether another instance holds a user, too.
    pub(super) fn is_elsewhere(&mut self, user: &UserId, is_elsewhere: bool) {
        if self.get(user).is_some() {
            self.change(user, |user| user.is_elsewhere = is_elsewhere);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The first user after this one, in the order of ids.
    pub(super) fn after(&self, user: Option<&UserId>) -> Option<&UserId> {
        self.0.as_ref()?.by_id.after(user).next().map(|(id, _)| id)
    }

    /// The users who are here, in the order of their ids, and what others may read of each.
    pub(super) fn all_here(&self) -> impl Iterator<Item = (&UserId, IdentityKind, Info)> {
        let here = self.all().filter(|(_, user)| user.value() > 0);
        here.map(|(id, user)| (id, user.kind, user.info.clone()))
    }

    pub(super) fn ids(&self) -> Vec<UserId> {
        self.all().map(|(id, _)| id.clone()).collect()
    }

    fn all(&self) -> impl Iterator<Item = (&UserId, &User)> {
        self.0.iter().flat_map(|known| known.by_id.entries())
    }
}

impl Sums {
    fn add(&mut self, user: &User) {
        self.here_alone += user.alone(user.value() > 0);
        self.stored_alone += user.alone(user.key.stored > 0);
        *self.here.of_kind(user.kind) += u64::from(user.value());
    }

    fn remove(&mut self, user: &User) {
        self.here_alone -= user.alone(user.value() > 0);
        self.stored_alone -= user.alone(user.key.stored > 0);
        *self.here.of_kind(user.kind) -= u64::from(user.value());
    }
}
