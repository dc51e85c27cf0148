//! What an instance tells the store, and what the store answers. Plain data.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    about::{About, IdentifiedUsers},
    count::{Count, Incarnation, Revision, Sequence, WHOLE_MAX},
    room::{RoomName, SITE, UserId},
};

/// A report: an instance tells the store its local count, and what has changed in its rooms since the last report that it
/// knows to be acknowledged. Every entry is an absolute value, so repeating it does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The instance that reports.
    pub incarnation: Incarnation,
    /// A new number for every send, also for retries.
    pub sequence: Sequence,
    /// Connections without an identity on this instance, as an absolute number; at most [`LOCAL_MAX`].
    pub users: u64,
    /// The count with the highest revision that this instance has seen. It tells a store that it has lost data.
    pub seen: Count,
    /// How long this report stands: [`LEASE_MIN`] to [`LEASE_MAX`].
    pub lease: Duration,
    /// What is asked for.
    pub kind: ReportKind,
    /// Who reports, for operators; `None` leaves what was said before.
    pub about: Option<Arc<About>>,
    /// The greatest sequence number of this incarnation that the store has acknowledged; 0 if none. A store that has an older
    /// one has lost data.
    pub acknowledged: Sequence,
    /// The former incarnation of this instance, which the store counts out in the same step.
    pub former: Option<Incarnation>,
    /// Whether the store will need further reports until it knows all rooms of this instance again.
    pub resending: bool,
    /// What is said of rooms, and which rooms are asked for. Each room at most once; at most [`ENTRIES_MAX`] entries.
    pub rooms: Vec<RoomReport>,
}

/// What a [`Report`] says of one room. With neither connections nor users it only asks for the room's count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomReport {
    /// The room; [`Room::Site`] for users of the site, whose connections without an identity are [`Report::users`].
    pub room: Room,
    /// Connections without an identity in the room on this instance, as an absolute number; `None` if nothing is said of it.
    pub connections: Option<u64>,
    /// Users with an identity whose presence on this instance has changed, each at most once.
    pub users: Vec<UserReport>,
}

/// The site, or one of its rooms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Room {
    /// The site: the default namespace.
    Site,
    /// Another namespace.
    Named(RoomName),
}

impl Room {
    /// The name, as the store and clients write it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Site => SITE,
            Self::Named(name) => name.as_str(),
        }
    }
}

/// What a [`RoomReport`] says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserReport {
    /// The user.
    pub user: UserId,
    /// Whether this instance has connections of him in the room.
    pub presence: UserPresence,
}

/// Whether a user has connections in a room on the instance that reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserPresence {
    /// He has none.
    Gone,
    /// He has some. What is known of him, as a JSON object, replaces what was said before. If nothing is known of him here, what
    /// another instance has said stays, as long as that one has him, too.
    Here(Option<Arc<str>>),
    /// He has some, as was said before. What is known of him is stored only if the store knows nothing: another instance may have
    /// said something newer.
    Still(Arc<str>),
}

impl UserPresence {
    /// Whether he has any.
    pub fn is_here(&self) -> bool {
        *self != Self::Gone
    }
}

/// The most entries of one report: rooms and users together. With more, a call could block Redis for longer than 5 ms.
pub const ENTRIES_MAX: usize = 256;
/// The longest JSON of a user, in bytes. The claim `info` of a token has the same limit, and the report's script.
pub const INFO_BYTES_MAX: usize = 512;

/// Whether a store takes this as the JSON of a user.
pub(super) fn is_storable(info: &str) -> bool {
    info.len() <= INFO_BYTES_MAX && info.starts_with('{')
}

impl Report {
    /// A plain report of an instance without connections and without rooms, which has seen nothing of the store yet.
    pub fn new(incarnation: Incarnation, sequence: Sequence, lease: Duration) -> Self {
        Self {
            incarnation,
            sequence,
            users: 0,
            seen: Count::default(),
            lease,
            kind: ReportKind::Plain,
            about: None,
            acknowledged: Sequence::default(),
            former: None,
            resending: false,
            rooms: Vec::new(),
        }
    }

    /// Whether everything is in the range that a store accepts.
    pub fn is_valid(&self) -> bool {
        let seen = self.seen.users.max(self.seen.revision.0).max(self.acknowledged.0);
        self.users <= LOCAL_MAX
            && self.sequence.0.max(seen) <= WHOLE_MAX
            && self.acknowledged < self.sequence
            && (LEASE_MIN..=LEASE_MAX).contains(&self.lease)
            && self.about.as_ref().is_none_or(|about| about.is_valid())
            && self.former != Some(self.incarnation)
            && self.are_rooms_valid()
    }

    fn are_rooms_valid(&self) -> bool {
        let entries: usize = self.rooms.iter().map(|room| 1 + room.users.len()).sum();
        let mut names = HashSet::new();
        entries <= ENTRIES_MAX
            && self.rooms.iter().all(|room| names.insert(&room.room) && room.is_valid())
    }
}

