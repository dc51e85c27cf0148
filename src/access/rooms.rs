//! Which rooms clients may join and programs may ask for, and how many.

use crate::core::{report::Room, room::RoomName};

/// The most rooms that one connection may watch. A list page has so many items at most.
pub const WATCHED_PER_CONNECTION: usize = 100;
/// The most rooms that one connection may be in, by default.
pub const JOINED_PER_CONNECTION: usize = 8;

/// The rules for rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRules {
    /// The rooms that exist.
    pub allowed: RoomPatterns,
    /// The rooms of which nobody learns anything without a token.
    pub private: RoomPatterns,
    /// The rooms whose users are listed for clients with a token.
    pub listed: RoomPatterns,
    /// The most rooms that one connection may be in, besides the site.
    pub per_connection: usize,
    /// The most rooms that one connection may watch.
    pub watched_per_connection: usize,
    /// The most rooms of one instance; `None` for as many as fit into its memory.
    pub most: Option<usize>,
}

impl Default for RoomRules {
    fn default() -> Self {
        Self {
            allowed: RoomPatterns::default(),
            private: RoomPatterns::none(),
            listed: RoomPatterns::none(),
            per_connection: JOINED_PER_CONNECTION,
            watched_per_connection: WATCHED_PER_CONNECTION,
            most: None,
        }
    }
}

impl RoomRules {
    /// Whether nobody learns anything of this room without a token.
    pub fn is_private(&self, room: &Room) -> bool {
        matches!(room, Room::Named(name) if self.private.allow(name))
    }
}

/// A list of patterns for names of rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomPatterns(Vec<RoomPattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum RoomPattern {
    /// This room.
    Exact(RoomName),
    /// All rooms whose names begin with this text and are longer.
    Below(String),
}

/// A list of patterns that is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} {reason}")]
pub struct InvalidRoomPattern {
    /// The entry.
    pub entry: String,
    /// What is wrong with it.
    pub reason: String,
}

impl RoomPatterns {
    /// No rooms.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether no room can match.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a list with commas between: names, names with `*` at the end, or `none` alone.
    ///
    /// # Errors
    /// The first entry that is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidRoomPattern> {
        if text.trim() == "none" {
            return Ok(Self::none());
        }
        let patterns = text.split(',').map(str::trim).map(RoomPattern::parse);
        Ok(Self(patterns.collect::<Result<_, _>>()?))
    }

    /// Patterns from a list of names, and of names with `*` at the end. An element is taken as it stands: with spaces around it or
    /// a comma in it, it is refused.
    ///
    /// # Errors
    /// The first element that is no pattern.
    pub fn of_list(list: &[impl AsRef<str>]) -> Result<Self, InvalidRoomPattern> {
        let patterns = list.iter().map(|entry| RoomPattern::parse(entry.as_ref()));
        Ok(Self(patterns.collect::<Result<_, _>>()?))
    }

    /// Whether a room may exist that both lists allow.
    pub fn overlap(&self, other: &Self) -> bool {
        self.0.iter().any(|pattern| other.0.iter().any(|other| pattern.overlaps(other)))
    }

    /// Whether a pattern allows this room.
    pub fn allow(&self, room: &RoomName) -> bool {
        self.0.iter().any(|pattern| pattern.allows(room))
    }
}

/// All rooms.
impl Default for RoomPatterns {
    fn default() -> Self {
        Self(vec![RoomPattern::Below("/".to_owned())])
    }
}

impl RoomPattern {
    fn allows(&self, room: &RoomName) -> bool {
        match self {
            Self::Exact(name) => name == room,
            Self::Below(start) => {
                room.as_str().strip_prefix(&**start).is_some_and(|rest| !rest.is_empty())
            }
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => pattern.allows(name),
            (Self::Below(one), Self::Below(other)) => {
                one.starts_with(other.as_str()) || other.starts_with(one.as_str())
            }
        }
    }

    fn parse(entry: &str) -> Result<Self, InvalidRoomPattern> {
        let refuse = |reason: String| InvalidRoomPattern { entry: entry.to_owned(), reason };
        let start = entry.strip_suffix('*');
        let named = start.unwrap_or(entry);
        if named.contains('*') {
            return Err(refuse("has a * that is not at its end".to_owned()));
        }
        if start == Some("/") {
            return Ok(Self::Below("/".to_owned()));
        }
        let name =
            RoomName::parse(named).map_err(|error| refuse(format!("is refused: {error}")))?;
        Ok(match start {
            Some(start) => Self::Below(start.to_owned()),
            None => Self::Exact(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Goal: a list allows exactly the rooms that it names. Method: names on both sides of each kind of pattern.
    #[rstest]
    #[case("/*", &["/a", "/a/b", "//"], &[])]
    #[case("none", &[], &["/a", "/none"])]
    #[case("/a", &["/a"], &["/a/", "/a/b", "/A", "/b"])]
    #[case("/page/*, /b", &["/page/1", "/page/1/2", "/b"], &["/page", "/page/", "/pages", "/b/c"])]
    #[case("/page*", &["/page/1", "/pages"], &["/page", "/pag"])]
    fn patterns(#[case] list: &str, #[case] allowed: &[&str], #[case] refused: &[&str]) {
        let patterns = RoomPatterns::parse(list).unwrap();
        let allow = |name: &&str| patterns.allow(&RoomName::parse(name).unwrap());
        assert!(allowed.iter().all(allow) && !refused.iter().any(allow), "{list}");
    }

    /// Goal: an element of a list is one pattern, and never several. Method: elements with what separates or surrounds patterns in a
    /// setting.
    #[test]
    fn elements_are_taken_as_they_stand() {
        let list = RoomPatterns::of_list(&["/team/7", "/blog/*"]).unwrap();
        assert_eq!(list, RoomPatterns::parse("/team/7,/blog/*").unwrap());
        assert!(RoomPatterns::of_list(&[""; 0]).unwrap().is_none());
        for element in
            ["/team/7,/*", "/team/7, /*", " /a", "/a ", "/a\n", "none", "", "*", "/", ",", "/a,"]
        {
            assert!(RoomPatterns::of_list(&["/ok", element]).is_err(), "{element:?}");
        }
    }

    /// Goal: it is known whether two lists have a room in common. Method: lists on both sides, in both orders.
    #[rstest]
    #[case("/a", "/a", true)]
    #[case("/a", "/b", false)]
    #[case("/team/7", "/team/*", true)]
    #[case("/team/", "/team/*", false)]
    #[case("/team/*", "/*", true)]
    #[case("/team/*", "/team/a*", true)]
    #[case("/team/*", "/teams/*", false)]
    #[case("/a,/b/c", "/x,/b/*", true)]
    #[case("none", "/*", false)]
    fn lists_overlap(#[case] one: &str, #[case] other: &str, #[case] expected: bool) {
        let [one, other] = [one, other].map(|list| RoomPatterns::parse(list).unwrap());
        assert_eq!((one.overlap(&other), other.overlap(&one)), (expected, expected));
    }

    /// Goal: a list that could not work is refused with its reason. Method: one of each kind.
    #[rstest]
    #[case("", "begins with /")]
    #[case("*", "begins with /")]
    #[case("page/*", "begins with /")]
    #[case("/", "is the site")]
    #[case("/a,,/b", "begins with /")]
    #[case("/a/*/b", "not at its end")]
    #[case("/**", "not at its end")]
    #[case("/a b", "no control characters")]
    #[case("/a,none", "begins with /")]
    fn bad_patterns(#[case] list: &str, #[case] reason: &str) {
        let error = RoomPatterns::parse(list).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
