//! The admin listener: the console for operators, metrics for Prometheus, and health checks. It reads and never writes.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{sync::watch, time::Instant};

use super::{
    console::{self, board::Board},
    drift::{drift, drift_of_rooms},
    runbook,
    sign_in::{self, Door, FORM_BYTES_MAX},
};
use crate::{
    cluster::view_metrics::{record_rooms, record_users, record_view},
    core::{about::About, view::View},
    engine::lifecycle::Engine,
    identity::sign_in::SignIn,
    protocol::transport::Transport,
    telemetry::metrics::{Metrics, signed},
    web::{
        asset::{Asset, Caching},
        scripts,
    },
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
    /// The keys of issuers.
    pub sign_in: SignIn,
    /// The name and version of this instance.
    pub about: watch::Receiver<Arc<About>>,
}

const ROUTES: &str = "\
/metrics  for Prometheus
/livez    200 while the process runs; never looks at Redis
/readyz   200 once the store has answered, until shutdown; 503 otherwise
/runbook  what each alert means and what to do
/         in a browser: the console
";

/// Everything on a page comes from here, nothing is inline, nothing may frame it, and no text can become markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Routes of the admin listener. Health is open to whatever runs this; the rest is behind the door.
pub fn router(admin: Admin, door: Arc<Door>, board: &Arc<Board>) -> Router {
    let open = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .merge(parts_of_pages());
    let entry = Router::new()
        .route("/login", post(sign_in::sign_in))
        .route("/logout", post(sign_in::sign_out))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(Arc::clone(&door));
    let page = Arc::clone(board);
    let root = async move |headers: HeaderMap, wish: console::Wish| {
        if sign_in::wants_html(&headers) {
            return console::page(&page, wish).await;
        }
        ROUTES.into_response()
    };
    let guarded = Router::new()
        .route("/", get(root))
        .route("/metrics", get(metrics))
        .route("/runbook", get(async || runbook::whole()))
        .route("/runbook/{alert}", get(section))
        .merge(console::router(board))
        .route_layer(from_fn_with_state(door, sign_in::guard));
    open.merge(guarded).merge(entry).layer(map_response(protect)).with_state(Arc::new(admin))
}

/// What the pages are made of. It says nothing of the cluster, and the login form needs it.
fn parts_of_pages<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let parts = [
        ("/favicon.ico", "image/svg+xml", include_str!("../web/favicon.svg").to_owned()),
        ("/favicon.svg", "image/svg+xml", include_str!("../web/favicon.svg").to_owned()),
        ("/console/style.css", CSS, include_str!("console/style.css").to_owned()),
        ("/console/console.js", JAVASCRIPT, include_str!("console/console.js").to_owned()),
        ("/console/socket.io.js", JAVASCRIPT, scripts::socket_io()),
    ];
    parts.into_iter().fold(Router::new(), |router, (path, media_type, text)| {
        router.route(path, Asset::new(media_type, Caching::Checked, text).route())
    })
}

/// What holds for every answer: it is of the type that it says, is for this address alone, and is kept by nobody unless it
/// says so.
async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let always = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not "no-referrer": with it browsers send the forms without their origin, which is asked for.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in always {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.append(header::VARY, HeaderValue::from_static("accept, cookie"));
    response
}

/// The section of the runbook about one alert.
async fn section(Path(alert): Path<String>) -> Response {
    match runbook::section(&alert) {
        Some(section) => ([(header::CONTENT_TYPE, TEXT)], section).into_response(),
        None => (StatusCode::NOT_FOUND, "the runbook has no such section\n").into_response(),
    }
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
        self.sign_in.record(&metrics.tokens, now);
        let rooms = self.engine.rooms().state(&view, now);
        record_rooms(metrics, &rooms);
        record_users(metrics, self.engine.tally().users_here());
        for transport in Transport::ALL {
            let joined = self.engine.joined(transport) as u64;
            metrics.connections.with_label_values(&[transport.label()]).set(signed(joined));
        }
        metrics.sessions.open.set(signed(self.engine.admission().permits().taken() as u64));
        metrics.sessions.polling.set(signed(self.engine.polling_sessions() as u64));
        metrics.drift_users.set(drift(&self.engine, &view, now));
        metrics.drift_memberships.set(drift_of_rooms(&rooms, metrics));
    }
}
