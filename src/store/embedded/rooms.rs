//! The rooms of the embedded store: what each incarnation holds in them, the counts that follow from it, and which counts are not
//! announced yet. No clock and no I/O.
//!
//! The cost of a step follows the entries of the report, not the number of rooms. All maps are trees, which give back the memory
//! of what is removed.

mod users;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    mem,
    ops::Bound,
};

use crate::{
    core::{
        count::Incarnation,
        people::People,
        report::{Report, Room, RoomsReply, UserReport},
        room::{RoomName, UserId},
    },
    store::{
        RoomsQuery,
        people::{PeoplePage, PeoplePageQuery, PeopleQuery},
    },
};
use users::Users;

/// The most rooms of one page.
const PAGE_ROOMS_MAX: usize = 100;

/// All rooms with somebody in them, and the users of the site.
///
/// Invariant: the connections of a room are the sum over `held`, and the holders of a user are the incarnations whose `held`
/// has the pair. So a count is right by its parts at any time, also while the rooms of a dead incarnation are being taken away.
#[derive(Debug, Default)]
pub(super) struct RoomTable {
    rooms: BTreeMap<RoomName, Members>,
    site_users: Users,
    held: BTreeMap<Incarnation, Held>,
    /// Incarnations that have ended, and still hold something.
    dead: BTreeSet<Incarnation>,
    /// Rooms whose members changed during this report, with the count that they had before it.
    touched: BTreeMap<RoomName, u64>,
    /// Rooms in which other users are than before this report, even if they are as many.
    stirred: BTreeSet<RoomName>,
    /// Rooms whose count, or whose users, have changed since it was announced.
    unannounced: BTreeSet<RoomName>,
    /// The last room of the last page. The next page goes on behind it, so that every room has its turn.
    paged_to: Option<RoomName>,
}

/// Who is in a room.
#[derive(Debug, Default)]
struct Members {
    /// Connections without an identity, on all instances.
    connections: u64,
    users: Users,
}

/// What an incarnation holds.
#[derive(Debug, Default)]
struct Held {
    /// Its connections without an identity in each room, never 0.
    connections: BTreeMap<RoomName, u64>,
    users: BTreeSet<(Room, UserId)>,
}

impl Members {
    fn count(&self) -> u64 {
        self.connections + self.users.len()
    }
}

impl RoomTable {
    /// Applies what a report says of rooms. The counts in the reply are left to the caller.
    pub(super) fn apply(&mut self, report: &Report) -> RoomsReply {
        let mut elsewhere = Vec::new();
        for entry in &report.rooms {
            if let (Room::Named(room), Some(connections)) = (&entry.room, entry.connections) {
                self.set_connections(report.incarnation, room, connections);
            }
            let users = entry.users.iter();
            elsewhere.extend(users.map(|user| self.set_user(report, &entry.room, user)));
        }
        let held = self.held.get(&report.incarnation);
        let rooms_held = held.map_or(0, |held| held.connections.len()) as u64;
        let users_held = held.map_or(0, |held| held.users.len()) as u64;
        if rooms_held + users_held == 0 {
            self.held.remove(&report.incarnation);
            self.dead.remove(&report.incarnation);
        }
        RoomsReply { rooms_held, users_held, elsewhere, counts: Vec::new() }
    }

    /// Notes that an incarnation has ended. What it holds is counted until [`RoomTable::take_away`] comes to it.
    pub(super) fn bury(&mut self, owner: Incarnation) {
        if self.held.contains_key(&owner) {
            self.dead.insert(owner);
        }
    }

    /// Takes away a part of what the dead hold: at most this many entries.
    pub(super) fn take_away(&mut self, most: usize) {
        for _ in 0..most {
            let Some(&owner) = self.dead.first() else { return };
            self.take_away_one(owner);
        }
    }

    fn take_away_one(&mut self, owner: Incarnation) {
        let held = self.held.entry(owner).or_default();
        if let Some((room, user)) = held.users.pop_first() {
            self.with_users(&room, |users| users.release(&user, owner));
        } else if let Some((room, connections)) = held.connections.pop_first() {
            self.change(&room, |members| members.connections -= connections);
        }
        let held = self.held.entry(owner).or_default();
        if held.users.is_empty() && held.connections.is_empty() {
            self.held.remove(&owner);
            self.dead.remove(&owner);
        }
    }

    fn set_connections(&mut self, owner: Incarnation, room: &RoomName, connections: u64) {
        let parts = &mut self.held.entry(owner).or_default().connections;
        let before = match connections {
            0 => parts.remove(room),
            some => parts.insert(room.clone(), some),
        };
        let others = |members: &Members| members.connections - before.unwrap_or_default();
        self.change(room, |members| members.connections = others(members) + connections);
    }

