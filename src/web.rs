//! The public pages and the HTTP API. They read the view and never write anything.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse},
    routing::get,
};
use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use crate::view::View;

/// Everything the pages need comes from here, nothing is inline, nothing may frame them.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Short enough that a deploy is seen soon, long enough to spare a server in a rush.
const SCRIPT_CACHE: &str = "public, max-age=300";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

const PAGE: &str = include_str!("web/index.html");
const STYLE: &str = include_str!("web/style.css");
const CLIENT: &str = include_str!("web/client.js");
const EMBED: &str = include_str!("web/headcount.js");
/// The module that emits is served as it is: whoever learns from the lesson can read what runs.
const EMITTER: &str = include_str!("broadcaster.rs");

/// Routes of the public listener, but for Socket.IO.
pub fn router(view: watch::Receiver<View>) -> Router {
    Router::new()
        .route("/", get(page))
        .route(
            "/style.css",
            get(|| script(STYLE, "text/css; charset=utf-8")),
        )
        .route("/public/client.js", get(|| script(CLIENT, JAVASCRIPT)))
        .route("/headcount.js", get(|| script(EMBED, JAVASCRIPT)))
        .route(
            "/_api/server.js",
            get(|| script(EMITTER, "text/plain; charset=utf-8")),
        )
        .route("/api/count", get(count))
        .with_state(Arc::new(view))
}

async fn page() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE))
}

async fn script(text: &'static str, media_type: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static(SCRIPT_CACHE),
        ),
    ];
    (headers, text)
}

/// The answer of `/api/count`.
#[derive(Debug, Serialize)]
struct CountAnswer {
    /// Users online in the whole cluster.
    count: u64,
    /// Grows with every change of the count.
    revision: u64,
    /// False while this is an estimate.
    exact: bool,
    /// How old the store's last word is, in milliseconds.
    age_ms: u64,
    /// Which instance answers.
    instance: Option<String>,
    /// How many instances there are.
    instances: u32,
}

async fn count(State(view): State<Arc<watch::Receiver<View>>>) -> impl IntoResponse {
    let view = *view.borrow();
    let shown = view.shown();
    let answer = CountAnswer {
        count: shown.users,
        revision: shown.revision.0,
        exact: shown.exact,
        age_ms: millis(view.age(Instant::now())),
        instance: view.incarnation().map(|id| id.to_string()),
        instances: view.instances(),
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(answer))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
