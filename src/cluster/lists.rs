//! The task that keeps lists of users right: it reads from the store what may have changed in a room, and computes the lists that
//! clients of this instance want.
//!
//! ```text
//!  the table of rooms ──stirred──▶ lists ──reads──▶ store
//!                                    ▲                │ people
//!                                    └────────────────┘
//! ```
//!
//! It never reports. While the store is away or recovers, it reads nothing: see [`crate::core::lists`].

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    core::{
        count::Revision,
        lists::{DueRead, Lists},
        pace::HalfTime,
        people::{LISTED_MAX, People},
        rooms::{RoomUsers, Stirred},
        view::View,
    },
    store::{Store, StoreError, people::PeopleQuery},
};

/// The most readings at a time. They share the connections of reports.
const READS_MAX: usize = 1;
/// The most users of this instance that are looked at for one list: as many as may be on it, and as many more, so that it is known how
/// many are left out.
const HERE_MAX: usize = 2 * LISTED_MAX;
/// The least time between two computations of lists, whatever comes and goes: short beside the time between two emissions. They take
/// half of the time at most.
const UPDATE_GAP: Duration = Duration::from_millis(10);

/// The state of the task.
#[derive(Debug)]
pub struct ListKeeper<V> {
    store: Arc<dyn Store>,
    users: Arc<dyn RoomUsers>,
    lists: Arc<Lists<V>>,
    view: watch::Receiver<View>,
    under_way: JoinSet<ReadOutcome>,
    /// Whether the store answers, and has all that was reported to it.
    is_kept: bool,
    /// When lists were computed last, and what that has cost.
    updated_at: Option<Instant>,
    half: HalfTime,
}

#[derive(Debug)]
struct ReadOutcome {
    read: DueRead,
    /// The highest revision that this instance had seen when it asked.
    seen: Revision,
    result: Result<People, StoreError>,
}

impl<V: fmt::Debug + Send + 'static> ListKeeper<V> {
    /// A keeper of these lists. [`ListKeeper::run`] starts it.
    pub fn new(
        store: Arc<dyn Store>,
        users: Arc<dyn RoomUsers>,
        lists: Arc<Lists<V>>,
        view: watch::Receiver<View>,
    ) -> Self {
        Self {
            store,
            users,
            lists,
            view,
            under_way: JoinSet::new(),
            is_kept: false,
            updated_at: None,
            half: HalfTime::default(),
        }
    }

    /// Task: keeps the lists until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.look();
            let update_at = self.update(Instant::now());
            self.read(Instant::now());
            let may_read = self.is_kept && self.under_way.len() < READS_MAX;
            let read_at = self.lists.next_read().filter(|_| may_read);
            let wake = [update_at, read_at].into_iter().flatten().min();
            tokio::select! {
                () = stop.cancelled() => {}
                Some(outcome) = self.under_way.join_next() => {
                    self.settle(outcome.expect("a reading neither panics nor is aborted"));
                }
                () = self.lists.work().notified() => {}
                () = self.users.stirs().notified() => {}
                Ok(()) = self.view.changed() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Takes in what may have changed.
    fn look(&mut self) {
        let view = *self.view.borrow_and_update();
        let is_kept = view.is_reachable(Instant::now()) && !view.newest().recovering;
        let Stirred { all, rooms } = self.users.take_stirred();
        if all || is_kept != self.is_kept {
            self.is_kept = is_kept;
            self.lists.stir_all();
        }
        for (room, is_elsewhere) in rooms {
            self.lists.stir(&room, is_elsewhere);
        }
    }

    /// Computes lists that may be others now. Returns when that is allowed, if it is too early.
    fn update(&mut self, now: Instant) -> Option<Instant> {
        if !self.lists.has_updates() {
            return None;
        }
        let gap_ends = self.updated_at.map(|at| at + UPDATE_GAP).filter(|at| *at > now);
        let too_early_until = gap_ends.max(self.half.due(now));
        if too_early_until.is_some() {
            return too_early_until;
        }
        for room in self.lists.take_updates() {
            let here = self.users.users_here(&room, HERE_MAX);
            self.lists.update(&room, &here, self.is_kept);
        }
        let end = Instant::now();
        self.half.worked(now, end);
        self.updated_at = Some(end);
        None
    }

    fn read(&mut self, now: Instant) {
        if !self.is_kept {
            return;
        }
        let (seen, own) = {
            let view = self.view.borrow();
            (view.seen().revision, view.incarnation())
        };
        let most = READS_MAX - self.under_way.len();
        for read in self.lists.take_reads(now, most) {
            let DueRead { ref room, ref listed, .. } = read;
            let query = PeopleQuery { room: room.clone(), own, listed: listed.clone() };
            let store = Arc::clone(&self.store);
            self.under_way.spawn(async move {
                let result = store.people(query).await;
                ReadOutcome { read, seen, result }
            });
        }
    }

    /// Takes over what the store said, unless it has lost data.
    fn settle(&self, outcome: ReadOutcome) {
        let ReadOutcome { read, seen, result } = outcome;
        let people = match result {
            Ok(people) => Some(people).filter(|it| !it.recovering && it.revision >= seen),
            Err(error) => {
                tracing::debug!(%error, "failed to read who is in a room");
                None
            }
        };
        self.lists.fold(&read, people, Instant::now());
    }
}

#[cfg(test)]
#[path = "lists/tests.rs"]
mod tests;
