//! Which web pages may connect: one rule for websockets, polling and the API. Pure.
//!
//! Browsers say which page a request comes from in its `Origin` header, and no page can forge it. A request
//! without one is no browser's cross-origin request, and is let in: this guards visitors' browsers against
//! foreign pages, not the server against programs.

mod pattern;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use tokio::time::Instant;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use url::Url;

use crate::telemetry::{escaped::Escaped, log_limit::LogLimit};
use pattern::Pattern;

/// The header by which browsers say where the page is that asks (Fetch Metadata).
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

    /// Whether a request may have what costs something: as [`Origins::allow`], but a request without an `Origin` header
    /// is refused too if its browser says (`Sec-Fetch-Site`) that a page of another site sends it. Images and frames are
    /// asked for in that way, which a foreign page could use to take all sessions through its visitors' browsers.
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

    /// As [`Origins::allow_page`], for a request with these headers.
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

/// What is no text is no origin and no host.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// The least time between two lines of the log that tell of a refused page. What its visitors' browsers try, they try
/// again and again.
const REFUSAL_LOG_GAP: Duration = Duration::from_mins(1);

/// Tells the log of pages that were turned away, rarely: a proxy that rewrites `Host` turns every visitor away, and
/// nothing else would tell the operator why. Clones share what they know.
#[derive(Clone, Debug)]
pub struct RefusalLog(Arc<LogLimit>);

impl Default for RefusalLog {
    fn default() -> Self {
        Self(Arc::new(LogLimit::new(REFUSAL_LOG_GAP)))
    }
}

impl RefusalLog {
    /// A request of this page, sent to this host, was turned away. Both are as the headers have them.
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

    /// What to say of it, unless the log has told of another one lately.
    fn admit(&self, headers: [Option<&[u8]>; 2], now: Instant) -> Option<Refusal> {
        let others = self.0.admit(now)?;
        let [origin, host] =
            headers.map(|value| value.map_or_else(|| "(none)".into(), Escaped::of_bytes));
        Some(Refusal { origin, host, others })
    }
}

/// What the log says of a page that was turned away.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    origin: Escaped,
    host: Escaped,
    /// Requests that were turned away since the last line.
    others: u64,
}

/// Tells browsers that allowed pages may read the answers, with cookies where a balancer needs them: the
/// exact origin is echoed, and caches are told that the answer depends on it.
pub fn cors(origins: Origins) -> CorsLayer {
    let allowed = move |_: &HeaderValue, request: &Parts| origins.allow_headers(&request.headers);
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::ETAG])
}

/// Hosts are compared without their scheme: behind a balancer that ends TLS the page is `https` and the
/// request is not. A port that is its scheme's default may be written or not.
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
