//! Decides which web pages may connect, by one rule for websockets, polling and the API.
//!
//! Browsers name the page's origin in the `Origin` header, and pages cannot forge it. A request without the header is not a
//! cross-origin request of a browser, and is allowed. This protects visitors' browsers against foreign pages; it does not
//! protect the server against programs.

mod pattern;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use tokio::time::Instant;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use url::Url;

use crate::telemetry::{escaped::Escaped, log_limit::LogLimit};
use pattern::Pattern;

/// The header in which browsers say whether the request comes from another site (Fetch Metadata).
const FETCH_SITE: &str = "sec-fetch-site";

/// The pages that may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages of the host that the request was sent to.
    #[default]
    Same,
    /// All pages.
    Any,
    /// Pages of these origins, and of the host that the request was sent to.
    Listed(Vec<Pattern>),
}

/// A list of origins that is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{entry:?} {reason}")]
pub struct InvalidOrigin {
    /// The entry.
    pub entry: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Origins {
    /// Reads a list of origins with commas between, or `*`.
    ///
    /// # Errors
    /// The first entry that is no origin, or that would let in far more than it seems to.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let mut patterns = Vec::new();
        for entry in text.split(',').map(str::trim) {
            let refuse = |reason| InvalidOrigin { entry: entry.to_owned(), reason };
            let pattern = Pattern::parse(entry).map_err(refuse)?;
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
        Ok(Self::Listed(patterns))
    }

    /// Whether a request with these headers may connect.
    pub fn allow_headers(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(header::ORIGIN).map(text);
        let host = headers.get(header::HOST).map(text);
        self.allow(origin, host)
    }

    /// Whether a request may begin a session or an event stream. This is stricter than [`Origins::allow`]: a request without
    /// an `Origin` header is refused if its browser says, in `Sec-Fetch-Site`, that a page of another site sends it. Browsers
    /// send such requests for images and frames, with which a foreign page could use up all sessions.
    pub fn allow_page(
        &self,
        origin: Option<&str>,
        host: Option<&str>,
        fetch_site: Option<&str>,
    ) -> bool {
        let is_foreign = matches!(fetch_site, Some("cross-site" | "same-site"));
        match origin {
            None if is_foreign => *self == Self::Any,
            _ => self.allow(origin, host),
        }
    }

    /// The same as [`Origins::allow_page`], for a request with these headers.
    pub fn allow_page_of(&self, headers: &HeaderMap) -> bool {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let [origin, host, fetch_site] =
            [header::ORIGIN.as_str(), header::HOST.as_str(), FETCH_SITE]
                .map(|name| headers.get(name).map(text));
        self.allow_page(origin.as_deref(), host.as_deref(), fetch_site.as_deref())
    }

    /// Whether a request with this `Origin` header, sent to this `Host`, may connect.
    pub fn allow(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        match self {
            Self::Any => true,
            Self::Same => is_same(origin, host),
            Self::Listed(patterns) => {
                is_same(origin, host) || patterns.iter().any(|pattern| pattern.matches(origin))
            }
        }
    }
}

/// The header as text; empty if it is not text. Empty text is no origin and no host.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// The least time between two log lines about refused pages. The browsers of their visitors try again and again.
const REFUSAL_LOG_GAP: Duration = Duration::from_mins(1);

/// Logs pages that were refused, at most once a minute. If a proxy rewrites `Host`, all visitors are refused, and only this
/// line tells the operator why. Clones share the limit.
#[derive(Clone, Debug)]
pub struct RefusalLog(Arc<LogLimit>);

impl Default for RefusalLog {
    fn default() -> Self {
        Self(Arc::new(LogLimit::new(REFUSAL_LOG_GAP)))
    }
}

impl RefusalLog {
    /// Logs, if the limit allows it, that a request was refused. `origin` and `host` are the values of its headers.
    pub fn refused(&self, origin: Option<&[u8]>, host: Option<&[u8]>) {
        if let Some(refusal) = self.admit([origin, host], Instant::now()) {
            tracing::warn!(
                origin = %refusal.origin,
                host = %refusal.host,
                others = refusal.others,
                "turned a page away: if its site is the host that was asked for, a proxy changes the Host header; \
                if it is another site of yours, list its origin in HEADCOUNT_ALLOWED_ORIGINS"
            );
        }
    }

    /// What to log, unless the limit forbids it.
    fn admit(&self, headers: [Option<&[u8]>; 2], now: Instant) -> Option<RefusalLine> {
        let others = self.0.admit(now)?;
        let [origin, host] =
            headers.map(|value| value.map_or_else(|| "(none)".into(), Escaped::of_bytes));
        Some(RefusalLine { origin, host, others })
    }
}

/// A log line about a refused page.
#[derive(Debug, PartialEq, Eq)]
struct RefusalLine {
    origin: Escaped,
    host: Escaped,
    /// Requests that were refused since the last line.
    others: u64,
}

/// The headers by which browsers let allowed pages read answers, with cookies, which balancers need. The exact origin is
/// echoed, and `Vary` tells caches that the answer depends on it.
pub fn cors(origins: Origins) -> CorsLayer {
    let allowed = move |_: &HeaderValue, request: &Parts| origins.allow_headers(&request.headers);
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::ETAG])
}

/// Compares the hosts without their schemes: behind a balancer that ends TLS, the page is `https` and the request is not. The
/// default port of a scheme may be written or left out.
fn is_same(origin: &str, host: Option<&str>) -> bool {
    let (Ok(origin), Some(host)) = (Url::parse(origin), host) else {
        return false;
    };
    let Ok(target) = Url::parse(&format!("{}://{host}", origin.scheme())) else {
        return false;
    };
    let known = origin.host_str().is_some() && origin.port_or_known_default().is_some();
    known
        && origin.host_str() == target.host_str()
        && origin.port_or_known_default() == target.port_or_known_default()
}

#[cfg(test)]
#[path = "origin/tests.rs"]
mod tests;
