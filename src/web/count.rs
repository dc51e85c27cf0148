//! `/api/count`: the count for programs, as one JSON object. Reads the view as it is at that moment.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::{asset::matches, site::Site};
use crate::core::{
    pace::whole_millis,
    peaks::{DAY_MS, Peak, ShownPeaks},
    view::View,
};

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
    /// The highest exact count of the current day of UTC.
    peak_today: Option<PeakAnswer>,
    /// The highest exact count ever.
    peak_ever: Option<PeakAnswer>,
}

/// A peak as JSON.
#[derive(Clone, Copy, Debug, Serialize)]
struct PeakAnswer {
    count: u64,
    /// When it was reached first, in UTC.
    #[serde(serialize_with = "as_date")]
    at: u64,
}

impl From<Peak> for PeakAnswer {
    fn from(peak: Peak) -> Self {
        Self { count: peak.users, at: peak.at }
    }
}

/// Writes a time as RFC 3339 with milliseconds, which JavaScript's `Date` reads.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "it is the signature that serde needs")]
fn as_date<S: Serializer>(at: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(*at);
    serializer.collect_str(&humantime::format_rfc3339_millis(at))
}

impl<'a> CountAnswer<'a> {
    pub(super) fn new(view: &View, peaks: ShownPeaks, host: &'a str, now: Instant) -> Self {
        let shown = view.shown(now);
        Self {
            count: shown.users,
            revision: shown.revision.0,
            exact: shown.exact,
            age_ms: whole_millis(view.age(now)),
            instance: view.incarnation().map(|id| id.to_string()),
            host,
            instances: view.instances(),
            peak_today: peaks.today.map(PeakAnswer::from),
            peak_ever: peaks.ever.map(PeakAnswer::from),
        }
    }

    /// What has to change for the answer to count as another one. Neither age nor instance belong to it:
    /// a client behind a balancer asks now this one, now that one. Of the times of peaks only the days belong to it, since two
    /// instances may have seen the same peak some milliseconds apart.
    fn tag(&self) -> String {
        let exactness = if self.exact { "exact" } else { "estimate" };
        let [today, ever] = [self.peak_today, self.peak_ever].map(|peak| match peak {
            Some(peak) => format!("{}@{}", peak.count, peak.at / DAY_MS),
            None => "none".to_owned(),
        });
        format!("W/\"{}-{}-{exactness}-{today}-{ever}\"", self.revision, self.count)
    }
}

/// The handler.
pub(super) async fn answer(State(site): State<Arc<Site>>, request: HeaderMap) -> Response {
    let answer =
        CountAnswer::new(&site.view.borrow(), *site.peaks.borrow(), &site.host, Instant::now());
    let tag = answer.tag();
    let is_known = matches(&request, &tag);
    let headers = [(header::CACHE_CONTROL, "no-cache".to_owned()), (header::ETAG, tag)];
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, Json(answer)).into_response()
}
