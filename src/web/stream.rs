//! `/api/count/stream`: server-sent events with the JSON of `/api/count`, one for each change of the site or of the rooms that
//! the request names. Readers are not counted as users. A slow reader skips changes and gets the newest.

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use prometheus::IntGauge;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep_until},
};

use super::{
    count::CountAnswer,
    json,
    room_query::{self, ROOMS_MAX},
    site::Site,
    site_rooms::WATCHED_FOR,
};
use crate::{
    core::{
        peaks::ShownPeaks,
        report::Room,
        rooms::PLACE_HELD_FOR,
        view::{Shown, View},
    },
    telemetry::labels::RefusedReason,
};

/// Time between comments on a quiet stream. Proxies usually close connections that are silent for 30 or 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long browsers and refused clients are asked to wait before they connect again.
const RETRY: Duration = Duration::from_secs(5);
/// Time between two requests to watch the rooms of a stream: soon enough that they are watched without a gap, and that none of them
/// has to make way for others.
const WATCH_EVERY: Duration = Duration::from_secs(PLACE_HELD_FOR.as_secs() / 2);
const _: () = assert!(PLACE_HELD_FOR.as_secs() <= WATCHED_FOR.as_secs());

/// The handler.
pub(super) async fn answer(
    State(site): State<Arc<Site>>,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Response {
    if !site.origins.allow_page_of(&request) {
        let header = |name| request.get(name).map(HeaderValue::as_bytes);
        site.refusal_log.refused(header(header::ORIGIN), header(header::HOST));
        site.metrics.refuse(RefusedReason::Origin);
        return (StatusCode::FORBIDDEN, "pages of this origin may not read this\n").into_response();
    }
    let rooms = match room_query::rooms(query.as_deref(), ROOMS_MAX, site.rooms.allowed()) {
        Ok(rooms) => rooms,
        Err(refusal) => return refusal.into_response(),
    };
    let access = match site.authorize(&request, &rooms).await {
        Ok(access) => access,
        Err(refusal) => return refusal.into_response(),
    };
    let permit = Arc::clone(&site.permits).try_acquire_owned();
    let (Ok(permit), false) = (permit, site.closing.is_cancelled()) else {
        site.metrics.refuse(RefusedReason::Streams);
        let headers = [
            (header::RETRY_AFTER, RETRY.as_secs().to_string()),
            (header::CONNECTION, "close".to_owned()),
        ];
        let why = "no more streams here: try again later, or ask /api/count now and then\n";
        return (StatusCode::SERVICE_UNAVAILABLE, headers, why).into_response();
    };
    let ends_at = access.time_left().and_then(|left| Instant::now().checked_add(left));
    let reader = StreamReader::new(Arc::clone(&site), rooms, permit, ends_at);
    if let Err(refusal) = site.ask(&reader.rooms()).await {
        return refusal.into_response();
    }
    let events = stream::unfold(reader, StreamReader::next_event);
    // Without this header, some proxies hold an answer back until it is complete.
    let unbuffered = [("x-accel-buffering", "no")];
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("nothing new");
    let mut response = (unbuffered, Sse::new(events).keep_alive(keep_alive)).into_response();
    access.limit_caching(response.headers_mut());
    response
}

/// One open stream.
#[derive(Debug)]
struct StreamReader {
    site: Arc<Site>,
    view: watch::Receiver<View>,
    peaks: watch::Receiver<ShownPeaks>,
    /// Changes with the counts of rooms; `None` for a stream of the site alone.
    room_news: Option<watch::Receiver<u64>>,
    subjects: Vec<Subject>,
    /// The subject that is looked at next.
    next: usize,
    is_first: bool,
    /// The earliest time at which the first subject is looked at again.
    due: Instant,
    /// When the rooms are to be asked for again.
    watch_at: Instant,
    /// When the token expires by which the client reads.
    ends_at: Option<Instant>,
    _permit: OpenStream,
}

/// What a stream tells of, and what the client was told of it last.
#[derive(Debug)]
struct Subject {
    /// `None` for the site, if the request names no room.
    room: Option<Room>,
    told: Option<Told>,
}

/// What has to change for an event. The revision does not belong to it: it grows with the counts of others, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    users: u64,
    exact: bool,
    instances: u32,
    peaks: ShownPeaks,
}

