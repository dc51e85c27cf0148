//! `/api/count` and `/api/counts`: the count of the site, and those of rooms, as JSON for programs. Reads what the instance
//! knows at that moment.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::{
    asset::matches,
    bearer::Access,
    json,
    room_query::{self, ROOMS_MAX, Refusal},
    site::Site,
};
use crate::core::{
    pace::whole_millis,
    peaks::{DAY_MS, Peak, ShownPeaks},
    report::Room,
    site_users::UsersHere,
    view::{Shown, View},
};

/// The JSON of `/api/count`, and of every event of the stream.
#[derive(Debug, Serialize)]
pub(super) struct CountAnswer<'a> {
    /// The room; `None` if the request names none, which is a request for the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(flatten)]
    count: CountEntry,
    /// Of the site only.
    #[serde(skip_serializing_if = "Option::is_none")]
    users_here: Option<UsersEntry>,
    #[serde(flatten)]
    source: Source<'a>,
    /// Of the site only.
    #[serde(flatten)]
    peaks: Option<PeaksEntry>,
}

/// The JSON of `/api/counts`.
#[derive(Debug, Serialize)]
struct CountsAnswer<'a> {
    /// In the order of the request.
    counts: Vec<RoomEntry<'a>>,
    #[serde(flatten)]
    source: Source<'a>,
}

/// The count of one room in [`CountsAnswer`].
#[derive(Debug, Serialize)]
struct RoomEntry<'a> {
    room: &'a str,
    #[serde(flatten)]
    count: CountEntry,
}

/// A count.
#[derive(Clone, Copy, Debug, Serialize)]
struct CountEntry {
    /// Users in the whole cluster.
    count: u64,
    /// Grows with every change of the count.
    revision: u64,
    /// False while this is an estimate.
    exact: bool,
    /// Counted connections on the instance that answers.
    connections: u64,
}

/// The users on the instance that answers.
#[derive(Clone, Copy, Debug, Serialize)]
struct UsersEntry {
    /// Users with a token, each once.
    token: u64,
    /// Users with a visitor key, each once.
    visitor: u64,
    /// Connections without an identity.
    none: u64,
}

impl From<UsersHere> for UsersEntry {
    fn from(UsersHere { token, visitor, none }: UsersHere) -> Self {
        Self { token, visitor, none }
    }
}

/// Which instance answers.
#[derive(Debug, Serialize)]
struct Source<'a> {
    /// How old the store's last word is, in milliseconds.
    age_ms: u64,
    /// The id of the instance.
    instance: Option<String>,
    /// The name by which people know it.
    host: &'a str,
    /// How many instances there are.
    instances: u32,
}

/// The peaks of the site; `None` while they are unknown.
#[derive(Clone, Copy, Debug, Serialize)]
struct PeaksEntry {
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
    /// What is known of the site, or of the room that a request names.
    pub(super) fn new(site: &'a Site, room: Option<&'a Room>, view: &View, now: Instant) -> Self {
        let subject = room.unwrap_or(&Room::Site);
        let is_site = *subject == Room::Site;
        Self {
            room: room.map(Room::as_str),
            count: CountEntry::new(site, subject, view, now),
            users_here: is_site.then(|| site.users_here().into()),
            source: Source::new(site, view, now),
            peaks: is_site.then(|| PeaksEntry::new(*site.peaks.borrow())),
        }
    }

    /// What has to change for the answer to count as another one. Neither revision, age, instance nor who is on it belong to it:
    /// a client behind a balancer asks now this instance, now that one.
    fn tag(&self) -> String {
        let peaks = self.peaks.map(PeaksEntry::tag).unwrap_or_default();
        format!("W/\"{}{peaks}\"", self.count.tag())
    }
}

impl PeaksEntry {
    fn new(peaks: ShownPeaks) -> Self {
        Self {
            peak_today: peaks.today.map(PeakAnswer::from),
            peak_ever: peaks.ever.map(PeakAnswer::from),
        }
    }

    /// Of the times only the days belong to the tag, since two instances may have seen the same peak some milliseconds apart.
    fn tag(self) -> String {
        let [today, ever] = [self.peak_today, self.peak_ever].map(|peak| match peak {
            Some(peak) => format!("{}@{}", peak.count, peak.at / DAY_MS),
            None => "none".to_owned(),
        });
        format!("-{today}-{ever}")
    }
}

impl CountEntry {
    fn new(site: &Site, room: &Room, view: &View, now: Instant) -> Self {
        let Shown { users, revision, exact } = site.shown(room, view, now);
        Self { count: users, revision: revision.0, exact, connections: site.connections(room) }
    }

    fn exactness(self) -> &'static str {
        if self.exact { "exact" } else { "estimate" }
    }

    fn tag(self) -> String {
        format!("{}-{}", self.count, self.exactness())
    }
}

impl<'a> Source<'a> {
    fn new(site: &'a Site, view: &View, now: Instant) -> Self {
        Self {
            age_ms: whole_millis(view.age(now)),
            instance: view.incarnation().map(|id| id.to_string()),
            host: &site.host,
            instances: view.instances(),
        }
    }
}

/// The handler of `/api/count`.
pub(super) async fn answer(
    State(site): State<Arc<Site>>,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Refusal> {
    let room = room_query::one_room(query.as_deref(), site.rooms.allowed())?;
    let access = site.authorize(&request, room.as_slice()).await?;
    site.ask(room.as_slice()).await?;
    let view = *site.view.borrow();
    let answer = CountAnswer::new(&site, room.as_ref(), &view, Instant::now());
    Ok(unless_known(&request, &access, &answer.tag(), &answer))
}

/// The handler of `/api/counts`.
pub(super) async fn answers(
    State(site): State<Arc<Site>>,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Refusal> {
    let rooms = room_query::rooms(query.as_deref(), ROOMS_MAX, site.rooms.allowed())?;
    if rooms.is_empty() {
        return Err(Refusal::Missing);
    }
    let access = site.authorize(&request, &rooms).await?;
    site.ask(&rooms).await?;
    let (view, now) = (*site.view.borrow(), Instant::now());
    let entry = |room| RoomEntry {
        room: Room::as_str(room),
        count: CountEntry::new(&site, room, &view, now),
    };
    let answer = CountsAnswer {
        counts: rooms.iter().map(entry).collect(),
        source: Source::new(&site, &view, now),
    };
    Ok(unless_known(&request, &access, &answer.tag(), &answer))
}

impl CountsAnswer<'_> {
    /// As [`CountAnswer::tag`], for all rooms. All processes of a build compute the same hash.
    fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        for RoomEntry { room, count } in &self.counts {
            (room, count.count, count.exact).hash(&mut hasher);
        }
        format!("W/\"{:016x}\"", hasher.finish())
    }
}

/// The JSON, or only its tag if the client has it already.
fn unless_known(
    request: &HeaderMap,
    access: &Access,
    tag: &str,
    answer: &impl Serialize,
) -> Response {
    let mut response = if matches(request, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        json::answer(answer)
    };
    let tag = HeaderValue::from_str(tag).expect("tags are of numbers and words");
    response.headers_mut().insert(header::ETAG, tag);
    access.limit_caching(response.headers_mut());
    response
}
