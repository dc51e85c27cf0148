//! What the view says, as metrics.

use tokio::time::Instant;

use crate::{
    core::view::View,
    telemetry::metrics::{Metrics, signed},
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
        metrics.identity.name(&incarnation.to_string());
    }
}
