//! The admin listener: metrics for Prometheus, and health checks. It reads and never writes.

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
    core::{about::About, view::View},
    engine::lifecycle::Engine,
    protocol::transport::Transport,
    telemetry::metrics::{Metrics, signed},
};

/// The state that the admin pages read.
#[derive(Debug)]
pub struct Admin {
    /// The view, with the count.
    pub view: watch::Receiver<View>,
    /// The sessions, and whether handshakes are refused and readiness withdrawn.
    pub engine: Arc<Engine>,
    /// Everything else.
    pub metrics: Metrics,
    /// The name and version of this instance.
    pub about: watch::Receiver<Arc<About>>,
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

/// Readiness: 200 after the first answer of the store, until shutdown, with the instance's name. A later outage of Redis changes
/// nothing, since it must not empty the load balancer.
async fn ready(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let (status, state) = if admin.engine.admission().is_leaving() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down")
    } else if admin.view.borrow().answered().is_none() {
        (StatusCode::SERVICE_UNAVAILABLE, "the store has not answered yet")
    } else {
        (StatusCode::OK, "ready")
    };
    (status, format!("{state}\n{}", admin.identity()))
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
    /// The name and the id of this instance, on two lines.
    fn identity(&self) -> String {
        let incarnation = self.view.borrow().incarnation().map(|id| id.to_string());
        let incarnation = incarnation.as_deref().unwrap_or("none");
        let about = self.about.borrow();
        format!("host: {}\nincarnation: {incarnation}\nversion: {}\n", about.host, about.version)
    }

    /// Sets the metrics whose values other parts hold.
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