    /// Applies an entry of a user. Returns whether another instance holds him in that room, too.
    fn set_user(&mut self, report: &Report, room: &Room, entry: &UserReport) -> bool {
        let owner = report.incarnation;
        let pair = (room.clone(), entry.user.clone());
        let pairs = &mut self.held.entry(owner).or_default().users;
        let user = &entry.user;
        if entry.presence.is_here() {
            pairs.insert(pair);
            self.with_users(room, |users| users.hold(user, report, &entry.presence));
        } else {
            pairs.remove(&pair);
            self.with_users(room, |users| users.release(user, owner));
        }
        let mut holders = self.users(room).into_iter().flat_map(|users| users.holders(user));
        holders.any(|holder| *holder != owner && Some(*holder) != report.former)
    }

    fn users(&self, room: &Room) -> Option<&Users> {
        match room {
            Room::Site => Some(&self.site_users),
            Room::Named(name) => self.rooms.get(name).map(|members| &members.users),
        }
    }

    /// Changes the users of a room. The step returns whether a list of them is another after it.
    fn with_users(&mut self, room: &Room, step: impl FnOnce(&mut Users) -> bool) {
        match room {
            Room::Site => {
                step(&mut self.site_users);
            }
            Room::Named(name) => {
                if self.change(name, |members| step(&mut members.users)) {
                    self.stirred.insert(name.clone());
                }
            }
        }
    }

    /// Changes the members of a room. A room without members is not stored.
    fn change<T>(&mut self, room: &RoomName, step: impl FnOnce(&mut Members) -> T) -> T {
        let members = self.rooms.entry(room.clone()).or_default();
        let before = members.count();
        let result = step(members);
        let after = members.count();
        if after == 0 {
            self.rooms.remove(room);
        }
        if after != before {
            self.touched.entry(room.clone()).or_insert(before);
        }
        result
    }

    /// The rooms whose count is another one than before this report, and those in which other users are.
    pub(super) fn take_changed(&mut self) -> Vec<RoomName> {
        let mut changed = mem::take(&mut self.stirred);
        for (room, before) in mem::take(&mut self.touched) {
            if self.count(&room) != before {
                changed.insert(room);
            }
        }
        changed.into_iter().collect()
    }

    pub(super) fn remember_changes(&mut self, rooms: Vec<RoomName>) {
        self.unannounced.extend(rooms);
    }

    pub(super) fn forget_changes(&mut self) {
        self.unannounced.clear();
    }

    /// The rooms of the next page, with their counts: those behind the last room of the last page, then those from the first.
    pub(super) fn take_page(&mut self) -> Vec<(RoomName, u64)> {
        let mut page = Vec::new();
        while page.len() < PAGE_ROOMS_MAX {
            let start = self.paged_to.take().map_or(Bound::Unbounded, Bound::Excluded);
            let behind = self.unannounced.range((start, Bound::Unbounded)).next();
            let Some(room) = behind.or(self.unannounced.first()).cloned() else { break };
            self.unannounced.remove(&room);
            page.push((room.clone(), self.count(&room)));
            self.paged_to = Some(room);
        }
        page
    }

    pub(super) fn any_unannounced(&self) -> bool {
        !self.unannounced.is_empty()
    }

    pub(super) fn is_dead(&self, owner: Incarnation) -> bool {
        self.dead.contains(&owner)
    }

    pub(super) fn any_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// The number of incarnations that have ended and still hold something.
    pub(super) fn dead(&self) -> u32 {
        u32::try_from(self.dead.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn site_users(&self) -> u64 {
        self.site_users.len()
    }

    pub(super) fn count(&self, room: &RoomName) -> u64 {
        self.rooms.get(room).map_or(0, Members::count)
    }

    /// Who is in a room, for a list.
    pub(super) fn people(&self, query: &PeopleQuery) -> People {
        let members = self.rooms.get(&query.room);
        members.map_or_else(People::default, |members| members.users.people(query))
    }

    /// A page of those who are in a room.
    pub(super) fn people_page(&self, query: &PeoplePageQuery) -> PeoplePage {
        let members = self.rooms.get(&query.room);
        members.map_or_else(PeoplePage::default, |members| members.users.page(query))
    }

    /// The largest rooms whose names begin with the prefix; those of one size in the order of their names.
    pub(super) fn largest(&self, query: &RoomsQuery) -> Vec<(RoomName, u64)> {
        let from = (Bound::Included(query.prefix.as_str()), Bound::Unbounded);
        let found = self.rooms.range::<str, _>(from);
        let found = found.take_while(|(room, _)| room.as_str().starts_with(&query.prefix));
        // The smallest is on top.
        let mut largest = BinaryHeap::new();
        for (room, members) in found {
            largest.push((Reverse(members.count()), room));
            if largest.len() > query.most {
                largest.pop();
            }
        }
        let largest = largest.into_sorted_vec().into_iter();
        largest.map(|(Reverse(count), room)| (room.clone(), count)).collect()
    }
}

#[cfg(test)]
mod tests;
