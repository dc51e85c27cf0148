//! What the store has to be told, and what it is known to hold.
//!
//! ```text
//!              changed                  sent                    answered
//!   settled ───────────▶ news ───────────────────▶ in doubt ───────────────▶ settled
//!                         ▲                        │  ▲  │                     (news again, if it
//!                         │ a new incarnation      │  └──┘ not answered:       has changed since)
//!                         └────────────────────────┘       sent again
//! ```
//!
//! Every report carries all keys in doubt. So after any answered report it is certain what the store holds of this instance.
//! An entry is an absolute value, so sending it again does no harm.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{due::RoomId, here::Here, round::Round};
use crate::core::{
    prune::Prune,
    report::{ENTRIES_MAX, RoomReport, UserPresence},
    room::UserId,
};

/// A room, for its connections without an identity, or one of its users.
pub(super) type KeyId = (RoomId, Option<UserId>);

/// What is to be sent, and what the store holds.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The most entries of a report.
    pub(super) entries_max: usize,
    /// Keys with [`Pending::InDoubt`]: the newest report carried all of them.
    pub(super) doubt: Vec<KeyId>,
    /// What is to be sent of the site, which goes first, and of rooms.
    pub(super) site_news: News,
    pub(super) news: News,
    /// Rooms with [`Want::Queued`], and some whose counts have become known.
    pub(super) wants: VecDeque<RoomId>,
    pub(super) wants_prune: Prune,
    /// The round in which the counts of all rooms are asked for.
    pub(super) reread: Round,
    pub(super) sweep: (usize, Option<UserId>),
    pub(super) swept_at: Option<Instant>,
    /// The number of the newest report, and of the newest one that was acknowledged. They do not begin again with an incarnation.
    pub(super) newest: u64,
    pub(super) acknowledged: u64,
    /// The number of the newest report whose counts of rooms were taken over.
    pub(super) folded: u64,
    /// Whether the store does not know all rooms of this incarnation yet.
    pub(super) is_resending: bool,
    /// In how many rooms the store holds connections without an identity, and how many pairs of a room and a user.
    pub(super) rooms_held: u64,
    pub(super) users_held: u64,
    /// How many connections without an identity it holds in all these rooms.
    pub(super) connections_held: u64,
    /// Who is here.
    pub(super) here: Here,
}

/// Keys with [`Pending::News`], and some that are settled again.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) keys: VecDeque<KeyId>,
    pub(super) prune: Prune,
}

/// What a report says of rooms.
#[derive(Debug, Default)]
pub struct RoomsToReport {
    /// What it says of each room.
    pub rooms: Vec<RoomReport>,
    /// Whether further reports must follow until the store knows all rooms again.
    pub resending: bool,
    /// How many announcements of rooms were missed since the report before, whose counts are read again.
    pub pages_missed: u64,
    /// Whether it leaves out no user of the site whose presence has changed. Then the store knows all of them once it has
    /// acknowledged the report.
    pub is_site_told: bool,
    /// To be given back when the report has ended.
    pub sent: SentRooms,
}

/// What a report that is under way says of rooms.
#[derive(Clone, Debug, Default)]
pub struct SentRooms {
    pub(super) number: u64,
    pub(super) rooms: Vec<SentRoom>,
}

impl SentRooms {
    /// Whether the report names rooms.
    pub fn names_rooms(&self) -> bool {
        !self.rooms.is_empty()
    }
}

/// What a report that is under way says of one room.
#[derive(Clone, Debug)]
pub(super) struct SentRoom {
    pub(super) id: RoomId,
    /// The last change that is reported in full.
    pub(super) change: u64,
    pub(super) connections: Option<u32>,
    pub(super) users: Vec<(UserId, UserPresence)>,
}

impl Ledger {
    /// Whether a reply was taken over only in part: it is known what the store has acknowledged, and not yet which counts follow. A
    /// newcomer would be told a count without itself.
    pub(super) fn is_folding(&self) -> bool {
        self.folded < self.acknowledged
    }

    pub(super) fn new(entries_max: usize) -> Self {
        assert!((2..=ENTRIES_MAX).contains(&entries_max), "a user in a new room takes two entries");
        Self {
            entries_max,
            doubt: Vec::new(),
            site_news: News::default(),
            news: News::default(),
            wants: VecDeque::new(),
            wants_prune: Prune::default(),
            reread: Round::default(),
            sweep: (0, None),
            swept_at: None,
            newest: 0,
            acknowledged: 0,
            folded: 0,
            is_resending: false,
            rooms_held: 0,
            users_held: 0,
            connections_held: 0,
            here: Here::default(),
        }
    }

    /// How many memberships the store holds for this instance beyond those that are here, by what it has acknowledged.
    pub(super) fn drift(&self) -> i64 {
        let signed = |number| i64::try_from(number).unwrap_or(i64::MAX);
        signed(self.connections_held + self.users_held)
            - signed(self.here.anonymous + self.here.users)
    }

    /// What is to be sent of this room.
    pub(super) fn news_of(&mut self, id: RoomId) -> &mut News {
        if id == RoomId::SITE { &mut self.site_news } else { &mut self.news }
    }

    /// What is to be sent first.
    pub(super) fn first_news(&self) -> Option<&KeyId> {
        self.site_news.keys.front().or(self.news.keys.front())
    }

    /// Whether something is to be sent.
    pub(super) fn has_news(&self) -> bool {
        !self.site_news.keys.is_empty() || !self.news.keys.is_empty()
    }
}
