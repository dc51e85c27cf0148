//! A list of who is in a room, as clients are told it, and the difference between two lists.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    people::{LISTED_MAX, People, is_listed},
    room::UserId,
};

/// The most bytes of the users of a list, as [`bytes_of`] estimates them. A list waits in the memory of every instance that shows it.
const LIST_BYTES_MAX: usize = 32 * 1024;

/// What is known of a user: a JSON object.
pub type Info = Option<Arc<str>>;

/// Who is in a room: at most [`LISTED_MAX`] users, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserList {
    users: BTreeMap<UserId, Info>,
    more: u64,
}

/// What a list follows from.
#[derive(Clone, Copy, Debug)]
pub struct ListSources<'a> {
    /// What the store said last.
    pub stored: &'a People,
    /// Users who are here, as far as this instance knows. It is all of them, or more than a list may have.
    pub here: &'a [(UserId, Info)],
    /// Whether what the store said still holds. If not, those who were here alone are listed only while they are here.
    pub is_kept: bool,
}

/// How a list differs from one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Users who are on the list now and were not before, and those of whom other things are known.
    pub joined: Vec<(UserId, Info)>,
    /// Users who are not on the list any more.
    pub left: Vec<UserId>,
}

impl UserList {
    /// The list that follows this one. Whoever is on this one and still there stays on it, so that a full list does not change
    /// without need.
    #[must_use]
    pub fn next(&self, sources: ListSources<'_>) -> Self {
        let ListSources { stored, here, is_kept } = sources;
        let mut present: BTreeMap<&UserId, &Info> = BTreeMap::new();
        for listed in stored.users.iter().filter(|listed| is_kept || listed.is_elsewhere) {
            present.insert(&listed.user, &listed.info);
        }
        let in_store = present.len();
        for (user, info) in here.iter().filter(|(user, _)| is_listed(user)) {
            // What the store knows may be newer: the user may have said it on another instance.
            let known = present.entry(user).or_insert(info);
            if known.is_none() {
                *known = info;
            }
        }
        let here_alone = present.len() - in_store;
        let next = self.first_of(&present);
        let left_out = present.len() - next.users.len();
        // If the store names only a part, it has counted those who are here already.
        let uncounted =
            if stored.more == 0 { left_out } else { left_out.saturating_sub(here_alone) };
        Self { more: stored.more + uncounted as u64, ..next }
    }

    /// As many of these users as a list may have, those of this one first.
    fn first_of(&self, present: &BTreeMap<&UserId, &Info>) -> Self {
        let (staying, others): (Vec<_>, Vec<_>) =
            present.iter().partition(|(user, _)| self.users.contains_key(**user));
        let (mut users, mut bytes) = (BTreeMap::new(), 0);
        for (&user, &info) in staying.into_iter().chain(others) {
            bytes += bytes_of(user, info);
            if users.len() == LISTED_MAX || bytes > LIST_BYTES_MAX {
                break;
            }
            users.insert(user.clone(), info.clone());
        }
        Self { users, more: 0 }
    }

    /// The users, in the order of their ids.
    pub fn users(&self) -> impl Iterator<Item = (&UserId, Option<&str>)> {
        self.users.iter().map(|(user, info)| (user, info.as_deref()))
    }

    /// How many more there are.
    pub fn more(&self) -> u64 {
        self.more
    }

    /// How this list differs from one before, beside how many more there are.
    pub fn since(&self, before: &Self) -> Difference {
        let is_new = |(user, info): &(&UserId, &Info)| before.users.get(*user) != Some(*info);
        let is_gone = |user: &&UserId| !self.users.contains_key(*user);
        Difference {
            joined: self
                .users
                .iter()
                .filter(is_new)
                .map(|(user, info)| (user.clone(), info.clone()))
                .collect(),
            left: before.users.keys().filter(is_gone).cloned().collect(),
        }
    }
}

/// About how many bytes a user takes in a packet.
fn bytes_of(user: &UserId, info: &Info) -> usize {
    const AROUND: usize = 24;
    AROUND + user.as_str().len() + info.as_ref().map_or(0, |info| info.len())
}

#[cfg(test)]
#[path = "user_list/tests.rs"]
mod tests;
