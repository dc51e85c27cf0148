//! What must hold of lists of users: at rest they are the truth, and while nobody leaves for longer than the grace, nobody who is
//! there is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Episode, Instance, ROOMS};

/// The users of each room.
pub(super) type Users = BTreeMap<&'static str, BTreeSet<String>>;

impl Episode {
    /// The users of all rooms.
    pub(super) fn true_users(&self) -> Users {
        let in_room = |instance: &Instance, room| -> Vec<String> {
            let here = instance.here(room).filter(|(_, connections)| *connections > 0);
            here.filter_map(|(user, _)| user.map(str::to_owned)).collect()
        };
        let all = |room| self.instances.iter().flat_map(|it| in_room(it, room)).collect();
        ROOMS.map(|room| (room, all(room))).into()
    }

    /// A list that is not the truth.
    pub(super) fn wrong_list(&self) -> Option<String> {
        // What was edited is healed later, by the sweep of lists.
        if self.is_edited {
            return None;
        }
        let truth = self.true_users();
        let lists = self.instances.iter().flat_map(|it| {
            let lists = ROOMS.into_iter().filter(|room| it.lists(room));
            lists.map(|room| (it.who, room, it.listed(room)))
        });
        let mut wrong = lists.filter(|(_, room, listed)| listed.as_ref() != Some(&truth[room]));
        let (who, room, listed) = wrong.next()?;
        Some(format!("{who} lists {listed:?} in {room}, and the truth is {:?}", truth[room]))
    }

    /// A list on which somebody is missing of those who are there all the time.
    pub(super) fn short_list(&self, there: &Users) -> Option<String> {
        let knowing = self.instances.iter().filter(|it| it.knows);
        let lists = knowing.flat_map(|it| {
            ROOMS.into_iter().filter_map(|room| Some((it.who, room, it.listed(room)?)))
        });
        let mut short = lists.filter(|(_, room, listed)| !listed.is_superset(&there[room]));
        let (who, room, listed) = short.next()?;
        Some(format!("{who} lists {listed:?} in {room}, and there are {:?}", there[room]))
    }
}
