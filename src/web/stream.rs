//! `/api/count/stream`: server-sent events with the same JSON as `/api/count`, one per change. Readers are
//! not counted as users.
//!
//! Every reader holds only what it was last told: one that is slow skips changes and gets the newest.

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
use crate::core::view::{Shown, View};

/// A comment this often keeps proxies from taking a quiet stream for a dead one; their usual patience is a
/// minute or half of it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What browsers are asked to wait before they return, and refused clients as well.
const RETRY: Duration = Duration::from_secs(5);

/// The handler.
pub(super) async fn answer(State(site): State<Arc<Site>>, request: HeaderMap) -> Response {
    if !site.origins.allow_page_of(&request) {
        let header = |name| request.get(name).map(HeaderValue::as_bytes);
        site.refusal_log.refused(header(header::ORIGIN), header(header::HOST));
        site.metrics.refused.with_label_values(&["origin"]).inc();
        return (StatusCode::FORBIDDEN, "pages of this origin may not read this\n").into_response();
    }
    let permit = Arc::clone(&site.permits).try_acquire_owned();
    let (Ok(permit), false) = (permit, site.closing.is_cancelled()) else {
        site.metrics.refused.with_label_values(&["streams"]).inc();
        let headers = [
            (header::RETRY_AFTER, RETRY.as_secs().to_string()),
            (header::CONNECTION, "close".to_owned()),
        ];
        let why = "no more streams here: try again later, or ask /api/count now and then\n";
        return (StatusCode::SERVICE_UNAVAILABLE, headers, why).into_response();
    };
    let events = stream::unfold(Reader::new(&site, permit), Reader::next_event);
    // Some proxies hold back answers until they are complete, unless told not to.
    let unbuffered = [("x-accel-buffering", "no")];
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("nothing new");
    (unbuffered, Sse::new(events).keep_alive(keep_alive)).into_response()
}

/// One open stream.
#[derive(Debug)]
struct Reader {
    view: watch::Receiver<View>,
    host: Arc<str>,
    /// What its client knows.
    told: Option<(Shown, u32)>,
    /// No event before this.
    due: Instant,
    pace: Duration,
    closing: CancellationToken,
    _permit: Place,
}

/// Given back when the client is gone.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Reader {
    fn new(site: &Site, permit: OwnedSemaphorePermit) -> Self {
        let open = site.metrics.streams.clone();
        open.inc();
        Self {
            view: site.view.clone(),
            host: Arc::clone(&site.host),
            told: None,
            due: Instant::now(),
            pace: site.pace,
            closing: site.closing.clone(),
            _permit: Place { _permit: permit, open },
        }
    }

    /// For [`stream::unfold`]: the next event, or the end.
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

    /// The newest state once it differs from what was told; `None` if there will be no more.
    async fn change(&mut self) -> Option<CountAnswer<'_>> {
        loop {
            sleep_until(self.due).await;
            let view = *self.view.borrow_and_update();
            let now = Instant::now();
            let news = Some((view.shown(now), view.instances()));
            if self.told != news {
                self.told = news;
                self.due = now + self.pace;
                return Some(CountAnswer::new(&view, &self.host, now));
            }
            self.view.changed().await.ok()?;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}
