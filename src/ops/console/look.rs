//! One look at the cluster, from which everything on the page is derived. Plain data, no clock and no I/O.

use std::time::Duration;

use tokio::time::Instant;

use super::{history::History, instances::Instances};
use crate::{
    core::{peaks::ShownPeaks, rooms::RoomsState, site_users::UsersHere, view::View},
    store::facts::StoreFacts,
};

/// What is known at one moment.
#[derive(Debug)]
pub(super) struct Look<'a> {
    pub(super) now: Instant,
    /// The clock on the wall, in milliseconds since 1970.
    pub(super) unix_millis: u64,
    /// The name of this instance, and its version.
    pub(super) host: &'a str,
    pub(super) version: &'a str,
    pub(super) view: &'a View,
    /// Counted connections of this instance.
    pub(super) connections: u64,
    /// The users of the site on this instance.
    pub(super) users_here: UsersHere,
    pub(super) is_draining: bool,
    /// Whether the store is part of this process.
    pub(super) is_embedded: bool,
    /// Since when the number has been an estimate; `None` while it is exact.
    pub(super) estimate_since: Option<Instant>,
    /// Since when counts of rooms have been estimates; `None` while they are exact.
    pub(super) rooms_estimate_since: Option<Instant>,
    /// Instances that have ended whose users are still in rooms, and since when there have been any.
    pub(super) behind: Option<(Instant, u32)>,
    pub(super) history: &'a History,
    pub(super) instances: &'a Instances,
    pub(super) store: &'a StoreAnswers,
    /// Sessions of this instance: open, and at most.
    pub(super) sessions: [u64; 2],
    /// Bytes of memory of this instance: in use, and at most.
    pub(super) memory: Option<[u64; 2]>,
    /// What was refused since the start, by the label of the metric.
    pub(super) refusals: Vec<(String, u64)>,
    /// The rooms of this instance.
    pub(super) rooms: RoomsState,
    /// Connections of this instance in rooms, once for each room: counted, and watching.
    pub(super) memberships: [u64; 2],
    /// The highest exact counts.
    pub(super) peaks: ShownPeaks,
    /// The age of the oldest keys of issuers of tokens; 0 if there are no issuers.
    pub(super) keys_age: Duration,
    /// Whether operators sign in.
    pub(super) has_token: bool,
}

/// What the store answered last, beside the roster.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreAnswers {
    /// How long the last roster took; `None` before the first.
    pub(super) round_trip: Option<Duration>,
    /// Why there is no newer roster.
    pub(super) error: Option<String>,
    /// Facts that the store reports about itself.
    pub(super) facts: Facts,
}

/// What the store says of itself.
#[derive(Clone, Debug, Default)]
pub(super) enum Facts {
    /// It was not asked yet, or does not answer.
    #[default]
    Unknown,
    /// It said so.
    Known(StoreFacts),
    /// Its user may not ask.
    Denied,
}
