//! Encodes the event that tells a client who is in a room: a list, or what has changed in it.
//!
//! ```text
//! 42/team/7,["users",{"users":[{"id":"ada","info":{"name":"Ada"}}],"more":0}]
//! 42/team/7,["users",{"joined":[{"id":"bob"}],"left":["ada"],"more":0}]
//! ```

use std::sync::Arc;

use serde::de::IgnoredAny;

use super::frame;

/// The event's name.
pub const USERS: &str = "users";

/// A user, and what is known of the user as a JSON object.
pub type ShownUser<'a> = (&'a str, Option<&'a str>);

/// A websocket frame with the event. All clones share its bytes.
#[derive(Clone, Debug)]
pub struct UsersFrame {
    bytes: Arc<[u8]>,
    /// The length of the header.
    header: usize,
}

impl UsersFrame {
    /// A list, and how many more there are.
    pub fn list<'a>(room: &str, users: impl Iterator<Item = ShownUser<'a>>, more: u64) -> Self {
        Self::new(room, &format!("\"users\":{},\"more\":{more}", objects(users)))
    }

    /// What has changed in a list, and how many more there are now. A user who is on the list already replaces that one.
    pub fn change<'a>(
        room: &str,
        joined: impl Iterator<Item = ShownUser<'a>>,
        left: impl Iterator<Item = &'a str>,
        more: u64,
    ) -> Self {
        let left = array(left.map(text));
        let members = format!("\"joined\":{},\"left\":{left},\"more\":{more}", objects(joined));
        Self::new(room, &members)
    }

    fn new(room: &str, members: &str) -> Self {
        let packet = format!("42{room},[\"{USERS}\",{{{members}}}]");
        let bytes = frame::text(&packet);
        Self { header: bytes.len() - packet.len(), bytes: bytes.into() }
    }

    /// The packet without the frame around it.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[self.header..]
    }

    /// The bytes of the frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The JSON of users. What is known of a user is left out if it is no JSON object: anybody may have edited it in the store.
pub fn objects<'a>(users: impl Iterator<Item = ShownUser<'a>>) -> String {
    array(users.map(|(id, info)| {
        let id = text(id);
        match info.filter(|info| is_object(info)) {
            Some(info) => format!("{{\"id\":{id},\"info\":{info}}}"),
            None => format!("{{\"id\":{id}}}"),
        }
    }))
}

fn is_object(info: &str) -> bool {
    info.starts_with('{') && serde_json::from_str::<IgnoredAny>(info).is_ok()
}

fn text(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

fn array(elements: impl Iterator<Item = String>) -> String {
    let elements: Vec<String> = elements.collect();
    format!("[{}]", elements.join(","))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(frame: &UsersFrame) -> &str {
        std::str::from_utf8(frame.packet()).unwrap()
    }

    /// Goal: the event has the documented form. Method: a list and a change, with ids that JSON escapes, and with what is no object.
    #[test]
    fn lists_and_changes() {
        let users =
            [("a\"b", Some("{\"n\":1}")), ("c", None), ("d", Some("[1]")), ("e", Some("{"))];
        let list = UsersFrame::list("/team/7", users.into_iter(), 3);
        let expected = "42/team/7,[\"users\",{\"users\":[{\"id\":\"a\\\"b\",\"info\":{\"n\":1}},\
            {\"id\":\"c\"},{\"id\":\"d\"},{\"id\":\"e\"}],\"more\":3}]";
        assert_eq!(packet(&list), expected);
        assert_eq!(list.bytes(), frame::text(expected));
        let change = UsersFrame::change("/a", [("c", None)].into_iter(), ["d"].into_iter(), 0);
        let expected = "42/a,[\"users\",{\"joined\":[{\"id\":\"c\"}],\"left\":[\"d\"],\"more\":0}]";
        assert_eq!(packet(&change), expected);
    }

    proptest! {
        /// Goal: whatever is in the store, what is sent is one packet with JSON. Method: random ids and texts in the place of JSON.
        #[test]
        fn any_text_may_be_stored(id in "\\PC{0,9}|[\u{0}-\u{20}\"]{0,5}", info in "[{}\":,a\u{1e}\u{0}1]{0,9}|\\{\"a\":[0-9]\\}") {
            let frame = UsersFrame::list("/a", [(&*id, Some(&*info))].into_iter(), 0);
            prop_assert!(!frame.packet().contains(&super::super::payload::SEPARATOR));
            let event = packet(&frame).strip_prefix("42/a,").unwrap();
            let event: serde_json::Value = serde_json::from_str(event).unwrap();
            prop_assert_eq!(&event[1]["users"][0]["id"], &id);
        }
    }
}
