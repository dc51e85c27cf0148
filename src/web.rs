//! The public pages and the HTTP API. They read the view and never write anything.

mod asset;
mod badge;
mod count;
pub(crate) mod scripts;
pub mod site;
mod stream;

use std::sync::Arc;

use axum::{
    Router,
    extract::RawQuery,
    http::{HeaderMap, HeaderValue, header},
    middleware::map_response,
    response::Response,
    routing::{MethodRouter, get},
};

use asset::{Asset, Caching};
use site::Site;

/// Everything the page needs comes from here, nothing is inline, nothing may frame it, and no text can
/// become markup.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// The module that emits is served as it is: whoever learns from the lesson can read what runs.
const EMITTER: &str = include_str!("broadcast/broadcaster.rs");

/// Routes of the public listener, but for Socket.IO.
pub fn router(site: Site) -> Router {
    Router::new()
        .route("/", page())
        .merge(page_parts())
        .merge(clients())
        .route("/_api/server.js", Asset::new(TEXT, Caching::Checked, EMITTER).route())
        .route("/api/count", get(count::answer))
        .route("/api/count/stream", get(stream::answer))
        .route("/badge.svg", get(badge::answer))
        .layer(map_response(guard))
        .with_state(Arc::new(site))
}

/// The page, and the one script of it that has to be found before the page knows its own address: below a path that
/// is asked for without a slash at its end, relative addresses lead elsewhere, but for those that are only a query.
fn page() -> MethodRouter<Arc<Site>> {
    let page = include_str!("web/index.html");
    let page = Arc::new(Asset::new(HTML, Caching::Checked, page).with_policy(PAGE_POLICY));
    let messages = Arc::new(Asset::new(JAVASCRIPT, Caching::Checked, scripts::messages()));
    get(async move |RawQuery(query): RawQuery, request: HeaderMap| match query.as_deref() {
        Some("messages.js") => messages.answer(&request),
        _ => page.answer(&request),
    })
}

/// What the page is made of.
fn page_parts() -> Router<Arc<Site>> {
    let parts = [
        // Browsers ask for this one on their own, for documents that name none, such as the API's.
        ("/favicon.ico", SVG, include_str!("web/favicon.svg")),
        ("/favicon.svg", SVG, include_str!("web/favicon.svg")),
        ("/public/style.css", CSS, include_str!("web/style.css")),
        ("/public/client.js", JAVASCRIPT, include_str!("web/client.js")),
        ("/public/line.js", JAVASCRIPT, include_str!("web/line.js")),
        ("/public/copy.js", JAVASCRIPT, include_str!("web/copy.js")),
    ];
    parts.into_iter().fold(Router::new(), |router, (path, media_type, text)| {
        router.route(path, Asset::new(media_type, Caching::Checked, text).route())
    })
}

/// The clients that pages of others load.
fn clients() -> Router<Arc<Site>> {
    let clients = [
        ("/headcount.js", scripts::headcount()),
        ("/headcount.mjs", scripts::headcount_module()),
        // Where the reference server of Socket.IO has its client, and the forms of it that pages name. They are small
        // as they are, so the first two are the same.
        ("/socket.io/socket.io.js", scripts::socket_io()),
        ("/socket.io/socket.io.min.js", scripts::socket_io()),
        ("/socket.io/socket.io.esm.min.js", scripts::socket_io_module()),
    ];
    clients.into_iter().fold(Router::new(), |router, (path, text)| {
        router.route(path, Asset::new(JAVASCRIPT, Caching::Brief, text).route())
    })
}

/// What holds for every answer: its media type is what it says, and links do not tell where they were.
async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
