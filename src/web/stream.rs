//! `/api/count/stream`: server-sent events with the JSON of `/api/count`, one for each change. Readers are not counted as
//! users. A slow reader skips changes and gets the newest.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
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
use tokio_util::sync::CancellationToken;

use super::{count::CountAnswer, site::Site};
use crate::{
    core::{
        peaks::ShownPeaks,
        view::{Shown, View},
    },
    telemetry::labels::RefusedReason,
};

/// Time between comments on a quiet stream. Proxies usually close connections that are silent for 30 or 60 s.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long browsers and refused clients are asked to wait before they connect again.
const RETRY: Duration = Duration::from_secs(5);

/// The handler.
pub(super) async fn answer(State(site): State<Arc<Site>>, request: HeaderMap) -> Response {
    if !site.origins.allow_page_of(&request) {
        let header = |name| request.get(name).map(HeaderValue::as_bytes);
        site.refusal_log.refused(header(header::ORIGIN), header(header::HOST));
        site.metrics.refuse(RefusedReason::Origin);
        return (StatusCode::FORBIDDEN, "pages of this origin may not read this\n").into_response();
    }
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
    let events = stream::unfold(StreamReader::new(&site, permit), StreamReader::next_event);
    // Without this header, some proxies hold an answer back until it is complete.
    let unbuffered = [("x-accel-buffering", "no")];
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("nothing new");
    (unbuffered, Sse::new(events).keep_alive(keep_alive)).into_response()
}

/// One open stream.
#[derive(Debug)]
struct StreamReader {
    view: watch::Receiver<View>,
    peaks: watch::Receiver<ShownPeaks>,
    host: Arc<str>,
    /// What the client was told last.
    told: Option<(Shown, u32, ShownPeaks)>,
    /// The earliest time of the next event.
    due: Instant,
    pace: Duration,
    closing: CancellationToken,
    _permit: Place,
}

/// Counts against the limit of streams. It is given back when the client is gone.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl StreamReader {
    fn new(site: &Site, permit: OwnedSemaphorePermit) -> Self {
        let open = site.metrics.streams.clone();
        open.inc();
        Self {
            view: site.view.clone(),
            peaks: site.peaks.clone(),
            host: Arc::clone(&site.host),
            told: None,
            due: Instant::now(),
            pace: site.pace,
            closing: site.closing.clone(),
            _permit: Place { _permit: permit, open },
        }
    }

    /// The next event, or the end, for [`stream::unfold`].
    async fn next_event(mut self) -> Option<(Result<Event, axum::Error>, Self)> {
        let is_first = self.told.is_none();
        let closing = self.closing.clone();
        let answer = tokio::select! {
            biased;
            () = closing.cancelled() => None,
            answer = self.change() => answer,
        }?;
        let event = Event::default().json_data(answer);
        let event = if is_first { event.map(|event| event.retry(RETRY)) } else { event };
        Some((event, self))
    }

    /// Waits until the state differs from what was told. `None` at the end.
    async fn change(&mut self) -> Option<CountAnswer<'_>> {
        loop {
            sleep_until(self.due).await;
            let view = *self.view.borrow_and_update();
            let peaks = *self.peaks.borrow_and_update();
            let now = Instant::now();
            let news = Some((view.shown(now), view.instances(), peaks));
            if self.told != news {
                self.told = news;
                self.due = now + self.pace;
                return Some(CountAnswer::new(&view, peaks, &self.host, now));
            }
            tokio::select! {
                changed = self.view.changed() => changed.ok()?,
                changed = self.peaks.changed() => changed.ok()?,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}
