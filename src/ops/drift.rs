//! Compares what the store holds for this instance with what it has.

use tokio::time::Instant;

use crate::{
    core::view::View, engine::lifecycle::Engine, protocol::transport::Transport,
    telemetry::metrics::signed,
};

/// Users in the store for this instance minus the connections that it counts. Users with an identity are told to the store one by
/// one, so they are taken as told.
pub(super) fn drift(engine: &Engine, view: &View, now: Instant) -> i64 {
    let here = *engine.tally().subscribe().borrow();
    let identified = here.connections - here.anonymous;
    let stored = view.acknowledged_anonymous(now) + identified;
    signed(stored) - signed(connections(engine))
}

/// Connections of this instance that are counted in the site.
pub(super) fn connections(engine: &Engine) -> u64 {
    Transport::ALL.map(|transport| engine.joined(transport) as u64).iter().sum()
}
