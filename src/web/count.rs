//! `/api/count`: the count for programs, as one JSON object. Reads the view as it is at that moment.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::time::Instant;

use super::{asset::matches, site::Site};
use crate::core::{pace::whole_millis, view::View};

/// The JSON of `/api/count`, and of every event of the stream.
#[derive(Debug, Serialize)]
pub(super) struct CountAnswer<'a> {
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
    /// The name by which people know it.
    host: &'a str,
    /// How many instances there are.
    instances: u32,
}

impl<'a> CountAnswer<'a> {
    pub(super) fn new(view: &View, host: &'a str, now: Instant) -> Self {
        let shown = view.shown(now);
        Self {
            count: shown.users,
            revision: shown.revision.0,
            exact: shown.exact,
            age_ms: whole_millis(view.age(now)),
            instance: view.incarnation().map(|id| id.to_string()),
            host,
            instances: view.instances(),
        }
    }

    /// What has to change for the answer to count as another one. Neither age nor instance belong to it:
    /// a client behind a balancer asks now this one, now that one.
    fn tag(&self) -> String {
        let exactness = if self.exact { "exact" } else { "estimate" };
        format!("W/\"{}-{}-{exactness}\"", self.revision, self.count)
    }
}

/// The handler.
pub(super) async fn answer(State(site): State<Arc<Site>>, request: HeaderMap) -> Response {
    let answer = CountAnswer::new(&site.view.borrow(), &site.host, Instant::now());
    let tag = answer.tag();
    let is_known = matches(&request, &tag);
    let headers = [(header::CACHE_CONTROL, "no-cache".to_owned()), (header::ETAG, tag)];
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, Json(answer)).into_response()
}
