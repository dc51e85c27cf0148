//! The admin listener: metrics for Prometheus, health for whatever runs this. Reads, never writes.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{sync::watch, time::Instant};

use crate::{
    cluster::view_metrics::record_view,
    core::view::View,
    engine::lifecycle::Engine,
    protocol::transport::Transport,
    telemetry::metrics::{Metrics, signed},
};

/// What the admin pages look at.
#[derive(Debug)]
pub struct Admin {
    /// The view.
    pub view: watch::Receiver<View>,
    /// The sessions, and whether handshakes are refused and readiness withdrawn.
    pub engine: Arc<Engine>,
    /// Everything else.
    pub metrics: Metrics,
}

const ROUTES: &str = "\
/metrics  for Prometheus
/livez    200 while the process runs; never looks at Redis
/readyz   200 once the store has answered, until shutdown; 503 otherwise
";

/// Routes of the admin listener.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/", get(async || ROUTES))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(admin))
}

/// Ready after the first answer of the store, and from then on whatever becomes of it: an outage of Redis
/// must not empty the load balancer.
async fn ready(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    if admin.engine.admission().is_leaving() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
    }
    if admin.view.borrow().answered().is_none() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the store has not answered yet\n");
    }
    (StatusCode::OK, "ready\n")
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    admin.refresh();
    match admin.metrics.render() {
        Ok(page) => {
            let text = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (text, page).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "failed to render metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

impl Admin {
    /// Sets the metrics that are somebody else's state.
    fn refresh(&self) {
        let view = *self.view.borrow();
        let now = Instant::now();
        let metrics = &self.metrics;
        record_view(metrics, &view, now);
        let mut sockets = 0;
        for transport in Transport::ALL {
            let joined = self.engine.joined(transport) as u64;
            metrics.connections.with_label_values(&[transport.label()]).set(signed(joined));
            sockets += joined;
        }
        metrics.drift_users.set(signed(view.acknowledged_users(now)) - signed(sockets));
    }
}