/// Counts against the limit of streams. It is given back when the client is gone.
#[derive(Debug)]
struct OpenStream {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl StreamReader {
    /// A reader of the site if there are no rooms. A room that is named twice is one subject.
    fn new(
        site: Arc<Site>,
        rooms: Vec<Room>,
        permit: OwnedSemaphorePermit,
        ends_at: Option<Instant>,
    ) -> Self {
        let open = site.metrics.streams.clone();
        open.inc();
        let mut seen = HashSet::new();
        let named = rooms.into_iter().filter(|room| seen.insert(room.clone()));
        let mut subjects: Vec<_> =
            named.map(|room| Subject { room: Some(room), told: None }).collect();
        let has_rooms = !subjects.is_empty();
        if !has_rooms {
            subjects.push(Subject { room: None, told: None });
        }
        let now = Instant::now();
        Self {
            view: site.view.clone(),
            peaks: site.peaks.clone(),
            room_news: has_rooms.then(|| site.rooms.subscribe()),
            subjects,
            next: 0,
            is_first: true,
            due: now,
            watch_at: now + WATCH_EVERY,
            ends_at,
            _permit: OpenStream { _permit: permit, open },
            site,
        }
    }

    /// The rooms of the stream.
    fn rooms(&self) -> Vec<Room> {
        self.subjects.iter().filter_map(|subject| subject.room.clone()).collect()
    }

    /// The next event, or the end, for [`stream::unfold`].
    async fn next_event(mut self) -> Option<(Result<Event, axum::Error>, Self)> {
        let closing = self.site.closing.clone();
        let text = tokio::select! {
            biased;
            () = closing.cancelled() => None,
            () = expired(self.ends_at) => None,
            text = self.change() => text,
        }?;
        let event = Event::default().data(text);
        let is_first = std::mem::take(&mut self.is_first);
        let event = if is_first { event.retry(RETRY) } else { event };
        Some((Ok(event), self))
    }

    /// Waits until a subject differs from what was told of it. `None` at the end. The subjects have turns, so none waits for
    /// another that changes all the time.
    async fn change(&mut self) -> Option<String> {
        loop {
            if self.next == 0 {
                sleep_until(self.due).await;
                self.view.mark_unchanged();
                self.peaks.mark_unchanged();
                if let Some(room_news) = &mut self.room_news {
                    room_news.mark_unchanged();
                }
            }
            if let Some(text) = self.tell_next() {
                return Some(text);
            }
            self.changed().await?;
        }
    }

    /// Tells of the next subject of this round that has changed. `None` at the end of the round.
    fn tell_next(&mut self) -> Option<String> {
        let (view, peaks, now) = (*self.view.borrow(), *self.peaks.borrow(), Instant::now());
        while let Some(subject) = self.subjects.get_mut(self.next) {
            self.next += 1;
            let room = subject.room.as_ref();
            let named = room.unwrap_or(&Room::Site);
            let peaks = if *named == Room::Site { peaks } else { ShownPeaks::default() };
            let Shown { users, exact, .. } = self.site.shown(named, &view, now);
            let news = Some(Told { users, exact, instances: view.instances(), peaks });
            if subject.told != news {
                subject.told = news;
                self.due = now + self.site.pace;
                return Some(json::text(&CountAnswer::new(&self.site, room, &view, now)));
            }
        }
        if self.room_news.is_some() {
            // Most news are of other rooms, so that looking costs more than telling.
            self.due = now + self.site.pace;
        }
        self.next = 0;
        None
    }

    /// Waits for news that may concern a subject, and has the rooms watched meanwhile. `None` at the end.
    async fn changed(&mut self) -> Option<()> {
        let Some(room_news) = &mut self.room_news else {
            return tokio::select! {
                changed = self.view.changed() => changed.ok(),
                changed = self.peaks.changed() => changed.ok(),
            };
        };
        tokio::select! {
            changed = self.view.changed() => changed.ok(),
            changed = self.peaks.changed() => changed.ok(),
            changed = room_news.changed() => changed.ok(),
            () = sleep_until(self.watch_at) => {
                self.watch_at = Instant::now() + WATCH_EVERY;
                // Without a place the stream goes on, with what is known.
                let _ = self.site.watch(&self.rooms());
                Some(())
            }
        }
    }
}

/// Resolves at this time, if there is one.
async fn expired(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.open.dec();
    }
}

#[cfg(test)]
#[path = "stream/tests.rs"]
mod tests;
