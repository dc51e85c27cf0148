//! The public pages and the HTTP API. They read the view and never write anything.

pub(crate) mod asset;
mod badge;
mod bearer;
mod count;
mod json;
mod room_query;
#[cfg(test)]
mod scripted_rooms;
pub(crate) mod scripts;
pub mod site;
pub mod site_rooms;
mod stream;
pub mod user_pages;
mod users;

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

/// The content security policy of the page: everything comes from this server, nothing is inline, no page may frame it, and no
/// text can become markup.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// The source of the module that emits. It is served, so that readers of the lesson can see what runs.
const EMITTER: &str = include_str!("broadcast/broadcaster.rs");

/// The routes of the public listener without Socket.IO.
pub fn router(site: Site) -> Router {
    Router::new()
        .route("/", page())
        .merge(page_parts())
        .merge(clients())
        .route("/_api/server.js", Asset::new(TEXT, Caching::Checked, EMITTER).route())
        .route("/api/count", get(count::answer))
        .route("/api/counts", get(count::answers))
        .route("/api/count/stream", get(stream::answer))
        .route("/api/users", get(users::answer))
        .route("/badge.svg", get(badge::answer))
        .layer(map_response(guard))
        .with_state(Arc::new(site))
}

/// The page, and the one script that must load before the page knows its own address. If the page is requested below a path
/// without a slash at its end, relative addresses are wrong, except for those that are only a query.
fn page() -> MethodRouter<Arc<Site>> {
    let page = include_str!("web/index.html");
    let page = Arc::new(Asset::new(HTML, Caching::Checked, page).with_policy(PAGE_POLICY));
    let messages = Arc::new(Asset::new(JAVASCRIPT, Caching::Checked, scripts::messages()));
    get(async move |RawQuery(query): RawQuery, request: HeaderMap| match query.as_deref() {
        Some("messages.js") => messages.answer(&request),
        _ => page.answer(&request),
    })
}

/// The files of the page.
fn page_parts() -> Router<Arc<Site>> {
    let parts = [
        // Browsers request this one by themselves, for documents that name no icon, such as those of the API.
        ("/favicon.ico", SVG, include_str!("web/favicon.svg")),
        ("/favicon.svg", SVG, include_str!("web/favicon.svg")),
        ("/public/style.css", CSS, include_str!("web/style.css")),
        ("/public/client.js", JAVASCRIPT, include_str!("web/client.js")),
        ("/public/line.js", JAVASCRIPT, include_str!("web/line.js")),
        ("/public/room.js", JAVASCRIPT, include_str!("web/room.js")),
        ("/public/copy.js", JAVASCRIPT, include_str!("web/copy.js")),
    ];
    parts.into_iter().fold(Router::new(), |router, (path, media_type, text)| {
        router.route(path, Asset::new(media_type, Caching::Checked, text).route())
    })
}

/// The clients that other pages load.
fn clients() -> Router<Arc<Site>> {
    let clients = [
        ("/headcount.js", scripts::headcount()),
        ("/headcount.mjs", scripts::headcount_module()),
        // The paths of the reference server. Our client is small, so the first two are the same file.
        ("/socket.io/socket.io.js", scripts::socket_io()),
        ("/socket.io/socket.io.min.js", scripts::socket_io()),
        ("/socket.io/socket.io.esm.min.js", scripts::socket_io_module()),
    ];
    clients.into_iter().fold(Router::new(), |router, (path, text)| {
        router.route(path, Asset::new(JAVASCRIPT, Caching::Brief, text).route())
    })
}

/// Adds the headers of every answer: no sniffing of media types, and no referrer.
async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
