//! Compares what the store holds for this instance with what it has.

use tokio::time::Instant;

use crate::{
    core::{rooms::RoomsState, view::View},
    engine::lifecycle::Engine,
    protocol::transport::Transport,
    telemetry::{
        labels::MembershipKind,
        metrics::{Metrics, signed},
    },
};

/// Users in the store for this instance minus the connections that it counts. Users with an identity are told to the store one by
/// one, so they are taken as told.
pub(super) fn drift(engine: &Engine, view: &View, now: Instant) -> i64 {
    let here = *engine.tally().subscribe().borrow();
    let identified = here.connections - here.anonymous;
    let stored = view.acknowledged_anonymous(now) + identified;
    signed(stored) - signed(connections(engine))
}

/// Memberships in the store for this instance minus those here: connections in rooms without an identity, and users with one, once
/// for each room and for the site. The connections in rooms are those that sessions have joined and not left; which of them are of
/// the same user, only the table of rooms knows.
pub(super) fn drift_of_rooms(rooms: &RoomsState, metrics: &Metrics) -> i64 {
    let joined = metrics.memberships.with_label_values(&[MembershipKind::Member.label()]).get();
    rooms.drift + signed(rooms.members) - joined
}

/// Connections of this instance that are counted in the site.
pub(super) fn connections(engine: &Engine) -> u64 {
    Transport::ALL.map(|transport| engine.joined(transport) as u64).iter().sum()
}
