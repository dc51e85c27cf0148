//! Who comes into rooms and leaves them.

use super::{
    due::{Attendance, RoomId},
    table::Table,
};
use crate::core::room::{Person, UserId};

impl<V> Table<V> {
    /// Counts a connection in a room. Returns the change that a count must cover to include it.
    pub(super) fn count_in(&mut self, id: RoomId, person: Option<&Person>) -> u64 {
        let is_new = if let Some(person) = person {
            self.add_connection(id, person)
        } else {
            self.entry(id).expect("it was found or added").anonymous += 1;
            self.value_changed(id, None);
            true
        };
        let entry = self.entry(id).expect("it was found or added");
        entry.members += 1;
        entry.change += u64::from(is_new);
        let change = entry.change;
        self.ledger.here.enter(person.is_none());
        change
    }

    /// Ends a connection's place in a room. `user` says also whether the connection has said something of him.
    pub(super) fn leave(
        &mut self,
        id: RoomId,
        user: Option<(&UserId, bool)>,
        attendance: Attendance,
        arrival: u64,
    ) {
        self.newcomers.leave(id, arrival);
        let entry = self.entry(id).expect("a room is in the table while somebody is in it");
        match attendance {
            Attendance::Watcher => entry.watchers -= 1,
            Attendance::Member => {
                entry.members -= 1;
                entry.anonymous -= u32::from(user.is_none());
                self.ledger.here.leave(user.is_none());
                match user {
                    None => self.value_changed(id, None),
                    Some((user, is_informed)) => self.end_connection(id, user, is_informed),
                }
            }
        }
        self.make_due_by_leave(id);
    }
}