impl RoomReport {
    fn is_valid(&self) -> bool {
        let mut ids = HashSet::new();
        let is_user_valid = |user: &UserReport| match &user.presence {
            UserPresence::Here(Some(info)) | UserPresence::Still(info) => is_storable(info),
            UserPresence::Here(None) | UserPresence::Gone => true,
        };
        (self.room != Room::Site || self.connections.is_none())
            && self.connections.is_none_or(|connections| connections <= LOCAL_MAX)
            && self.users.iter().all(|user| ids.insert(&user.user) && is_user_valid(user))
    }
}

/// The most connections one report may claim.
pub const LOCAL_MAX: u64 = 1_000_000_000;
/// The shortest lease that a store accepts. With a shorter one, a short delay of the network would look like a crash.
pub const LEASE_MIN: Duration = Duration::from_millis(100);
/// The longest lease that a store accepts. A crashed instance is counted for a lease.
pub const LEASE_MAX: Duration = Duration::from_mins(5);

/// What a [`Report`] asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportKind {
    /// Report the local count.
    #[default]
    Plain,
    /// Count the instance out. Its sequence number stays fenced for a lease.
    Farewell,
    /// Report the local count, and recount the total from its parts.
    Audit,
}

/// What the store answers to a [`Report`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// What became of the report.
    pub outcome: Outcome,
    /// The count after this report.
    pub count: Count,
    /// The last revision that was published.
    pub announced: Revision,
    /// Live instances, also those without connections.
    pub instances: u32,
    /// The sequence number that was stored for this incarnation before this report; 0 if none was.
    pub stored_sequence: Sequence,
    /// Expired leases that this call removed, at most [`REAPED_MAX`].
    pub reaped: u32,
    /// How many of these were of instances that were still counted: they ended without a farewell.
    pub crashed: u32,
    /// Values that this call found wrong and corrected.
    pub repaired: u32,
    /// Whether something has changed that is not announced yet, and may be now.
    pub unannounced: bool,
    /// Instances that have ended and whose rooms are not taken away yet. Every report takes away a part.
    pub dead: u32,
    /// The revision of the last announcement of rooms.
    pub paged: Revision,
    /// About the rooms of the report; `None` if it named none, or was not applied.
    pub rooms: Option<RoomsReply>,
}

impl Reply {
    /// Whether the report was applied.
    pub fn is_applied(&self) -> bool {
        self.outcome == Outcome::Applied
    }
}

/// What became of a [`Report`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied.
    #[default]
    Applied,
    /// Its sequence number was not above the stored one: nothing changed.
    Stale,
    /// It was not applied, because the store has lost earlier reports of this incarnation. The instance must take a new
    /// incarnation, name this one as [`Report::former`], and report all its rooms again.
    Resend,
}

/// What a [`Reply`] says of the rooms of its report. All counts are those of the reply's revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomsReply {
    /// In how many rooms the store holds connections without an identity for this instance.
    pub rooms_held: u64,
    /// How many pairs of a room and a user it holds for this instance.
    pub users_held: u64,
    /// The count of each room of the report, in the same order.
    pub counts: Vec<u64>,
    /// For each user of the report, in the same order: whether another instance holds him in that room, too.
    pub elsewhere: Vec<bool>,
}

/// The most expired leases that one call removes, which limits how long a call takes. An instance that is told this number
/// reports again at once.
pub const REAPED_MAX: u32 = 128;

/// The live instances, according to the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// The value of the public key, `currentUsers`.
    pub users: u64,
    /// Users of the site with an identity, each counted once on whatever instances.
    pub identified: u64,
    /// The revision, and whether the store is recovering.
    pub count: Count,
    /// One entry for each live incarnation, the oldest first.
    pub instances: Vec<RosterEntry>,
}

/// One incarnation in a [`Roster`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterEntry {
    /// The id, as stored.
    pub incarnation: String,
    /// The connections without an identity of this incarnation.
    pub users: u64,
    /// The rest of the lease on the lease clock, as of the last report of any instance; `None` if it holds no lease.
    pub lease_left: Option<Duration>,
    /// Who it is; `None` if it has not said so, as versions before this field do not, or if that cannot be read.
    pub about: Option<Arc<About>>,
}

impl Roster {
    /// What the count must be: the connections without an identity of all instances, and the users with one.
    pub fn sum(&self) -> u64 {
        let parts = self.instances.iter().map(|entry| entry.users);
        // Only forged numbers are that large.
        parts.fold(self.identified, u64::saturating_add)
    }
}

impl RosterEntry {
    /// All connections of this incarnation; those of users with an identity as it said last.
    pub fn connections(&self) -> u64 {
        self.users.saturating_add(self.identified().connections)
    }

    /// All sessions of this incarnation; those that are not counted in the site as it said last.
    pub fn sessions(&self) -> u64 {
        let outside = self.about.as_ref().map_or(0, |about| about.outside);
        self.connections().saturating_add(outside)
    }

    /// The users of this incarnation; those with an identity as it said last. They may be on other instances, too.
    pub fn users_here(&self) -> u64 {
        self.users.saturating_add(self.identified().users)
    }

    fn identified(&self) -> IdentifiedUsers {
        self.about.as_ref().map(|about| about.identified).unwrap_or_default()
    }
}
