//! Connections of users with an identity, who are counted once in a room or in the site, and for the grace after their last
//! connection.

use std::mem;

use tokio::time::Instant;

use super::{Rooms, due::RoomId, lingering::Lingerer, table::Table};
use crate::core::{
    report::Room,
    room::{Person, UserId},
};

impl<V> Rooms<V> {
    /// Ends the grace of a user in a room or in the site: without a connection there he is gone at once.
    pub fn end_grace(&self, room: &Room, user: &UserId) {
        let mut table = self.table();
        let id = match room {
            Room::Site => Some(RoomId::SITE),
            Room::Named(name) => table.named(name.as_str()).map(|entry| entry.id),
        };
        if let Some(id) = id {
            table.end_grace(id, user);
        }
        self.changed(table);
    }
}

impl<V> Table<V> {
    /// Adds a connection of a user. Returns whether he was not counted in the room before.
    pub(super) fn add_connection(&mut self, id: RoomId, person: &Person) -> bool {
        let entry = self.entry(id).expect("it was found or added");
        let before = entry.users.get(&person.user).map(|user| (user.value(), user.lingers));
        let (value, lingers) = before.unwrap_or_default();
        // Nobody reads who is in the site.
        let info = person.info.as_ref().filter(|_| id != RoomId::SITE);
        entry.users.change(&person.user, |user| user.enter(person.kind, info));
        if lingers > 0 {
            self.lingering.ended();
        }
        self.value_changed(id, Some(&person.user));
        self.ledger.here.users += u64::from(value == 0);
        value == 0
    }

    /// Ends a connection of a user, which has said something of him if `is_informed`.
    pub(super) fn end_connection(&mut self, id: RoomId, user: &UserId, is_informed: bool) {
        let entry = self.entry(id).expect("a room is in the table while somebody is in it");
        if entry.users.get(user).is_some_and(|user| user.connections == 1) {
            return self.linger(id, user);
        }
        let is_news = entry.users.change(user, |user| {
            user.exit(is_informed);
            user.key.is_outdated
        });
        if is_news {
            self.value_changed(id, Some(user));
        }
    }

    /// Records that a user does not count as being in the room any more.
    pub(super) fn user_is_gone(&mut self, id: RoomId, user: &UserId) {
        self.ledger.here.users -= 1;
        self.value_changed(id, Some(user));
        if id == RoomId::SITE {
            self.site_has_changed();
        } else {
            self.make_due_by_leave(id);
        }
    }

    /// Ends the last connection of a user in a room. His grace begins, if there is any.
    fn linger(&mut self, id: RoomId, user: &UserId) {
        let number = self.lingering.number();
        let entry = self.entry(id).expect("the user is in it");
        entry.users.change(user, |user| user.exit_last(number.unwrap_or_default()));
        let Some(number) = number else { return self.user_is_gone(id, user) };
        let mut lingering = mem::take(&mut self.lingering);
        lingering.add(id, user.clone(), number, |it| self.is_lingering(it));
        self.lingering = lingering;
        while self.lingering.are_too_many() {
            self.end_first();
        }
    }

    /// Begins and ends what is due. Returns whether somebody is gone now.
    pub(super) fn look_at_lingering(&mut self, now: Instant) -> bool {
        self.lingering.begin(now);
        let before = self.lingering.present();
        while self.lingering.first().is_some_and(|(_, ends)| ends.is_some_and(|at| at <= now)) {
            self.end_first();
        }
        self.lingering.present() < before
    }

    /// When the next grace ends.
    pub(super) fn grace_ends(&mut self) -> Option<Instant> {
        while let Some((first, ends)) = self.lingering.first() {
            let first = first.clone();
            if self.is_lingering(&first) {
                return ends;
            }
            self.lingering.take_first();
        }
        None
    }

    /// The one who has lingered longest is gone, unless he is back.
    fn end_first(&mut self) {
        let Some(first) = self.lingering.take_first() else { return };
        if !self.is_lingering(&first) {
            return;
        }
        self.end_grace(first.id, &first.user);
    }

    /// Ends the grace of a user, if he lingers in the room.
    fn end_grace(&mut self, id: RoomId, user: &UserId) {
        let Some(entry) = self.entry(id) else { return };
        if entry.users.get(user).is_none_or(|user| user.lingers == 0) {
            return;
        }
        entry.users.change(user, |user| user.lingers = 0);
        self.lingering.ended();
        self.user_is_gone(id, user);
    }

    fn is_lingering(&mut self, it: &Lingerer) -> bool {
        let user = self.entry(it.id).and_then(|entry| entry.users.get(&it.user));
        user.is_some_and(|user| user.lingers == it.number)
    }
}
