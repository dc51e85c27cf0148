//! Rooms and users: their names, as clients and the store write them.
//!
//! A room is a Socket.IO namespace with a count of its own. The default namespace, `/`, is the site. A user is whoever a count
//! counts once: a connection without an identity, or all connections with the same identity.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The name of the site: the default namespace.
pub const SITE: &str = "/";
/// The longest name of a room, in bytes of UTF-8, with the slash at its beginning.
pub const ROOM_BYTES_MAX: usize = 128;
/// The longest id of a user, in bytes.
pub const USER_BYTES_MAX: usize = 128;

/// The name of a room other than the site: a slash and up to 127 bytes of UTF-8 without control characters, white space,
/// `,`, `?` and `#`. Names are compared byte by byte.
///
/// All clones share their text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomName(Arc<str>);

/// Why a text is not the name of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRoomName {
    /// It does not begin with a slash.
    #[error("a room's name begins with /")]
    NoSlash,
    /// It is the name of the site.
    #[error("/ is the site, which is not a room")]
    Site,
    /// It is too long.
    #[error("a room's name has at most {ROOM_BYTES_MAX} bytes")]
    TooLong,
    /// It contains a character that no name may contain.
    #[error("a room's name contains no control characters, white space, commas, ? or #")]
    Character,
}

impl RoomName {
    /// Checks a name.
    ///
    /// # Errors
    /// If the text is not the name of a room.
    pub fn parse(name: &str) -> Result<Self, BadRoomName> {
        if !name.starts_with(SITE) {
            return Err(BadRoomName::NoSlash);
        }
        if name == SITE {
            return Err(BadRoomName::Site);
        }
        if name.len() > ROOM_BYTES_MAX {
            return Err(BadRoomName::TooLong);
        }
        if name.chars().any(is_excluded) {
            return Err(BadRoomName::Character);
        }
        Ok(Self(name.into()))
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_excluded(character: char) -> bool {
    character.is_control() || character.is_whitespace() || matches!(character, ',' | '?' | '#')
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Displays the name as it is. Whoever shows it to people must escape it.
impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id under which the store knows a user who is counted once, on whatever instances: 1 to 128 bytes without line breaks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Checks an id; `None` if it is empty, too long, or contains a line break.
    pub fn parse(id: &str) -> Option<Self> {
        let is_valid = (1..=USER_BYTES_MAX).contains(&id.len()) && !id.contains('\n');
        is_valid.then(|| Self(id.into()))
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How it is known who a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdentityKind {
    /// By a token that somebody signed whom the operator trusts.
    Token,
    /// By a key that the client chose. It proves nothing.
    Visitor,
}

impl IdentityKind {
    /// How the ids of users of this kind begin. So the ids of two kinds never coincide.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Token => "t:",
            Self::Visitor => "v:",
        }
    }
}

/// Who a connection belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The id, by which counts count the user once.
    pub user: UserId,
    /// How the id is known.
    pub kind: IdentityKind,
    /// What others may read of the user: a JSON object. One that is longer than
    /// [`INFO_BYTES_MAX`](super::report::INFO_BYTES_MAX), or no object, is left out.
    pub info: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// Goal: exactly the documented names are names of rooms. Method: both sides of each rule.
    #[rstest]
    #[case("/a", Ok(()))]
    #[case("/blog/post-1", Ok(()))]
    #[case("//", Ok(()))]
    #[case("/größe/日本/🙂", Ok(()))]
    #[case("/a:b;c=d&e\"'<>\\{}", Ok(()))]
    #[case("", Err(BadRoomName::NoSlash))]
    #[case("a/b", Err(BadRoomName::NoSlash))]
    #[case("/", Err(BadRoomName::Site))]
    #[case("/a b", Err(BadRoomName::Character))]
    #[case("/a\u{a0}b", Err(BadRoomName::Character))]
    #[case("/a\u{2028}b", Err(BadRoomName::Character))]
    #[case("/a\nb", Err(BadRoomName::Character))]
    #[case("/a\u{7f}", Err(BadRoomName::Character))]
    #[case("/a\u{85}", Err(BadRoomName::Character))]
    #[case("/a,b", Err(BadRoomName::Character))]
    #[case("/a?b", Err(BadRoomName::Character))]
    #[case("/a#b", Err(BadRoomName::Character))]
    fn names_are_checked(#[case] text: &str, #[case] checked: Result<(), BadRoomName>) {
        let name = RoomName::parse(text);
        assert_eq!(name.clone().map(|_| ()), checked, "{text:?}");
        assert!(name.is_err() || name.unwrap().as_str() == text);
    }

    /// Goal: the length is limited in bytes. Method: the longest name, one byte more, and characters of several bytes.
    #[test]
    fn names_are_bounded() {
        let of = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
        assert!(RoomName::parse(&of(ROOM_BYTES_MAX)).is_ok());
        assert_eq!(RoomName::parse(&of(ROOM_BYTES_MAX + 1)), Err(BadRoomName::TooLong));
        assert_eq!(RoomName::parse(&format!("/{}", "ö".repeat(64))), Err(BadRoomName::TooLong));
    }

    /// Goal: ids of users fit into the store. Method: both sides of each rule.
    #[test]
    fn ids_are_checked() {
        assert_eq!(UserId::parse("t:margaret").unwrap().as_str(), "t:margaret");
        assert!(UserId::parse(&"x".repeat(USER_BYTES_MAX)).is_some());
        for bad in [String::new(), "a\nb".to_owned(), "x".repeat(USER_BYTES_MAX + 1)] {
            assert!(UserId::parse(&bad).is_none(), "{bad:?}");
        }
    }

    proptest! {
        /// Goal: no text causes a panic, and what is accepted fits into a packet. Method: random texts.
        #[test]
        fn any_text_may_come(text in "/?\\PC{0,40}|[/a,?# \u{0}-\u{20}]{0,9}") {
            if let Ok(name) = RoomName::parse(&text) {
                prop_assert!(!name.as_str().contains([',', '\n', ' ']) && name.as_str().len() > 1);
            }
        }
    }
}
