//! The name and version of an instance, which it tells the store for operators, and when to tell it again. The count does not
//! depend on it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    count::{Count, Sequence},
    pace::whole_millis,
    site_users::UsersHere,
    tally::Local,
};

/// The most characters of a name: the limit of DNS for a label, which also holds for containers and pods.
pub const HOST_CHARS_MAX: usize = 63;

/// The longest [`About`] that a store accepts, in bytes of JSON. A name has at most 252 bytes, and its quotes and backslashes
/// take two each. The rest is room for fields that a later version may add.
pub const ABOUT_BYTES_MAX: usize = 512;

/// The longest time after which an instance tells its name again: well below the time for which the store keeps it.
const REPEAT_MAX: Duration = Duration::from_mins(1);

/// The name and version of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The name: the setting, or else the name of the host.
    pub host: String,
    /// The version of Headcount.
    pub version: String,
    /// When it was started, in milliseconds since 1970 by its own clock.
    pub started_at: u64,
    /// Whether it is shutting down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// The users of the site with an identity whom it has at the moment.
    #[serde(default, skip_serializing_if = "IdentifiedUsers::is_none")]
    pub identified: IdentifiedUsers,
    /// Its open sessions that are not counted in the site: only in rooms, watching, or not in anything yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outside: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The users with an identity whom an instance has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentifiedUsers {
    /// How many users.
    pub users: u64,
    /// How many connections they have.
    pub connections: u64,
}

impl IdentifiedUsers {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl About {
    /// For an instance of this version that is started at `now`.
    pub fn new(host: String, now: SystemTime) -> Self {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let started_at = whole_millis(since_1970);
        let identified = IdentifiedUsers::default();
        Self { host, version, started_at, draining: false, identified, outside: 0 }
    }

    /// The same, with the users who have an identity, and their connections.
    #[must_use]
    pub fn with_users(self: &Arc<Self>, users: UsersHere, local: Local) -> Arc<Self> {
        let identified = IdentifiedUsers {
            users: users.token + users.visitor,
            connections: local.connections.saturating_sub(local.anonymous),
        };
        if identified == self.identified {
            return Arc::clone(self);
        }
        Arc::new(Self { identified, ..Self::clone(self) })
    }

    /// The JSON that is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text and numbers can be written as JSON")
    }

    /// Parses stored JSON; `None` if this version does not understand it, since another version or a person wrote it.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        if json.len() > ABOUT_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(json).ok()
    }

    /// Whether a store accepts it.
    pub fn is_valid(&self) -> bool {
        self.to_json().len() <= ABOUT_BYTES_MAX
    }
}

/// Decides when an instance tells its name: until the store has it, and again every two leases, in case the store has lost it.
#[derive(Clone, Copy, Debug)]
pub struct Introduction {
    repeat: Duration,
    /// The newest applied report that carried the name, and when it was sent; `None` if the store may not have the name.
    arrived: Option<(Sequence, Instant)>,
}

impl Introduction {
    /// Decides for reports with this lease. The first report carries the name.
    pub fn new(lease: Duration) -> Self {
        Self { repeat: (2 * lease).min(REPEAT_MAX), arrived: None }
    }

    /// Whether the next report should carry the name.
    pub fn is_due(&self, now: Instant) -> bool {
        self.arrived.is_none_or(|(_, at)| now.saturating_duration_since(at) >= self.repeat)
    }

    /// Records that the report with this sequence number carried the name and was applied.
    pub fn arrived(&mut self, sequence: Sequence, sent_at: Instant) {
        self.arrived = self.arrived.max(Some((sequence, sent_at)));
    }

    /// Records the answer to a report that did not carry the name. `stored` is the sequence number that the store had before. If
    /// it is older than that of the report that carried the name, the store has lost the name. A store that is recovering may have
    /// lost it and have got a later report again, so its sequence tells nothing.
    pub fn heard(&mut self, sequence: Sequence, stored: Sequence, count: Count) {
        let is_lost = |(arrived, _)| arrived < sequence && (stored < arrived || count.recovering);
        if self.arrived.is_some_and(is_lost) {
            self.renew();
        }
    }

