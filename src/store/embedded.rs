//! The count of a single instance, in its own memory: the default store, which needs no server.
//!
//! `state` has the rules of the site and of reports, `rooms` those of rooms, both without clock or I/O. They follow the
//! steps of the script of the Redis store, except those that repair lost or edited keys. [`EmbeddedStore`] passes them the time
//! and publishes their announcements.

mod peaks;
mod rooms;
mod state;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures_util::{StreamExt, stream};
use tokio::sync::broadcast::{self, error::RecvError};

use super::{
    Announcements, RoomsQuery, Store, StoreError, StoreFuture,
    people::{PeoplePage, PeoplePageQuery, PeopleQuery},
};
use crate::{
    core::{
        count::{Count, Revision},
        peaks::{Peaks, PeaksAnswer},
        people::People,
        report::{Reply, Report, Roster},
        room::RoomName,
    },
    store::Announcement,
};
use peaks::EmbeddedPeaks;
use state::State;

/// The most announcements by which a slow subscriber may be late. After that it misses the oldest ones.
const ANNOUNCEMENTS_HELD: usize = 16;

/// The count in this process.
pub struct EmbeddedStore {
    /// Shared by all tasks. The lock is held during one step, never across an await. Announcements are sent under the lock, so
    /// that they are in the order of revisions.
    state: Mutex<State>,
    announcements: broadcast::Sender<Announcement>,
    /// The newest announced count of the site, for subscribers that have missed announcements.
    newest: Arc<Mutex<Count>>,
    peaks: EmbeddedPeaks,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
}

impl EmbeddedStore {
    /// An empty store.
    pub fn new() -> Self {
        let start = Instant::now();
        Self::with_clock(move || start.elapsed())
    }

    /// An empty store with its own clock: `clock` returns the time since some fixed moment.
    pub fn with_clock(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            state: Mutex::default(),
            announcements: broadcast::Sender::new(ANNOUNCEMENTS_HELD),
            newest: Arc::default(),
            peaks: EmbeddedPeaks::default(),
            clock: Box::new(clock),
        }
    }

    fn apply(&self, report: &Report) -> Result<Reply, StoreError> {
        if !report.is_valid() {
            return Err(StoreError::Protocol("bad argument".into()));
        }
        let mut state = lock(&self.state);
        let (reply, announcements) = state.apply(report, (self.clock)());
        for announcement in announcements {
            if let Announcement::Own(count) = announcement {
                *lock(&self.newest) = count;
            }
            // An error means that there are no subscribers.
            let _ = self.announcements.send(announcement);
        }
        Ok(reply)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for EmbeddedStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Store for EmbeddedStore {
    fn report(&self, report: Report) -> StoreFuture<'_, Reply> {
        Box::pin(async move { self.apply(&report) })
    }

    fn subscribe(&self) -> StoreFuture<'_, Announcements> {
        let subscription = Subscription {
            receiver: self.announcements.subscribe(),
            newest: Arc::clone(&self.newest),
            told: Revision::default(),
        };
        let announcements = stream::unfold(subscription, |mut subscription| async move {
            let announcement = subscription.next().await?;
            Some((Ok(announcement), subscription))
        });
        Box::pin(async move { Ok(announcements.boxed()) })
    }

    fn roster(&self) -> StoreFuture<'_, Roster> {
        Box::pin(async move { Ok(lock(&self.state).roster()) })
    }

    fn rooms(&self, query: RoomsQuery) -> StoreFuture<'_, Vec<(RoomName, u64)>> {
        Box::pin(async move { Ok(lock(&self.state).largest_rooms(&query)) })
    }

    fn people(&self, query: PeopleQuery) -> StoreFuture<'_, People> {
        Box::pin(async move { Ok(lock(&self.state).people(&query)) })
    }

    fn people_page(&self, query: PeoplePageQuery) -> StoreFuture<'_, PeoplePage> {
        Box::pin(async move { Ok(lock(&self.state).people_page(&query)) })
    }

    fn peaks(&self, known: Option<Peaks>) -> StoreFuture<'_, PeaksAnswer> {
        Box::pin(async move {
            let Some(known) = known else { return Ok(self.peaks.read(SystemTime::now())) };
            let attendance = lock(&self.state).attendance();
            Ok(self.peaks.tell(&known, attendance, SystemTime::now()))
        })
    }

    fn kind(&self) -> &'static str {
        "embedded"
    }
}

/// One subscriber's place in the announcements.
struct Subscription {
    receiver: broadcast::Receiver<Announcement>,
    newest: Arc<Mutex<Count>>,
    /// The revision of the last count of the site that the subscriber was told.
    told: Revision,
}

impl Subscription {
    /// The next announcement; `None` once the store is gone. If the subscriber was too slow, it gets the newest count of the site
    /// first: the one that it missed may have been the last. Pages of rooms need no such care, since every page names the one
    /// before.
    async fn next(&mut self) -> Option<Announcement> {
        loop {
            let announcement = match self.receiver.recv().await {
                Ok(announcement) => announcement,
                Err(RecvError::Lagged(_)) => Announcement::Own(*lock(&self.newest)),
                Err(RecvError::Closed) => return None,
            };
            match announcement {
                Announcement::Own(count) if count.revision <= self.told => {}
                Announcement::Own(count) => {
                    self.told = count.revision;
                    return Some(announcement);
                }
                other => return Some(other),
            }
        }
    }
}

#[cfg(test)]
mod tests;
