//! What is asked of a store about those who are in a room, and what it answers. Plain data.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::core::{
    count::Incarnation,
    room::{RoomName, UserId},
};

/// What [`Store::people`](super::Store::people) is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeopleQuery {
    /// The room.
    pub room: RoomName,
    /// The incarnation that asks. It does not count as another one that has a user.
    pub own: Option<Incarnation>,
    /// Those who are on the list now; at most [`LISTED_MAX`](crate::core::people::LISTED_MAX) are looked at.
    pub listed: Vec<UserId>,
}

/// What [`Store::people_page`](super::Store::people_page) is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeoplePageQuery {
    /// The room.
    pub room: RoomName,
    /// Where to go on; `None` for the first page.
    pub cursor: Option<PeopleCursor>,
    /// The most users of the page, at least 1.
    pub most: usize,
}

/// A page of the users of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeoplePage {
    /// The users, and what is known of each as a JSON object. A page may have fewer than were asked for, even none.
    pub users: Vec<(UserId, Option<Arc<str>>)>,
    /// Where to go on; `None` if this is the last page.
    pub next: Option<PeopleCursor>,
}

/// A place in the users of a room. Displayed, it is a word that can stand in an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeopleCursor {
    /// The store's own place.
    pub(super) scan: u64,
    /// The last user of those at that place who is on a page already.
    pub(super) after: Option<UserId>,
}

impl PeopleCursor {
    /// Reads what [`PeopleCursor`] displays. `None` if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (scan, after) = match text.split_once('.') {
            None => (text, None),
            Some((scan, after)) => {
                let bytes = URL_SAFE_NO_PAD.decode(after).ok()?;
                (scan, Some(UserId::parse(std::str::from_utf8(&bytes).ok()?)?))
            }
        };
        let is_number = scan.bytes().all(|digit| digit.is_ascii_digit());
        let scan = scan.parse().ok().filter(|_| is_number)?;
        Some(Self { scan, after })
    }
}

impl fmt::Display for PeopleCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scan)?;
        match &self.after {
            Some(user) => write!(f, ".{}", URL_SAFE_NO_PAD.encode(user.as_str())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: a cursor comes back as it was, and no text causes a panic. Method: random cursors and texts.
        #[test]
        fn cursors_come_back(scan: u64, after in proptest::option::of("t:\\PC{1,20}"), text in "[0-9.a-zA-Z_+=-]{0,12}") {
            let cursor = PeopleCursor { scan, after: after.as_deref().and_then(UserId::parse) };
            let shown = cursor.to_string();
            prop_assert!(shown.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
            prop_assert_eq!(PeopleCursor::parse(&shown), Some(cursor));
            if let Some(cursor) = PeopleCursor::parse(&text) {
                prop_assert_eq!(PeopleCursor::parse(&cursor.to_string()), Some(cursor));
            }
        }
    }
}
