//! Refuses to show the console under a name that a stranger may own, while there is no token: see [`AdminHosts`]. With a token a
//! page of a stranger has no cookie of the console, so the name does not matter.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use crate::{
    access::admin_hosts::AdminHosts,
    telemetry::{escaped::Escaped, log_limit::LogLimit},
};

/// Least time between two log lines about refused names: a page asks every second.
const LOG_GAP: Duration = Duration::from_mins(1);
/// What programs ask for under any name, since it may be any that leads here.
const FOR_PROGRAMS: &str = "/metrics";
/// Headers that browsers send and programs do not.
const OF_BROWSERS: [&str; 3] = ["origin", "referer", "sec-fetch-site"];
/// How all browsers call themselves.
const BROWSER: &[u8] = b"Mozilla/";

/// The names of the console.
#[derive(Debug)]
pub(super) struct Names {
    hosts: AdminHosts,
    /// The name of this instance.
    own: String,
    log: LogLimit,
}

impl Names {
    /// Names that are allowed: `hosts`, and the name of this instance.
    pub(super) fn new(hosts: AdminHosts, own: String) -> Self {
        Self { hosts, own, log: LogLimit::new(LOG_GAP) }
    }

    /// The answer to a request that asks for a name of somebody else; `None` if it may be served.
    pub(super) fn refusal(&self, request: &Request) -> Option<Response> {
        let headers = request.headers();
        if self.hosts.allow(headers, &self.own) {
            return None;
        }
        if request.uri().path() == FOR_PROGRAMS && !is_of_a_browser(headers) {
            return None;
        }
        let host = headers.get(header::HOST).map(|host| Escaped::of_bytes(host.as_bytes()));
        let host = host.unwrap_or_else(|| Escaped::new("(none)"));
        if let Some(held_back) = self.log.admit(Instant::now()) {
            tracing::warn!(
                %host,
                held_back,
                "the console was asked for under a name that is not known: if it is yours, list it in HEADCOUNT_ADMIN_HOSTS"
            );
        }
        let text = format!(
            "The console has no token, so it is not shown under the name {host}: a page of a stranger could point its name \
             here and read it.\nOpen it by its address, or as localhost. If the name is yours, set HEADCOUNT_ADMIN_HOSTS to \
             it, or HEADCOUNT_ADMIN_TOKEN.\n"
        );
        Some((StatusCode::FORBIDDEN, text).into_response())
    }
}

/// Whether a browser sent this. A page's script can leave out none of it in most browsers.
fn is_of_a_browser(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT);
    OF_BROWSERS.iter().any(|name| headers.contains_key(*name))
        || agent.is_some_and(|agent| agent.as_bytes().starts_with(BROWSER))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use rstest::rstest;

    use super::*;

    /// Goal: programs get the metrics under any name, browsers only under a known one, and nothing else is served under an
    /// unknown one. Method: requests as both send them.
    #[rstest]
    #[case("/", "127.0.0.1:9100", "user-agent", "Mozilla/5.0", true)]
    #[case("/", "evil.example:9100", "user-agent", "Mozilla/5.0", false)]
    #[case("/console.json", "evil.example:9100", "user-agent", "curl/8", false)]
    #[case("/metrics", "metrics.example:9100", "user-agent", "Prometheus/3.5.0", true)]
    #[case("/metrics", "metrics.example:9100", "accept", "text/html", true)]
    #[case("/metrics", "evil.example:9100", "user-agent", "Mozilla/5.0", false)]
    #[case("/metrics", "evil.example:9100", "referer", "http://evil.example:9100/", false)]
    #[case("/metrics", "evil.example:9100", "origin", "http://evil.example:9100", false)]
    #[case("/metrics", "evil.example:9100", "sec-fetch-site", "same-origin", false)]
    #[case("/metrics", "web-1:9100", "sec-fetch-site", "none", true)]
    fn who_may_ask(
        #[case] path: &str,
        #[case] host: &str,
        #[case] name: &str,
        #[case] value: &str,
        #[case] is_served: bool,
    ) {
        let names = Names::new(AdminHosts::default(), "web-1.example".to_owned());
        let request = Request::builder().uri(path).header("host", host).header(name, value);
        let refusal = names.refusal(&request.body(Body::empty()).unwrap());
        assert_eq!(refusal.is_none(), is_served);
        assert!(refusal.is_none_or(|refusal| refusal.status() == StatusCode::FORBIDDEN));
    }
}
