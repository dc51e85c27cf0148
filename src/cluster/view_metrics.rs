//! What the view and the table of rooms say, as metrics.

use tokio::time::Instant;

use crate::{
    core::{rooms::RoomsState, site_users::UsersHere, view::View},
    telemetry::{
        labels::UserIdentity,
        metrics::{Metrics, signed},
    },
};

/// Sets the metrics that show the view, as of `now`.
pub(crate) fn record_view(metrics: &Metrics, view: &View, now: Instant) {
    let shown = view.shown(now);
    metrics.cluster_users.set(signed(shown.users));
    metrics.view_revision.set(signed(shown.revision.0));
    metrics.view_exact.set(i64::from(shown.exact));
    metrics.view_age_seconds.set(view.age(now).as_secs_f64());
    metrics.store_up.set(i64::from(view.is_reachable(now)));
    metrics.instances.set(view.instances().into());
    if let Some(incarnation) = view.incarnation() {
        metrics.build_info.name(&incarnation.to_string());
    }
}

/// Sets the metrics of the users on this instance.
pub(crate) fn record_users(metrics: &Metrics, UsersHere { token, visitor, none }: UsersHere) {
    for (identity, users) in
        [(UserIdentity::Token, token), (UserIdentity::Visitor, visitor), (UserIdentity::None, none)]
    {
        metrics.users.with_label_values(&[identity.label()]).set(signed(users));
    }
}

/// Sets the metrics that show the table of rooms, as of `now`.
pub(crate) fn record_rooms(metrics: &Metrics, state: &RoomsState) {
    metrics.rooms_tracked.set(signed(state.rooms as u64));
    metrics.rooms_max.set(signed(state.most as u64));
    metrics.rooms_exact.set(i64::from(state.are_exact));
    metrics.rooms_unread.set(signed(state.unread as u64));
    metrics.room_changes_waiting.set(signed(state.changes_waiting as u64));
}
