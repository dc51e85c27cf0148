//! The board between the console's task and its routes: it holds the newest screen, and knows whether anybody looks.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use askama::Template;
use socketioxide::SocketIo;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    pace::PACE,
    rooms::{LargestRooms, Search, Searches},
    screen::{Page, Screen},
};
use crate::store::Store;

/// The most pages that are open at a time. The listener has several times as many connections, so that probes and scrapes get
/// through.
pub const OPERATORS_MAX: usize = 32;
/// The event that carries a screen.
const SCREEN: &str = "screen";
/// How long a page that was asked for waits for the first look: longer than the lookout waits for the store.
const FIRST_LOOK_WITHIN: Duration = Duration::from_secs(1);

/// The newest screen, and who looks at it.
#[derive(Debug)]
pub struct Board {
    /// Where open pages are told.
    io: OnceLock<SocketIo>,
    /// The newest screen.
    newest: watch::Sender<Option<Arc<Shown>>>,
    /// Somebody wants to see a screen now.
    pub(super) wanted: Notify,
    /// One permit for each open page.
    permits: Arc<Semaphore>,
    /// The largest rooms, as pages ask for them.
    searches: Searches,
    pub(super) has_token: bool,
}

/// A screen as it was shown.
#[derive(Debug)]
pub(super) struct Shown {
    at: Instant,
    pub(super) screen: Screen,
    pub(super) json: String,
}

impl Board {
    /// An empty board; `has_token` tells it whether operators sign in, and so may sign out.
    pub fn new(has_token: bool) -> Arc<Self> {
        Arc::new(Self {
            io: OnceLock::new(),
            newest: watch::Sender::new(None),
            wanted: Notify::new(),
            permits: Arc::new(Semaphore::new(OPERATORS_MAX)),
            searches: Searches::default(),
            has_token,
        })
    }

    /// Tells open pages through this from now on. It is said once.
    pub(super) fn tell_through(&self, io: SocketIo) {
        assert!(self.io.set(io).is_ok(), "a board has one set of routes");
    }

    /// A place for one more open page; `None` if all are taken.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Whether a page is open.
    pub(super) fn is_watched(&self) -> bool {
        self.permits.available_permits() < OPERATORS_MAX
    }

    /// Tells all open pages.
    pub(super) async fn show(&self, screen: Screen) {
        let json = screen.to_json();
        let shown = Shown { at: Instant::now(), screen: screen.clone(), json };
        self.newest.send_replace(Some(Arc::new(shown)));
        if let Some(io) = self.io.get() {
            // An operator who does not read misses some; his page says that it is old.
            let _ = io.emit(SCREEN, &screen).await;
        }
    }

    /// The newest screen: of this second, if the lookout can make one.
    pub(super) async fn current(&self) -> Option<Arc<Shown>> {
        let mut newest = self.newest.subscribe();
        let is_current = |shown: &Option<Arc<Shown>>| {
            shown.as_ref().is_some_and(|shown| shown.at.elapsed() < PACE)
        };
        if !is_current(&newest.borrow_and_update()) {
            self.wanted.notify_one();
            // Without one in time there is the last one, which says how old it is.
            let _ = timeout(FIRST_LOOK_WITHIN, newest.changed()).await;
        }
        newest.borrow().clone()
    }

    /// The newest screen as a page, with the rooms that this search finds; `None` if nothing has been seen yet.
    pub(super) async fn page(&self, search: &Search) -> Option<String> {
        let (shown, rooms) = tokio::join!(self.current(), self.largest_rooms(search));
        let page = Page { screen: &shown?.screen, rooms: &rooms };
        page.render()
            .inspect_err(|error| tracing::error!(%error, "failed to render the console"))
            .ok()
    }

    /// The largest rooms that this search finds.
    pub(super) async fn largest_rooms(&self, search: &Search) -> LargestRooms {
        self.searches.find(search).await
    }

    /// Task: asks the store for the largest rooms while somebody wants to see them, until `stop`.
    pub async fn search_rooms(self: Arc<Self>, store: Arc<dyn Store>, stop: CancellationToken) {
        self.searches.run(store, stop).await;
    }

    /// Ends all open pages.
    pub(super) async fn end(&self) {
        if let Some(io) = self.io.get() {
            io.close().await;
        }
    }
}
