//! A list of users as it is told to the clients of one instance: encoded once, however many are told.

use std::sync::{Arc, OnceLock};

use crate::{
    core::{
        people::subject,
        room::{RoomName, UserId},
        user_list::{Difference, UserList},
    },
    protocol::users::{ShownUser, UsersFrame},
};

/// A list with its number, and what has changed since another list.
#[derive(Debug)]
pub struct ListFrames {
    room: RoomName,
    number: u64,
    list: Arc<UserList>,
    whole: OnceLock<UsersFrame>,
    /// The list before, with its number, and what has changed since. Both frames are encoded once somebody is sent them.
    before: Option<(u64, Arc<UserList>)>,
    change: OnceLock<UsersFrame>,
}

impl ListFrames {
    /// A list of a room. `before` is the list that most clients were told last, with its number.
    pub fn new(
        room: RoomName,
        number: u64,
        list: Arc<UserList>,
        before: Option<(u64, Arc<UserList>)>,
    ) -> Self {
        Self { room, number, list, whole: OnceLock::new(), before, change: OnceLock::new() }
    }

    /// The number of the list. It grows with every change.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The list.
    pub fn list(&self) -> &Arc<UserList> {
        &self.list
    }

    /// What a client must be sent that was told the list of this number last: what has changed since, or the whole list.
    pub fn frame(&self, told: Option<u64>) -> &UsersFrame {
        match &self.before {
            Some((before, former)) if Some(*before) == told => {
                self.change.get_or_init(|| self.encode_change(former))
            }
            _ => self.whole.get_or_init(|| {
                let users = self.list.users().map(|(user, info)| shown(user, info));
                UsersFrame::list(self.room.as_str(), users, self.list.more())
            }),
        }
    }

    fn encode_change(&self, former: &UserList) -> UsersFrame {
        let Difference { joined, left } = self.list.since(former);
        let joined = joined.iter().map(|(user, info)| shown(user, info.as_deref()));
        let left = left.iter().filter_map(subject);
        UsersFrame::change(self.room.as_str(), joined, left, self.list.more())
    }
}

/// Lists have only users with a token.
fn shown<'a>(user: &'a UserId, info: Option<&'a str>) -> ShownUser<'a> {
    (subject(user).unwrap_or_default(), info)
}
