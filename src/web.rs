//! The public pages and the HTTP API. They read the view and never write anything.

mod asset;
mod badge;
mod count;
mod stream;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware::map_response,
    response::Response,
    routing::get,
};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Metrics,
    origin::{Origins, RefusalLog},
    view::View,
};
use asset::{Asset, Caching};

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

/// The function that both forms of the embeddable client consist of.
const EMBED: &str = include_str!("web/headcount.js");
/// The module that emits is served as it is: whoever learns from the lesson can read what runs.
const EMITTER: &str = include_str!("broadcaster.rs");

/// What the public routes look at.
#[derive(Debug)]
pub struct Web {
    /// The view.
    pub view: watch::Receiver<View>,
    /// Which pages may read event streams.
    pub origins: Origins,
    /// Tells of pages that may not.
    pub refusal_log: RefusalLog,
    /// For counting streams, and refused ones.
    pub metrics: Metrics,
    /// One place per event stream.
    pub places: Arc<Semaphore>,
    /// Least time between two events of a stream.
    pub pace: Duration,
    /// Ends all streams when clients are sent elsewhere.
    pub closing: CancellationToken,
}

/// Routes of the public listener, but for Socket.IO.
pub fn router(web: Web) -> Router {
    let page = include_str!("web/index.html");
    Router::new()
        .route("/", Asset::new(HTML, Caching::Checked, page).with_policy(PAGE_POLICY).route())
        .merge(page_parts())
        .route("/headcount.js", Asset::new(JAVASCRIPT, Caching::Brief, classic_script()).route())
        .route("/headcount.mjs", Asset::new(JAVASCRIPT, Caching::Brief, module()).route())
        .route("/_api/server.js", Asset::new(TEXT, Caching::Checked, EMITTER).route())
        .route("/api/count", get(count::answer))
        .route("/api/count/stream", get(stream::answer))
        .route("/badge.svg", get(badge::answer))
        .layer(map_response(guard))
        .with_state(Arc::new(web))
}

/// What the page is made of.
fn page_parts() -> Router<Arc<Web>> {
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

/// For `<script src>`: defines `headcount` for all scripts of the page.
fn classic_script() -> String {
    let home = "document.currentScript && document.currentScript.src";
    format!("{}globalThis.headcount = {}({home});\n", head_line(), without_comments(EMBED))
}

/// For `import` and `<script type="module" src>`: the same function, exported.
fn module() -> String {
    let body = without_comments(EMBED);
    format!(
        "{}const headcount = {body}(import.meta.url);\nexport default headcount;\nexport {{ headcount }};\n",
        head_line()
    )
}

/// The first line of the source, which says what the script is and where to read more.
fn head_line() -> String {
    EMBED.lines().next().map(|line| format!("{line}\n")).unwrap_or_default()
}

/// Comments have lines of their own, so that they can stay at home: visitors of other sites pay for each byte.
fn without_comments(source: &str) -> String {
    let kept = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    kept.collect::<Vec<_>>().join("\n")
}

/// What holds for every answer: its media type is what it says, and links do not tell where they were.
async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