    /// Asks for the name to be told again.
    pub fn renew(&mut self) {
        self.arrived = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::report::LOCAL_MAX;

    fn about() -> About {
        About {
            host: "web-1".to_owned(),
            version: "0.1.0".to_owned(),
            started_at: 1_764_172_800_000,
            draining: false,
            identified: IdentifiedUsers::default(),
            outside: 0,
        }
    }

    /// Goal: what is stored is the documented interface, and later versions may add to it. Method: both directions, with and
    /// without the mark, with a field of the future, and with what is no introduction.
    #[test]
    fn json_is_the_documented_interface() {
        let text = r#"{"host":"web-1","version":"0.1.0","started_at":1764172800000}"#;
        assert_eq!(about().to_json(), text);
        assert_eq!(About::from_json(text.as_bytes()), Some(about()));
        let leaving = About { draining: true, ..about() };
        assert!(leaving.to_json().ends_with(r#","draining":true}"#));
        assert_eq!(About::from_json(leaving.to_json().as_bytes()), Some(leaving));
        let identified = IdentifiedUsers { users: 3, connections: 7 };
        let busy = About { identified, ..about() };
        assert!(busy.to_json().ends_with(r#","identified":{"users":3,"connections":7}}"#));
        assert_eq!(About::from_json(busy.to_json().as_bytes()), Some(busy));
        let visited = About { outside: 9, ..about() };
        assert!(visited.to_json().ends_with(r#","outside":9}"#));
        assert_eq!(About::from_json(visited.to_json().as_bytes()), Some(visited));
        let later = text.replace('}', r#","rooms":7}"#);
        assert_eq!(About::from_json(later.as_bytes()), Some(about()));
        let too_long = text.replace("web-1", &"w".repeat(ABOUT_BYTES_MAX));
        for odd in ["", "x", "{}", "[1]", r#"{"host":7}"#, &too_long] {
            assert_eq!(About::from_json(odd.as_bytes()), None, "{odd}");
        }
    }

    /// Goal: an instance says how many users with an identity it has, and nothing of them if it has none. Method: both.
    #[test]
    fn users_are_added() {
        let about = Arc::new(about());
        let local = Local { anonymous: 3, connections: 10, ..Local::default() };
        let users = UsersHere { token: 1, visitor: 2, none: 3 };
        let identified = IdentifiedUsers { users: 3, connections: 7 };
        assert_eq!(*about.with_users(users, local), About { identified, ..About::clone(&about) });
        let local = Local { connections: 3, ..local };
        let same = about.with_users(UsersHere { none: 3, ..UsersHere::default() }, local);
        assert!(Arc::ptr_eq(&about, &same));
    }

    /// Goal: the longest name that may be set is taken. Method: one of characters that take the most room.
    #[test]
    fn the_longest_name_is_taken() {
        for character in ["\"", "\u{20000}"] {
            let identified = IdentifiedUsers { users: LOCAL_MAX, connections: LOCAL_MAX };
            let host = character.repeat(HOST_CHARS_MAX);
            let outside = LOCAL_MAX;
            let longest = About { host, identified, draining: true, outside, ..about() };
            assert!(longest.is_valid(), "{} bytes", longest.to_json().len());
        }
        assert!(!About { host: "w".repeat(ABOUT_BYTES_MAX), ..about() }.is_valid());
    }

    /// Goal: the name is reported until it arrives, again after two leases, and when it has changed. Method: times on both sides of each
    /// bound, and a lease so long that the minute comes first.
    #[test]
    fn it_is_said_again() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut introduction = Introduction::new(2 * second);
        assert!(introduction.is_due(start));
        introduction.arrived(Sequence(1), start);
        assert!(!introduction.is_due(start) && !introduction.is_due(start + 3 * second));
        assert!(introduction.is_due(start + 4 * second));
        introduction.arrived(Sequence(3), start + second);
        introduction.arrived(Sequence(2), start);
        assert!(!introduction.is_due(start + 4 * second), "the later one counts");
        introduction.renew();
        assert!(introduction.is_due(start));
        let mut slow = Introduction::new(300 * second);
        slow.arrived(Sequence(1), start);
        assert!(!slow.is_due(start + 59 * second) && slow.is_due(start + 60 * second));
    }

    /// Goal: what the store has lost is said again, and nothing else is. Method: answers to a later report by a store that
    /// kept everything, that lost everything, that lost what was newest, and that is recovering and has got a later report again; and
    /// late answers to an earlier report.
    #[test]
    fn a_loss_is_noticed() {
        let start = Instant::now();
        let is_due_after_mark = |sequence, stored, recovering| {
            let mut introduction = Introduction::new(Duration::from_secs(2));
            introduction.arrived(Sequence(5), start);
            let count = Count { recovering, ..Count::default() };
            introduction.heard(Sequence(sequence), Sequence(stored), count);
            introduction.is_due(start)
        };
        let is_due_after = |sequence, stored| is_due_after_mark(sequence, stored, false);
        assert!(!is_due_after(6, 5) && !is_due_after(8, 7));
        assert!(is_due_after(6, 0) && is_due_after(8, 4));
        assert!(is_due_after_mark(8, 7, true), "another report was repeated after the loss");
        assert!(!is_due_after(4, 3) && !is_due_after_mark(4, 3, true), "it was sent before");
    }
}
