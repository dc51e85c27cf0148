//! Who is in which room, and which rooms have changed. It does no I/O.

use std::collections::HashMap;

use crate::client::Token;

/// All rooms. An empty one stays, which saves the work of removing it.
#[derive(Debug, Default)]
pub struct Rooms {
    by_name: HashMap<String, usize>,
    list: Vec<Room>,
    /// The rooms that each client is in.
    of: HashMap<u64, Vec<usize>>,
    /// Rooms whose members are to be told.
    changed: Vec<usize>,
}

/// One room.
#[derive(Debug)]
pub struct Room {
    /// Its name.
    pub name: String,
    /// The clients in it.
    pub members: Vec<Token>,
    is_changed: bool,
}

impl Rooms {
    /// A client joins; returns the number of clients in the room, or `None` if it was there before.
    pub fn join(&mut self, name: String, token: Token) -> Option<usize> {
        let index = *self.by_name.entry(name).or_insert_with_key(|name| {
            let members = Vec::new();
            self.list.push(Room { name: name.clone(), members, is_changed: false });
            self.list.len() - 1
        });
        let of = self.of.entry(token.0).or_default();
        if of.contains(&index) {
            return None;
        }
        of.push(index);
        self.list[index].members.push(token);
        self.change(index);
        Some(self.list[index].members.len())
    }

    /// A client leaves a room, if it is there.
    pub fn leave(&mut self, name: &str, token: Token) {
        let Some(&index) = self.by_name.get(name) else { return };
        if let Some(of) = self.of.get_mut(&token.0) {
            of.retain(|room| *room != index);
        }
        self.remove(index, token);
    }

    /// A client is gone.
    pub fn leave_all(&mut self, token: Token) {
        for index in self.of.remove(&token.0).unwrap_or_default() {
            self.remove(index, token);
        }
    }

    fn remove(&mut self, index: usize, token: Token) {
        let members = &mut self.list[index].members;
        if let Some(place) = members.iter().position(|member| *member == token) {
            members.swap_remove(place);
            self.change(index);
        }
    }

    fn change(&mut self, index: usize) {
        if !std::mem::replace(&mut self.list[index].is_changed, true) {
            self.changed.push(index);
        }
    }

    /// The rooms that have changed since the last call. They are put back by nobody: whoever takes them tells their members.
    pub fn take_changed(&mut self) -> Vec<usize> {
        let changed = std::mem::take(&mut self.changed);
        for index in &changed {
            self.list[*index].is_changed = false;
        }
        changed
    }

    /// A room.
    pub fn room(&self, index: usize) -> &Room {
        &self.list[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a room is told once of several changes, and a client that is gone is in no room. Method: two clients in two rooms;
    /// one joins twice, leaves one, and is gone.
    #[test]
    fn changes_of_a_room_are_merged() {
        let mut rooms = Rooms::default();
        assert_eq!(rooms.join("/a".to_owned(), Token(1)), Some(1));
        assert_eq!(rooms.join("/a".to_owned(), Token(2)), Some(2));
        assert_eq!(rooms.join("/a".to_owned(), Token(2)), None);
        assert_eq!(rooms.join("/b".to_owned(), Token(2)), Some(1));
        assert_eq!(rooms.take_changed(), [0, 1]);
        assert_eq!(rooms.take_changed(), [0; 0]);
        rooms.leave("/a", Token(2));
        rooms.leave("/a", Token(2));
        rooms.leave_all(Token(2));
        assert_eq!(rooms.take_changed(), [0, 1]);
        assert_eq!((rooms.room(0).members.len(), rooms.room(1).members.len()), (1, 0));
    }
}
