//! Who is in a room, as a client knows it that follows the events `users` as an application does.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a client knows of the users of a room.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// What is known of each user, by the user's id.
    pub users: BTreeMap<String, Value>,
    /// How many more there are.
    pub more: u64,
    /// Whole lists that the client was told.
    pub lists: usize,
    /// Everybody whom the client was told to have left.
    pub left: BTreeSet<String>,
}

impl Known {
    /// Follows the value of an event. The error says why it is malformed, or a change that does not fit to the list before.
    pub fn hear(&mut self, event: &Value) -> Result<(), String> {
        self.more = event["more"].as_u64().ok_or_else(|| format!("how many more? {event}"))?;
        if let Some(users) = event.get("users") {
            self.users = users_of(users)?;
            self.lists += 1;
            return Ok(());
        }
        if self.lists == 0 {
            return Err(format!("a change before the list: {event}"));
        }
        for id in event["left"].as_array().ok_or_else(|| format!("who left? {event}"))? {
            let id = id.as_str().ok_or_else(|| format!("an id that is no text: {event}"))?;
            if self.users.remove(id).is_none() {
                return Err(format!("{id} was not there: {event}"));
            }
            self.left.insert(id.to_owned());
        }
        self.users.extend(users_of(&event["joined"])?);
        Ok(())
    }

    /// The ids of all users, in order.
    pub fn ids(&self) -> Vec<&str> {
        self.users.keys().map(String::as_str).collect()
    }
}

/// What a list says of each user, by the user's id. The error says what is malformed.
pub fn users_of(users: &Value) -> Result<BTreeMap<String, Value>, String> {
    let all = users.as_array().ok_or_else(|| format!("no list of users: {users}"))?;
    let user = |user: &Value| {
        let id = user["id"].as_str().ok_or_else(|| format!("a user without an id: {user}"))?;
        Ok((id.to_owned(), user["info"].clone()))
    };
    all.iter().map(user).collect()
}
